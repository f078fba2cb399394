"""The error tree of edgeloop.

Every error that a caller may act on derives from `EdgeloopError` and carries one line that says what is wrong and a
`hint` that says what to do. Two families matter to code that talks over a network: `RoadError` (the road failed, try
again later) and `RefusedError` (the other side said no, trying again is useless).
"""

from __future__ import annotations


class EdgeloopError(Exception):
    """Base of every error that edgeloop raises on purpose.

    Args:
        message: One line: what is wrong, naming the file, field or layer.
        hint: One line: what to do about it; empty when the message says it all.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class UsageError(EdgeloopError):
    """What was asked for makes no sense: a missing path, a bad option, an empty folder."""

    exit_code = 2


class MissingExtraError(EdgeloopError):
    """An optional library is not installed; the hint is the exact `pip install` line."""

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(f"{library} is not installed", hint=f'pip install "edgeloop[{extra}]"')


class ImageError(EdgeloopError):
    """A picture cannot be used: unreadable, truncated, empty, too large, not a picture."""


class FormatError(EdgeloopError):
    """A file or message does not follow its format page (docs/formats)."""


class BundleError(EdgeloopError):
    """A bundle is damaged, incomplete, unproven or of an unknown format version."""


class BackendError(EdgeloopError):
    """An inference runtime refused the model or failed while running it."""


class SelfTestError(BundleError):
    """A bundle does not reproduce its golden vectors on this device."""


class StorageError(EdgeloopError):
    """The local disk failed: full, read-only, damaged. Nothing was half-written."""


class DamagedError(StorageError):
    """A file of this device's own is not as it was written: bits have rotted, or a write was torn."""


class UnusableFileError(StorageError):
    """A file belongs to another program, or to a newer edgeloop: waiting does not help."""


class RoadError(EdgeloopError):
    """The road failed: no connection, a timeout, a server that asks to wait. Retry with backoff.

    Args:
        message: What failed.
        hint: What to do about it.
        retry_after_s: Seconds that the other side asked to wait, or None.
    """

    def __init__(self, message: str, *, hint: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class RefusedError(EdgeloopError):
    """The other side said no. Park what was sent; never retry it unchanged."""


class TrustError(EdgeloopError):
    """A release is unsigned, expired, rolled back or otherwise not to be trusted."""
