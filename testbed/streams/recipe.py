#!/usr/bin/env python3
"""Makes the send streams of this directory, and writes down what is in them.

usage: recipe.py OUTPUT      (in the testbed's guest, as root; see testbed/capture-streams)

Everything is made in a pool of its own with the kernel's ZFS. What a snapshot holds is
read through its mount (truth.py), never by Terrarium's own code.
"""

import contextlib
import ctypes
import hashlib
import json
import os
import pathlib
import socket
import stat
import struct
import subprocess
import sys
import time

import truth

POOL = "capture"
POOL_FILE = "/var/tmp/capture.img"
MOUNTS = pathlib.Path("/mnt/capture")
PASSPHRASE = "a well-known passphrase"


def main():
    output = pathlib.Path(sys.argv[1])
    output.mkdir()
    with pool():
        capture = Capture(output)
        for make in (
            content,
            clone_and_redacted,
            compressed,
            large_blocks,
            large_dnodes,
            folded_names,
            old_version,
            volume,
            encrypted,
            packages,
        ):
            print(make.__name__, flush=True)
            make(capture)
        capture.finish()


# ------------------------------------------------------------------ what is in them


def content(capture):
    """Everything that a file system can hold, in three snapshots."""
    root = create("content", "xattr=sa", "acltype=posixacl", "compression=lz4")

    # Sizes around those where a file gets another block or another number of them.
    for size in (0, 1, 511, 512, 513, 131072, 131073):
        (root / f"{size} bytes").write_bytes(text(size))
    with record_size("content", "8K"):
        (root / "three blocks of 8K").write_bytes(text(24000))
        (root / "to be cut").write_bytes(text(24000))
        (root / "to be changed").write_bytes(text(24000))
        (root / "to be punched").write_bytes(text(24000))
    (root / "to grow").write_bytes(text(700))

    # Holes: a block of zeros is stored as one, too.
    with record_size("content", "4K"):
        sparse(root / "hole at the start", 65536, (61440, text(4096)))
        sparse(root / "hole at the end", 65536, (0, text(4096)))
        sparse(root / "hole in the middle", 65536, (0, text(4096)), (61440, text(4096)))
        sparse(root / "nothing but a hole", 1 << 20)
        sparse(root / "far away", (5 << 30) + 4096, (5 << 30, text(4096)))
        sparse(root / "odd end", 65537, (4096, text(100)))

    # Names.
    names = root / "names"
    names.mkdir()
    for name in (
        b"with space",
        b" leading and trailing ",
        b"new\nline",
        b"tab\tand \x1b[31mcolour",
        b"back\\slash",
        b"quote'\"`$(true)",
        "grüße 日本 🙂".encode(),
        b"not utf-8 \xff\xfe\x80",
        b"-rf",
        b"...",
        b"*",
    ):
        (pathlib.Path(os.fsdecode(bytes(names) + b"/" + name))).write_bytes(name)
    deep = root / "deep"
    for level in range(20):
        deep = deep / f"level {level}"
    deep.mkdir(parents=True)
    (deep / "bottom").write_bytes(b"found\n")
    (root / "empty directory").mkdir()
    # Each makes its directory's table a larger one of another kind.
    long = root / "long"
    long.mkdir()
    (long / ("x" * 255)).write_bytes(b"255\n")
    (long / ("é" * 127)).write_bytes(b"254\n")

    # Links.
    (root / "links").mkdir()
    (root / "links" / "short").symlink_to("../1 bytes")
    (root / "links" / "long").symlink_to("/".join(["a long way"] * 40))
    (root / "links" / "nowhere").symlink_to("/does/not/exist")
    (root / "links" / "up").symlink_to("../../../../etc/passwd")
    (root / "links" / "not utf-8").symlink_to(os.fsdecode(b"\xff\xfe"))
    (root / "links" / "first").write_bytes(b"has many names\n")
    for n in range(60):
        os.link(root / "links" / "first", root / "links" / f"name {n}")
    os.link(root / "links" / "first", root / "deep" / "another name")

    # Modes and owners.
    (root / "modes").mkdir()
    for mode in (0o000, 0o400, 0o644, 0o755, 0o1644, 0o2755, 0o4755, 0o6711, 0o7777):
        file = root / "modes" / f"{mode:04o}"
        file.write_bytes(b"")
        file.chmod(mode)
    (root / "modes" / "sticky directory").mkdir()
    (root / "modes" / "sticky directory").chmod(0o1777)
    (root / "modes" / "setgid directory").mkdir()
    (root / "modes" / "setgid directory").chmod(0o2770)
    for owner, group in ((0, 65534), (65534, 0), (1000000, 1000000), (1000999, 1065535), (2**32 - 2, 2**31)):
        file = root / "modes" / f"of {owner} and {group}"
        file.write_bytes(b"")
        os.chown(file, owner, group)
    os.symlink("of somebody", root / "modes" / "link of somebody")
    os.chown(root / "modes" / "link of somebody", 1000033, 1000033, follow_symlinks=False)
    (root / "modes" / "project").write_bytes(b"")
    run("zfs", "project", "-p", "7", str(root / "modes" / "project"))

    # Special files.
    special = root / "special"
    special.mkdir()
    os.mkfifo(special / "fifo", 0o640)
    os.mknod(special / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.mknod(special / "disk", 0o660 | stat.S_IFBLK, os.makedev(259, 1048575))
    os.mknod(special / "large character device", 0o600 | stat.S_IFCHR, os.makedev(4095, 1048575))
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as bound:
        bound.bind(str(special / "socket"))

    # Extended attributes, in the file's own attributes and in a hidden directory.
    for kind in ("sa", "on"):
        run("zfs", "set", f"xattr={kind}", f"{POOL}/content")
        attributes = root / f"attributes xattr={kind}"
        attributes.mkdir()
        os.setxattr(attributes, b"user.of.a.directory", b"yes")
        file = attributes / "small"
        file.write_bytes(b"small\n")
        os.setxattr(file, b"user.text", b"value")
        os.setxattr(file, b"user.empty", b"")
        os.setxattr(file, b"user.binary", bytes(range(256)))
        os.setxattr(file, "user.grüße".encode(), "schöne".encode())
        os.setxattr(file, b"user.\xff", b"a name that is not utf-8")
        os.setxattr(file, b"trusted.overlay.opaque", b"y")
        # cap_net_raw+ep of ping.
        os.setxattr(file, b"security.capability", struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0))
        file = attributes / "more than a bonus buffer"
        file.write_bytes(b"large\n")
        os.setxattr(file, b"user.large", text(3000))
        # More than fits beside the file's other attributes: a directory in both cases.
        file = attributes / "very large"
        file.write_bytes(b"very large\n")
        os.setxattr(file, b"user.very.large", text(33000))
        os.symlink("target", attributes / "symlink")
        os.setxattr(attributes / "symlink", b"trusted.of.a.symlink", b"yes", follow_symlinks=False)
        file = attributes / "acl"
        file.write_bytes(b"acl\n")
        os.setxattr(file, b"system.posix_acl_access", posix_acl(named_user=1000033))
        directory = attributes / "directory with default acl"
        directory.mkdir()
        os.setxattr(directory, b"system.posix_acl_default", posix_acl(named_user=33))
        (directory / "inherits").write_bytes(b"")
        (attributes / "to lose them").write_bytes(b"")
        os.setxattr(attributes / "to lose them", b"user.lost", b"soon")
    run("zfs", "set", "xattr=sa", f"{POOL}/content")

    # Times, last, because all of the above changes them.
    times = root / "times"
    times.mkdir()
    for name, ns in (
        ("with nanoseconds", 1_600_000_000_123_456_789),
        ("before 1970", -1_000_000_001),
        ("after 2038", 4_102_444_800_999_999_999),
        ("at zero", 0),
    ):
        (times / name).write_bytes(b"")
        os.utime(times / name, ns=(ns + 1_000_000_007, ns))
    (times / "symlink").symlink_to("x")
    os.utime(times / "symlink", ns=(1, 1_500_000_000_000_000_001), follow_symlinks=False)
    (times / "directory").mkdir()
    os.utime(times / "directory", ns=(2, 1_400_000_000_000_000_002))

    (root / "to be deleted").write_bytes(text(3000))
    (root / "directory to be deleted" / "with" / "more").mkdir(parents=True)
    (root / "directory to be deleted" / "with" / "file").write_bytes(b"x")
    (root / "to be replaced by a directory").write_bytes(b"file\n")
    (root / "to be renamed").write_bytes(b"renamed\n")
    (root / "directory to be renamed").mkdir()
    (root / "directory to be renamed" / "inside").write_bytes(b"inside\n")
    snapshot("content@one")

    # The second: changes of every kind.
    overwrite(root / "to be changed", 8192, b"CHANGED" * 1000)
    os.truncate(root / "to be cut", 10001)
    os.truncate(root / "513 bytes", 5)
    os.truncate(root / "nothing but a hole", 3 << 20)
    punch(root / "to be punched", 8192, 8192)
    overwrite(root / "hole in the middle", 32768, text(4096))
    (root / "to be deleted").unlink()
    run("rm", "-r", str(root / "directory to be deleted"))
    (root / "to be replaced by a directory").unlink()
    (root / "to be replaced by a directory").mkdir()
    (root / "to be replaced by a directory" / "file").write_bytes(b"now below\n")
    (root / "to be renamed").rename(root / "names" / "renamed")
    (root / "directory to be renamed").rename(root / "names" / "renamed directory")
    (root / "links" / "name 7").unlink()
    os.link(root / "links" / "first", root / "a name at the top")
    (root / "links" / "short").unlink()
    (root / "links" / "short").symlink_to("another target")
    (root / "modes" / "0644").chmod(0o600)
    os.chown(root / "modes" / "0644", 1000001, 1000002)
    for kind in ("sa", "on"):
        attributes = root / f"attributes xattr={kind}"
        os.removexattr(attributes / "to lose them", b"user.lost")
        os.setxattr(attributes / "small", b"user.text", b"another value, somewhat longer")
        os.removexattr(attributes / "small", b"user.empty")
    (root / "new").write_bytes(b"new\n")
    snapshot("content@two")
    run("zfs", "bookmark", f"{POOL}/content@two", f"{POOL}/content#two")

    # The third: on what the second left.
    (root / "to grow").write_bytes(text(20000))
    (root / "new").unlink()
    (root / "newer").write_bytes(b"newer\n")
    (root / "empty directory" / ("z" * 200)).write_bytes(b"a long name\n")
    overwrite(root / "three blocks of 8K", 8192, b"Changed" * 10)
    snapshot("content@three")

    capture.stream("content-one", "content@one")
    capture.stream("content-two", "content@two", "-i", "@one")
    capture.tree("content@two")
    run("zfs", "destroy", f"{POOL}/content@two")
    capture.stream("content-three", "content@three", "-i", f"{POOL}/content#two")

    # The first again, broken off near its end, and what is sent to go on.
    cut = (capture.output / "content-one.zfs").stat().st_size - 30_000
    with open(capture.output / "content-one.zfs", "rb") as whole:
        broken = whole.read(cut)
    subprocess.run(["zfs", "receive", "-s", "-u", f"{POOL}/resumed"], input=broken, capture_output=True)
    token = run("zfs", "get", "-Hp", "-o", "value", "receive_resume_token", f"{POOL}/resumed").strip()
    capture.stream(
        "content-one-resumed", "content@one", "-t", token, continues={"stream": "content-one", "after": cut, "token": token}
    )
    run("zfs", "receive", "-A", f"{POOL}/resumed")


