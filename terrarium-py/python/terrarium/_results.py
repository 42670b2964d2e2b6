"""What is answered: frozen dataclasses."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Optional


def moment(text: Optional[str]) -> Optional[datetime]:
    """Reads a time as RFC 3339 has it in UTC, with up to nine digits of a second."""
    if text is None:
        return None
    whole, _, fraction = text.rstrip("Z").partition(".")
    time = datetime.strptime(whole, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    return time.replace(microsecond=int(fraction[:6].ljust(6, "0") or 0))


def _moment(text: str) -> datetime:
    time = moment(text)
    assert time is not None
    return time


@dataclass(frozen=True)
class RestorePoint:
    """A snapshot that an instance can be brought back to. Sizes are in bytes, times in UTC."""

    name: str
    guid: str
    created: datetime
    kind: str
    alias: Optional[str]
    expires: Optional[datetime]
    size: int
    held: bool
    live: bool
    """Whether it is in the instance's own history; if not, a restore moved it aside."""
    _raw: dict[str, Any] = field(repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """All that is known of it, as ``terrariumctl`` has it in JSON."""
        return dict(self._raw)

    @classmethod
    def _of(cls, raw: dict[str, Any]) -> RestorePoint:
        kind = raw["kind"]
        return cls(
            name=raw["name"],
            guid=raw["guid"],
            created=_moment(raw["created"]),
            kind=kind if isinstance(kind, str) else next(iter(kind)),
            alias=raw["alias"],
            expires=moment(raw["expires"]),
            size=raw["size"],
            held=raw["holds"] > 0,
            live=raw["live"],
            _raw=raw,
        )


@dataclass(frozen=True)
class Instance:
    """An instance and its restore points, oldest first."""

    name: str
    """``name``, or ``project/name`` outside the default project."""
    running: bool
    dataset: Optional[str]
    points: tuple[RestorePoint, ...]
    not_covered: Optional[str]
    """Why it has no restore points of ours, if it cannot have any."""
    _raw: dict[str, Any] = field(repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """The same in what JSON has."""
        return dict(self._raw)

    @classmethod
    def _of(cls, raw: dict[str, Any]) -> Instance:
        return cls(
            name=raw["instance"],
            running=raw["running"],
            dataset=raw["dataset"],
            points=tuple(RestorePoint._of(point) for point in raw["points"]),
            not_covered=raw["not_covered"],
            _raw=raw,
        )


@dataclass(frozen=True)
class Report:
    """What was done."""

    operation: str
    title: str
    notices: tuple[str, ...]
    _raw: dict[str, Any] = field(repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """The whole report with every step, as ``terrariumctl --json`` shows it."""
        return dict(self._raw)

    @classmethod
    def _of(cls, raw: dict[str, Any]) -> Report:
        return cls(
            operation=raw["operation"],
            title=raw["title"],
            notices=tuple(notice["text"] for notice in raw["notices"]),
            _raw=raw,
        )
