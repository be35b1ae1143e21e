"""What can go wrong, as one line: what, where, and what to do next."""

from __future__ import annotations


class GeotrapError(Exception):
    """A run-time failure that is told to the user in one line.

    Args:
        message: What failed and where (file, key path, step).
        hint: What to do next, as a sentence or a command.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        if not self.hint:
            return self.message
        return f"{self.message}. {self.hint[:1].upper()}{self.hint[1:].removesuffix('.')}"


class UsageError(GeotrapError):
    """Wrong usage, a wrong profile, or input that cannot be read."""

    exit_code = 2


class GateFailed(GeotrapError):
    """A limit the user set with ``--gate`` does not hold."""

    exit_code = 3


class NotValid(GeotrapError):
    """``--require-valid`` was given and the verdict is not VALID."""

    exit_code = 4


class NonFiniteError(GeotrapError):
    """A loss or a weight became NaN or infinite; the last good checkpoint is kept."""
