"""A floor under the speed of a download: a server that drips bytes must not hold a device for ever."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from edge.errors import RoadError

GRACE_S = 60.0
LEAST_BYTES_S = 64.0
"""Metadata of 16 kB take four minutes at that rate, which is what an honest road of 1980 could do."""


def in_time(
    pieces: Iterable[bytes], what: str, *, steady: Callable[[], float] = time.monotonic, grace_s: float = GRACE_S
) -> Iterator[bytes]:
    """Hands on the pieces of a download for as long as they come fast enough on the whole.

    Args:
        pieces: What comes.
        what: For the error.
        steady: Seconds that never jump.
        grace_s: How long nothing is asked of it.

    Raises:
        RoadError: After the grace, fewer than `LEAST_BYTES_S` bytes a second had come.
    """
    begun, received = steady(), 0
    for piece in pieces:
        received += len(piece)
        elapsed = steady() - begun
        if elapsed > grace_s and received < LEAST_BYTES_S * elapsed:
            raise RoadError(f"{what}: {received} bytes in {elapsed:.0f} s is too slow", hint="it is tried again later")
        yield piece
