"""Pools in files, for tests of what calls this module: no LXD, no ZFS in the kernel, no root."""

from __future__ import annotations

from typing import Optional

from ._terrarium import PathLike, Terrarium, _path


def make_pool(file: PathLike, *instances: str) -> Terrarium:
    """Makes a pool of 128 MiB in a file, with empty instances that do not run.

    >>> from terrarium.testing import make_pool, read, write
    >>> fresh = make_pool(folder / "fresh", "web")
    >>> write(fresh, "web", "note", "one")
    >>> read(fresh, "web", "note")
    'one'
    """
    made = Terrarium(pool_file=file)
    made._call("make_pool", file=_path(file), instances=list(instances))
    return made


def write(tm: Terrarium, instance: str, path: str, text: str) -> None:
    """Writes a file into an instance."""
    tm._call("write", instance=instance, path=path, text=text)


def read(tm: Terrarium, instance: str, path: str) -> Optional[str]:
    """Reads a file of an instance; ``None`` if there is none."""
    content: Optional[str] = tm._call("read", instance=instance, path=path)
    return content
