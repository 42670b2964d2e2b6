# shellcheck shell=bash
# What the scripts share about apt. Sourced, not run.
#
# No mirror is named here: whatever has to be enabled is enabled from the mirror
# that this machine's own apt sources name.

say() { echo "${0##*/}: $*" >&2; }
die() { say "error: $*"; exit 1; }

invocation="$0 $*"

# shellcheck source=/dev/null
. /etc/os-release
distribution=${ID:-unknown}
release=${VERSION_CODENAME:-unknown}

apt_get() {
    [[ $EUID == 0 ]] || die "packages have to be installed ('apt-get $*'), which takes root; do this as root once: $invocation"
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends \
        -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 "$@" < /dev/null >&2
}

is_installed() {
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2> /dev/null) == installed ]]
}

# install_packages PACKAGE...: those that are missing; with nothing missing, no
# network is touched.
install_packages() {
    local package missing=()
    for package in "$@"; do
        is_installed "$package" || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    say "installing ${missing[*]}"
    apt_get update
    apt_get install "${missing[@]}"
}

# download_package PACKAGE: its file, into this folder; root is not needed.
download_package() {
    apt-get -qq -o APT::Sandbox::User=root download "$1" < /dev/null >&2
}

# The suites of Debian that this machine's apt has lists of, as "SUITE COMPONENT URI".
debian_suites() {
    # shellcheck disable=SC2016 # apt's own placeholders
    apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' \
        'Created-By: Packages' 'Origin: Debian' | sort -u
}

# deb822_source URI SUITE COMPONENT...: a paragraph for a .sources file.
deb822_source() {
    cat <<EOF
Types: deb
URIs: $1
Suites: $2
Components: ${*:3}
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

EOF
}

# enable_suite SUITE COMPONENT: on Debian, from the mirror that serves the release,
# unless apt knows it already.
enable_suite() {
    local suite=$1 component=$2 file mirror
    debian_suites | grep -q "^$suite $component " && return
    # Perhaps there are no lists yet.
    apt_get update
    debian_suites | grep -q "^$suite $component " && return
    mirror=$(debian_suites | awk -v suite="$release" '$1 == suite && $2 == "main" { print $3; exit }')
    [[ -n $mirror ]] || die "apt's sources have no Debian $release"
    file=/etc/apt/sources.list.d/terrarium-$suite-$component.sources
    say "enabling $suite $component in $file"
    deb822_source "$mirror" "$suite" "$component" > "$file"
    apt_get update
}
