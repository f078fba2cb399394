"""Why a request is not answered: the status, one line for the caller, and what follows from our own errors."""

from __future__ import annotations

import math

from edge.errors import EdgeloopError, ImageError, RefusedError, StorageError, UsageError
from edge.kiosk.schemas import ErrorResponse

INTERNAL = "something went wrong in the device program; its log says what"


class RequestError(Exception):
    """Ends a request.

    Args:
        status: HTTP status, 400 to 599.
        message: One line: what is wrong and what to do about it.
        headers: To be sent along.
    """

    def __init__(self, status: int, message: str, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})

    def body(self) -> bytes:
        """The one body of every error."""
        return ErrorResponse(error_message=self.message).model_dump_json().encode()


def later(status: int, message: str, *, wait_s: float) -> RequestError:
    """A refusal that ends by waiting.

    Args:
        status: 429 or 503.
        message: What is wrong.
        wait_s: Seconds after which it may work.
    """
    whole = max(1, math.ceil(wait_s))
    seconds = "1 second" if whole == 1 else f"{whole} seconds"
    return RequestError(status, f"{message}; try again in {seconds}", headers={"Retry-After": str(whole)})


def refusal_of(error: EdgeloopError) -> RequestError:
    """What an error of ours means to a caller; what it cannot act on is told without internals."""
    match error:
        case ImageError():
            return RequestError(422, str(error))
        case StorageError():
            return RequestError(507, "the device's disk is full or failing, nothing was stored; free some space")
        case RefusedError():
            return RequestError(409, str(error))
        case UsageError():
            return later(503, "there is no bundle to answer with yet", wait_s=5)
        case _:
            return RequestError(500, INTERNAL)
