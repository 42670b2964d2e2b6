"""The way in."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import TracebackType
from typing import Any, Optional, Union

from . import _native
from ._errors import KINDS, CheckFailedError, FailedError, UsageError
from ._results import Instance, Report, RestorePoint

Progress = Callable[[int, int, str], Any]
PathLike = Union[str, "os.PathLike[str]"]
Check = Union[str, Callable[[], Any]]


def _path(path: Optional[PathLike]) -> Optional[str]:
    return None if path is None else str(Path(path).absolute())


def _when(when: Union[datetime, timedelta, None]) -> Optional[str]:
    if isinstance(when, timedelta):
        when = datetime.now(timezone.utc) + when
    if when is None:
        return None
    if when.tzinfo is None:
        raise UsageError(
            "the time has no zone", help="use datetime.now(timezone.utc) + timedelta(…)"
        )
    return when.astimezone(timezone.utc).isoformat()


class Terrarium:
    """A host, or a pool in a file.

    Every call opens what it works on and closes it again: calls may come from several threads, from executors of
    asyncio, and after a fork. Python's other threads run meanwhile. On a pool file, calls wait for each other.

    ``progress`` is called as ``progress(step, steps, text)`` before each step. What it raises stops the work before that
    step, as Ctrl-C does; everything is put back, then it is raised.
    """

    def __init__(
        self,
        *,
        pool_file: Optional[PathLike] = None,
        lxd_socket: Optional[PathLike] = None,
        state_dir: Optional[PathLike] = None,
        run_dir: Optional[PathLike] = None,
        zpool_program: Optional[PathLike] = None,
        progress: Optional[Progress] = None,
    ) -> None:
        if pool_file is not None and lxd_socket is not None:
            raise UsageError("pool_file and lxd_socket contradict each other")
        if zpool_program is None:
            beside = Path(__file__).with_name("terrarium-zpool")
            if "TERRARIUM_ZPOOL" not in os.environ and beside.exists():
                zpool_program = beside
            else:
                zpool_program = os.environ.get("TERRARIUM_ZPOOL") or _in_path()
        self.pool_file = None if pool_file is None else Path(pool_file).absolute()
        self._site = json.dumps(
            {
                "pool_file": _path(pool_file),
                "lxd_socket": _path(lxd_socket),
                "state_dir": _path(state_dir),
                "run_dir": _path(run_dir),
                "zpool_program": _path(zpool_program),
            }
        )
        self._progress = progress
        self._closed = False
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def __repr__(self) -> str:
        where = "" if self.pool_file is None else f"pool_file={str(self.pool_file)!r}"
        return f"Terrarium({where})"

    def __enter__(self) -> Terrarium:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()

    def close(self) -> None:
        """From now on every call raises :class:`UsageError`."""
        self._closed = True

    def _call(self, do: str, **request: Any) -> Any:
        if self._closed:
            raise UsageError("this Terrarium is closed")
        if self._pid != os.getpid():
            # Another thread of the parent may have held it.
            self._lock, self._pid = threading.Lock(), os.getpid()
        line = json.dumps({"do": do, **request})
        if self.pool_file is None:
            answer = json.loads(_native.call(self._site, line, self._progress))
        else:
            with self._lock:
                answer = json.loads(_native.call(self._site, line, self._progress))
        error = answer.get("error")
        if error is None:
            return answer["ok"]
        kind = KINDS.get(error["kind"], FailedError)
        raise kind(error["message"], help=error["help"], report=error["report"])

    def list(self) -> tuple[Instance, ...]:
        """All instances with their restore points.

        >>> [len(instance.points) for instance in tm.list()]
        [0, 0]
        """
        instances = [Instance._of(raw) for raw in self._call("list")]
        return tuple(sorted(instances, key=lambda instance: instance.name))

    def snapshot(
        self,
        *instances: str,
        alias: Optional[str] = None,
        expires: Union[datetime, timedelta, None] = None,
    ) -> tuple[RestorePoint, ...]:
        """Takes a snapshot of each instance, of all in one pool at the same moment.

        >>> from datetime import timedelta
        >>> point, = tm.snapshot("web", alias="noon", expires=timedelta(days=30))
        >>> point.alias, point.kind
        ('noon', 'on-demand')
        """
        if not instances:
            raise UsageError("of which instance?")
        names = list(instances)
        raw = self._call("snapshot", instances=names, alias=alias, expires=_when(expires))
        taken = {
            name
            for step in raw["report"]["steps"]
            for name in _snapshots(step)
        }
        found = [Instance._of(one) for one in raw["instances"] if one["instance"] in names]
        points = [point for one in found for point in one.points]
        return tuple(point for point in points if point._raw["snapshot"] in taken)

    def restore(
        self,
        instance: str,
        at: Optional[str] = None,
        *,
        start: bool = False,
        stop_timeout: float = 30,
        force: bool = False,
    ) -> Optional[Report]:
        """Rewinds an instance to a point, the newest unless ``at`` names one; what is newer moves aside.

        ``None``: the same restore had been cut off earlier, and was finished now.

        >>> _ = tm.snapshot("web", alias="noon")
        >>> tm.restore("web", "noon").title.startswith("rewind web to snap-")
        True
        """
        stop = {"timeout": stop_timeout, "force": force}
        return _report(self._call("restore", instance=instance, at=at, start=start, stop=stop))

    def restore_as_new(
        self, instance: str, new: str, at: Optional[str] = None, *, start: bool = False
    ) -> Optional[Report]:
        """Makes a new instance of a point.

        >>> _ = tm.snapshot("web")
        >>> _ = tm.restore_as_new("web", "web-then")
        >>> [instance.name for instance in tm.list()]
        ['db', 'web', 'web-then']
        """
        return _report(
            self._call("restore_as_new", instance=instance, new=new, at=at, start=start)
        )

    def undo(
        self,
        instance: str,
        *,
        start: bool = False,
        stop_timeout: float = 30,
        force: bool = False,
    ) -> Optional[Report]:
        """Takes back the last restore in place; itself can be undone."""
        stop = {"timeout": stop_timeout, "force": force}
        return _report(self._call("undo", instance=instance, start=start, stop=stop))

    def guard(
        self,
        instance: str,
        *,
        check: Optional[Check] = None,
        check_timeout: float = 60,
        alias: Optional[str] = None,
        expires: Union[datetime, timedelta] = timedelta(hours=24),
        stop_timeout: float = 30,
        force: bool = False,
    ) -> Guard:
        """A context manager: a snapshot first, and a rewind if what is in it raises, or the check does not pass.

        ``check`` is a command that is run in the instance by a shell, or something to be called; what raises, ends
        with another exit code than 0, or returns ``False`` does not pass. The instance runs again if it ran.

        >>> try:
        ...     with tm.guard("web") as guard:
        ...         raise RuntimeError("the deploy failed")
        ... except RuntimeError:
        ...     guard.rewound
        True
        """
        stop = {"timeout": stop_timeout, "force": force}
        return Guard(self, instance, check, check_timeout, alias, expires, stop)


class Guard:
    """What :meth:`Terrarium.guard` returns."""

    rewound: bool
    """Whether the instance was rewound."""
    report: Optional[Report]
    """What the rewind has done."""

    def __init__(
        self,
        of: Terrarium,
        instance: str,
        check: Optional[Check],
        check_timeout: float,
        alias: Optional[str],
        expires: Union[datetime, timedelta],
        stop: dict[str, Any],
    ) -> None:
        self._of, self._instance = of, instance
        self._check, self._check_timeout = check, check_timeout
        self._alias, self._expires, self._stop = alias, expires, stop
        self._guard: Optional[dict[str, Any]] = None
        self.rewound = False
        self.report = None

    def __enter__(self) -> Guard:
        if self._guard is not None:
            raise UsageError("a guard is entered once", help="call guard() again")
        self._guard = self._of._call(
            "guard", instance=self._instance, alias=self._alias, expires=_when(self._expires)
        )
        return self

    @property
    def point(self) -> str:
        """The name of the snapshot."""
        if self._guard is None:
            raise UsageError("the guard was not entered yet")
        return str(self._guard["name"])

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        if error is not None:
            self._rewind()
            return
        try:
            why = self._why_not()
        except BaseException:
            self._rewind()
            raise
        if why is not None:
            self._rewind()
            report = None if self.report is None else self.report.to_dict()
            help = f"undo({self._instance!r}) brings back what was rewound"
            what = f"{why}; {self._instance} is back at {self.point}"
            raise CheckFailedError(what, help=help, report=report)

    def _why_not(self) -> Optional[str]:
        if self._check is None:
            return None
        if callable(self._check):
            return "the check returned False" if self._check() is False else None
        why: Optional[str] = self._of._call(
            "check", guard=self._guard, command=self._check, limit=self._check_timeout
        )
        return why

    def _rewind(self) -> None:
        raw = self._of._call("rewind", guard=self._guard, stop=self._stop)
        self.rewound, self.report = True, _report(raw)


def _report(raw: Optional[dict[str, Any]]) -> Optional[Report]:
    return None if raw is None else Report._of(raw)


def _in_path() -> Optional[str]:
    import shutil

    return shutil.which("terrarium-zpool")


def _snapshots(step: dict[str, Any]) -> list[str]:
    if step.get("action") != "snapshot" or step.get("outcome") != "done":
        return []
    return list(step["snapshots"])
