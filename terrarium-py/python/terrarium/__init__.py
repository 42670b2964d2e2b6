"""A time machine for LXD containers on ZFS.

>>> import terrarium
>>> tm = terrarium.Terrarium(pool_file=pool)
>>> [instance.name for instance in tm.list()]
['db', 'web']
>>> point, = tm.snapshot("web", alias="before upgrade")
>>> report = tm.restore("web", at="before upgrade")
>>> report = tm.undo("web")

Without ``pool_file`` it works on this host's LXD and ZFS, as root.
"""

from __future__ import annotations

from ._errors import (
    CheckFailedError,
    Error,
    FailedError,
    RefusedError,
    StoppedError,
    UnavailableError,
    UsageError,
)
from ._native import __version__
from ._results import Instance, Report, RestorePoint
from ._terrarium import Guard, Terrarium

__all__ = [
    "CheckFailedError",
    "Error",
    "FailedError",
    "Guard",
    "Instance",
    "RefusedError",
    "Report",
    "RestorePoint",
    "StoppedError",
    "Terrarium",
    "UnavailableError",
    "UsageError",
    "__version__",
]
