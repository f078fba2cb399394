"""Says in our words what the TUF client found wrong. Imported only where tuf is at hand."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from edge.errors import MissingExtraError, RoadError, TrustError

STAYS = "the device stays on the bundle it has"


@contextlib.contextmanager
def as_trust_errors(what: str, *, now: float | None = None) -> Iterator[None]:
    """Maps every error of the TUF client.

    Args:
        what: What was being verified.
        now: What the device's clock says, seconds since the epoch; named where something has expired.

    Raises:
        TrustError: What came is not to be trusted.
        RoadError: It did not come.
        MissingExtraError: tuf is not installed.
    """
    try:
        from tuf.api import exceptions
    except ImportError as cause:
        raise MissingExtraError("tuf", "update") from cause
    try:
        yield
    except exceptions.ExpiredMetadataError as cause:
        clock = f"; this device's clock says {day(now)}" if now is not None else ""
        hint = f"set the clock if that is wrong, else renew it on the server; until then {STAYS}"
        raise TrustError(f"{what} has expired: {cause}{clock}", hint=hint) from cause
    except exceptions.UnsignedMetadataError as cause:
        raise TrustError(f"{what} is not signed by the keys this device trusts: {cause}", hint=STAYS) from cause
    except exceptions.BadVersionNumberError as cause:
        raise TrustError(f"{what} was rolled back or mixed up: {cause}", hint=STAYS) from cause
    except (exceptions.LengthOrHashMismatchError, exceptions.DownloadLengthMismatchError) as cause:
        raise TrustError(f"{what} was tampered with: {cause}", hint=STAYS) from cause
    except exceptions.DownloadHTTPError as cause:
        raise RoadError(f"there is no complete release yet: {cause}", hint="publish a bundle") from cause
    except exceptions.DownloadError as cause:
        raise road_error(cause) from cause
    except (exceptions.RepositoryError, ValueError, RecursionError) as cause:
        raise TrustError(f"{what} is not valid: {cause}", hint=STAYS) from cause


def road_error(cause: BaseException) -> RoadError:
    """The transport's own words, which the client wraps."""
    inner = cause.__cause__
    return inner if isinstance(inner, RoadError) else RoadError(f"the download failed: {inner or cause}")


def day(at: float) -> str:
    """A moment for people, to the minute, UTC."""
    try:
        return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at))
    except (OverflowError, ValueError, OSError):
        return f"{at:.0f} s since 1970"
