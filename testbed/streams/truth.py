#!/usr/bin/env python3
"""What is in a directory of a mounted file system, told as JSON, an object a line.

usage: truth.py DIRECTORY

It uses nothing but the calls that any program has: lstat, listxattr, SEEK_DATA. Tests
compare with this what Terrarium says of the same tree.
"""

import hashlib
import json
import os
import stat
import sys


def of(directory):
    root = os.fsencode(directory)
    lines = ",\n".join(json.dumps(describe(root, path)) for path in walk(root, b""))
    return f"[\n{lines}\n]\n"


def walk(root, path):
    """The paths of a tree: parents before children, names sorted by bytes."""
    yield path
    directory = os.path.join(root, path)
    if stat.S_ISDIR(os.lstat(directory).st_mode):
        for name in sorted(os.listdir(directory)):
            yield from walk(root, os.path.join(path, name))


def describe(root, path):
    full = os.path.join(root, path) if path else root
    found = os.lstat(full)
    entry = {
        "path": escaped(path),
        "kind": kind_of(found.st_mode),
        "mode": f"{stat.S_IMODE(found.st_mode):04o}",
        "uid": found.st_uid,
        "gid": found.st_gid,
        "size": found.st_size,
        "links": found.st_nlink,
        "modified_ns": found.st_mtime_ns,
        "accessed_ns": found.st_atime_ns,
        "changed_ns": found.st_ctime_ns,
    }
    if path:
        # A mounted snapshot's root has a number of the mount's.
        entry["object"] = found.st_ino
    if stat.S_ISLNK(found.st_mode):
        entry["target"] = escaped(os.readlink(full))
    if stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode):
        entry["device"] = [os.major(found.st_rdev), os.minor(found.st_rdev)]
    if stat.S_ISREG(found.st_mode):
        entry |= read(full, found.st_size)
    names = sorted(os.fsencode(name) for name in os.listxattr(full, follow_symlinks=False))
    attributes = {escaped(name): value(os.getxattr(full, name, follow_symlinks=False)) for name in names}
    if attributes:
        entry["attributes"] = attributes
    return entry


def kind_of(mode):
    kinds = {
        stat.S_IFREG: "file",
        stat.S_IFDIR: "directory",
        stat.S_IFLNK: "symlink",
        stat.S_IFIFO: "fifo",
        stat.S_IFSOCK: "socket",
        stat.S_IFCHR: "character device",
        stat.S_IFBLK: "block device",
    }
    return kinds[stat.S_IFMT(mode)]


def read(path, size):
    """Where a file has data ([start, end] of each piece), and SHA-256 of these pieces in a row."""
    pieces, at, content = [], 0, hashlib.sha256()
    with open(path, "rb") as file:
        while at < size:
            try:
                start = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                # Nothing but a hole follows.
                break
            at = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            pieces.append([start, at])
            content.update(os.pread(file.fileno(), at - start, start))
    return {"data": pieces, "sha256": content.hexdigest()}


def value(content):
    """An attribute's value in hexadecimal, the SHA-256 of a large one."""
    if len(content) > 300:
        return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return content.hex()


def escaped(path):
    """Printable ASCII stays, everything else and the backslash becomes \\xNN."""
    return "".join(chr(c) if 0x20 <= c < 0x7F and c != 0x5C else f"\\x{c:02x}" for c in path)


if __name__ == "__main__":
    sys.stdout.write(of(sys.argv[1]))
