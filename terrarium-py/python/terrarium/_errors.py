"""The exceptions: one for each class of failure that ``terrariumctl`` has an exit code for."""

from __future__ import annotations

from typing import Any, Optional


class Error(Exception):
    """Something was not done.

    ``help`` says what can be done about it, and ``report`` what was done, if there is anything to say.
    """

    help: Optional[str]
    report: Optional[dict[str, Any]]

    def __init__(
        self,
        message: str,
        *,
        help: Optional[str] = None,
        report: Optional[dict[str, Any]] = None,
    ) -> None:
        super().__init__(message)
        self.help = help
        self.report = report


class FailedError(Error):
    """It was attempted and failed; the report says what was done."""


class UsageError(Error):
    """What was asked for makes no sense."""


class RefusedError(Error):
    """It was refused, in conflict, or not found; nothing was changed."""


class UnavailableError(Error):
    """LXD, ZFS or the pool file cannot be reached; it is safe to try again."""


class StoppedError(Error):
    """It was interrupted; everything was put back."""


class CheckFailedError(FailedError):
    """A guard's check did not pass; the instance was rewound."""


KINDS: dict[str, type[Error]] = {
    "failed": FailedError,
    "usage": UsageError,
    "refused": RefusedError,
    "unavailable": UnavailableError,
    "interrupted": StoppedError,
}