def clone_and_redacted(capture):
    root = create("origin")
    (root / "kept").write_bytes(text(2000))
    (root / "secret").write_bytes(text(3000))
    (root / "deleted in the clone").write_bytes(b"x")
    snapshot("origin@base")
    clone = clone_of("origin@base", "clone")
    (clone / "secret").write_bytes(b"changed in the clone\n")
    (clone / "deleted in the clone").unlink()
    (clone / "new in the clone").write_bytes(text(1000))
    snapshot("clone@changed")
    capture.stream("origin", "origin@base")
    capture.stream("clone", "clone@changed", "-i", f"{POOL}/origin@base")
    # Without the blocks that the clone has otherwise.
    run("zfs", "redact", f"{POOL}/origin@base", "book", f"{POOL}/clone@changed")
    capture.stream("redacted", "origin@base", "--redact", "book", tree=False)


def compressed(capture):
    for algorithm in ("lz4", "zstd"):
        root = create(f"{algorithm}", f"compression={algorithm}")
        (root / "one block").write_bytes(text(100_000))
        (root / "three blocks").write_bytes(text(300_000))
        (root / "not compressible").write_bytes(b"".join(hashlib.sha256(bytes([n])).digest() for n in range(100)))
        snapshot(f"{algorithm}@c")
        capture.stream(f"compressed-{algorithm}", f"{algorithm}@c", "-c")


