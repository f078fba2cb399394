"""Pictures that take much memory to decode have their turn one by one, so that many threads fit where one does."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from edge.image.decode import DecodeLimits
from edge.image.picture import Picture

# Four threads may hold one each of what is below a quarter of the limit.
_SHARE = 4
_turn = threading.Lock()


@contextlib.contextmanager
def turn_for(picture: Picture, room: float, limits: DecodeLimits) -> Iterator[None]:
    """Waits until no other thread of this process is at work on a heavy picture; at once for a light one.

    A heavy one is forgotten at the end, and its memory goes back to the system: each thread's heap would keep as much
    for the next one otherwise.

    Args:
        picture: Not yet decoded.
        room: Picture pixels for each pixel that is wanted, as in `Picture.pixels`.
        limits: What one picture may take.
    """
    if picture.decoded_bytes(room) * _SHARE <= limits.max_decoded_bytes:
        yield
        return
    with _turn:
        try:
            yield
        finally:
            picture.forget()
            _give_back()


def _give_back() -> None:
    """Asks glibc for it; other C libraries do it by themselves or not at all."""
    import ctypes

    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
