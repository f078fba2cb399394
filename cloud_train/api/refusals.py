"""What an error of ours means to a caller over HTTP."""

from __future__ import annotations

from cloud_train.errors import (
    ForbiddenError,
    RolloutError,
    UnknownCallerError,
    UnknownDeviceError,
    UnknownPersonError,
)
from edge.errors import EdgeloopError, FormatError, RefusedError, RoadError, StorageError, UsageError
from edge.kiosk.refusals import RequestError, later

INTERNAL = "something went wrong in the server; its log says what"
_LONGEST_LINE = 300
_BEARER = {"WWW-Authenticate": 'Bearer realm="edgeloop"'}


def one_line(text: str) -> str:
    """A message that repeats what a caller has sent, as one line of bounded length."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())[:_LONGEST_LINE]


def refusal_of(error: EdgeloopError) -> RequestError:
    """The status and the line for an error; nothing of the server's insides is in it."""
    match error:
        case UnknownCallerError():
            return RequestError(401, str(error), headers=_BEARER)
        case ForbiddenError():
            return RequestError(403, str(error))
        case UnknownDeviceError() | UnknownPersonError():
            return RequestError(404, error.message)
        case RolloutError() | RefusedError():
            return RequestError(409, str(error))
        case FormatError() | UsageError():
            return RequestError(422, str(error))
        case RoadError(retry_after_s=wait_s) if wait_s:
            return later(429, error.message, wait_s=wait_s)
        case StorageError() | RoadError():
            return later(503, "the database or the object store is away", wait_s=5)
        case _:
            return RequestError(500, INTERNAL)