def large_blocks(capture):
    root = create("large", "recordsize=1M", "compression=lz4")
    (root / "one block").write_bytes(text(140_000))
    snapshot("large@one")
    capture.stream("large-one", "large@one", "-L")
    (root / "three blocks").write_bytes(text(2_500_000))
    (root / "embedded").write_bytes(b"x" * 2000)
    overwrite(root / "one block", 100_000, b"changed")
    snapshot("large@two")
    capture.stream("large-two", "large@two", "-L", "-e", "-c", "-i", "@one")
    capture.stream("large-full", "large@two", "-L", "-e", "-c")


def large_dnodes(capture):
    root = create("dnodes", "dnodesize=1k", "xattr=sa")
    for n in range(5):
        (root / f"file {n}").write_bytes(text(n))
        os.setxattr(root / f"file {n}", b"user.beside.it", text(400))
    snapshot("dnodes@s")
    capture.stream("dnodes", "dnodes@s")


def folded_names(capture):
    root = create("folded", "casesensitivity=insensitive", "normalization=formD")
    (root / "Mixed Case").write_bytes(b"one\n")
    (root / "GRÜSSE").write_bytes(b"two\n")
    (root / "Directory").mkdir()
    (root / "directory" / "File").write_bytes(b"three\n")
    snapshot("folded@s")
    capture.stream("folded", "folded@s")


def old_version(capture):
    """Version 4 of the file system's format keeps a file's attributes in another way."""
    root = create("old", "version=4")
    (root / "file").write_bytes(text(1000))
    (root / "directory").mkdir()
    (root / "symlink").symlink_to("file")
    (root / "long symlink").symlink_to("x" * 300)
    os.mknod(root / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.setxattr(root / "file", b"user.a", b"b")
    os.chown(root / "file", 1000033, 1000034)
    snapshot("old@s")
    capture.stream("old-version", "old@s")


def volume(capture):
    run("zfs", "create", "-V", "256K", "-b", "8K", "-o", "compression=lz4", f"{POOL}/volume")
    device = volume_device()
    write_device(device, 0, text(10_000))
    write_device(device, 200_000, text(1000))
    snapshot("volume@one")
    hashes = {"volume@one": hash_of_device(device)}
    write_device(device, 8192, b"changed" * 100)
    snapshot("volume@two")
    hashes["volume@two"] = hash_of_device(device)
    capture.stream("volume-one", "volume@one", tree=False, volume=hashes["volume@one"])
    capture.stream("volume-two", "volume@two", "-i", "@one", tree=False, volume=hashes["volume@two"])


def encrypted(capture):
    run(
        "zfs", "create", "-o", "encryption=aes-256-gcm", "-o", "keyformat=passphrase", "-o", "pbkdf2iters=100000",
        "-o", "compression=lz4", "-o", f"mountpoint={MOUNTS}/encrypted", f"{POOL}/encrypted", stdin=f"{PASSPHRASE}\n{PASSPHRASE}\n",
    )
    root = MOUNTS / "encrypted"
    (root / "secret").write_bytes(text(5000))
    (root / "directory").mkdir()
    (root / "directory" / "large").write_bytes(text(150_000))
    os.setxattr(root / "secret", b"user.secret", b"too")
    snapshot("encrypted@one")
    (root / "secret").write_bytes(b"changed\n")
    (root / "directory" / "new").write_bytes(text(100))
    snapshot("encrypted@two")
    capture.stream("encrypted-one", "encrypted@one", "-w", passphrase=PASSPHRASE)
    capture.stream("encrypted-two", "encrypted@two", "-w", "-i", "@one", passphrase=PASSPHRASE)


def packages(capture):
    root = create("family")
    (root / "file").write_bytes(b"of the parent\n")
    child = create("family/child")
    (child / "file").write_bytes(b"of the child\n")
    run("zfs", "set", "example:note=kept", f"{POOL}/family/child")
    run("zfs", "snapshot", "-r", f"{POOL}/family@s")
    (root / "file").write_bytes(b"changed\n")
    run("zfs", "snapshot", "-r", f"{POOL}/family@t")
    capture.stream("package-recursive", "family@t", "-R", tree=False)
    capture.stream("package-properties", "family/child@s", "-p", tree=False)
    capture.stream("package-intermediate", "family/child@t", "-I", "@s", tree=False)


# ------------------------------------------------------------------------- the pool


@contextlib.contextmanager
def pool():
    with open(POOL_FILE, "wb") as file:
        file.truncate(512 << 20)
    run("zpool", "create", "-O", "atime=off", "-O", f"mountpoint={MOUNTS}", POOL, POOL_FILE)
    try:
        yield
    finally:
        run("zpool", "destroy", "-f", POOL)
        os.unlink(POOL_FILE)


def create(name, *properties):
    run("zfs", "create", *(word for each in properties for word in ("-o", each)), f"{POOL}/{name}")
    return MOUNTS / name


def clone_of(origin, name):
    run("zfs", "clone", f"{POOL}/{origin}", f"{POOL}/{name}")
    return MOUNTS / name


def snapshot(name):
    run("zfs", "snapshot", f"{POOL}/{name}")


@contextlib.contextmanager
def record_size(dataset, size):
    """What is written meanwhile has smaller blocks, and takes up less room here."""
    run("zfs", "set", f"recordsize={size}", f"{POOL}/{dataset}")
    yield
    run("zfs", "inherit", "recordsize", f"{POOL}/{dataset}")


def run(*words, stdin=None):
    done = subprocess.run(words, input=stdin, text=True, capture_output=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(words)}: {done.stderr}")
    return done.stdout


# ---------------------------------------------------------------------------- files


def text(size):
    """Numbered lines: every block differs, and all are compressible."""
    lines = b"".join(b"%08d%191s\n" % (n, b"") for n in range(size // 200 + 1))
    return lines[:size]


def sparse(path, size, *pieces):
    with open(path, "wb") as file:
        file.truncate(size)
        for offset, piece in pieces:
            file.seek(offset)
            file.write(piece)


def overwrite(path, offset, piece):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(piece)


def punch(path, offset, length):
    keep_size, punch_hole = 1, 2
    libc = ctypes.CDLL(None, use_errno=True)
    with open(path, "r+b") as file:
        done = libc.fallocate(
            file.fileno(), punch_hole | keep_size, ctypes.c_long(offset), ctypes.c_long(length)
        )
    if done != 0:
        sys.exit(f"{path}: {os.strerror(ctypes.get_errno())}")


def posix_acl(named_user):
    """rwx for the owner, r-x for one more user, r-x for the group, nothing for others."""
    user_obj, user, group_obj, mask, other, nobody = 1, 2, 4, 0x10, 0x20, 2**32 - 1
    entries = ((user_obj, 7, nobody), (user, 5, named_user), (group_obj, 5, nobody), (mask, 5, nobody), (other, 0, nobody))
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def volume_device():
    # No udev runs in the guest, so there is no /dev/zvol: it is the only volume.
    for _ in range(100):
        devices = [device for device in os.listdir("/dev") if device.startswith("zd")]
        if devices:
            return f"/dev/{devices[0]}"
        time.sleep(0.1)
    sys.exit("the volume has no device")


def write_device(device, offset, piece):
    with open(device, "r+b", buffering=0) as file:
        file.seek(offset)
        file.write(piece)
        os.fsync(file.fileno())


def hash_of_device(device):
    with open(device, "rb") as file:
        bytes_of_it = file.read()
    return {"size": len(bytes_of_it), "sha256": hashlib.sha256(bytes_of_it).hexdigest()}


# -------------------------------------------------------------------------- capture


class Capture:
    def __init__(self, output):
        self.output = output
        self.streams = []
        (output / "trees").mkdir()
        (output / "dumps").mkdir()

    def stream(self, name, snapshot, *options, tree=True, **more):
        """Sends, and writes down what is known of the stream."""
        file = self.output / f"{name}.zfs"
        # A resume token says of what the stream is.
        target = [] if "-t" in options else [f"{POOL}/{snapshot}"]
        with open(file, "wb") as stream:
            subprocess.run(["zfs", "send", *options, *target], stdout=stream, check=True)
        with open(file, "rb") as stream:
            dump = subprocess.run(["zstream", "dump"], stdin=stream, capture_output=True, text=True, check=True)
        (self.output / "dumps" / f"{name}.txt").write_text(dump.stdout)
        entry = {
            "name": name,
            "command": " ".join(["zfs", "send", *("TOKEN" if "continues" in more and o == more["continues"]["token"] else o for o in options), *target]),
            "snapshot": snapshot,
            "guid": run("zfs", "get", "-Hp", "-o", "value", "guid", f"{POOL}/{snapshot}").strip(),
        }
        if "-i" in options:
            source = options[options.index("-i") + 1]
            source = f"{POOL}/{snapshot.split('@')[0]}{source}" if source.startswith("@") else source
            entry["from"] = run("zfs", "get", "-Hp", "-o", "value", "guid", source).strip()
        if tree:
            self.tree(snapshot)
            entry["tree"] = tree_name(snapshot)
        self.streams.append(entry | more)

    def tree(self, snapshot):
        file = self.output / "trees" / tree_name(snapshot)
        if file.exists():
            return
        place = pathlib.Path("/mnt/capture-snapshot")
        place.mkdir(exist_ok=True)
        run("mount", "-t", "zfs", f"{POOL}/{snapshot}", str(place))
        try:
            file.write_text(truth.of(place))
        finally:
            run("umount", str(place))

    def finish(self):
        index = {
            "zfs": run("zfs", "version").split(),
            "kernel": os.uname().release,
            "captured": time.strftime("%Y-%m-%d", time.gmtime()),
            "streams": self.streams,
        }
        (self.output / "index.json").write_text(json.dumps(index, indent=1) + "\n")


def tree_name(snapshot):
    return snapshot.replace("@", "-") + ".json"


if __name__ == "__main__":
    main()
