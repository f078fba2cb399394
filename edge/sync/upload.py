"""The messages of one push: payloads cut into pieces, small samples put together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from edge.outbox.base import Sample
from edge.sync.throttle import Throttle
from edge.sync.types import Chunk, SampleOffer
from edge.wire import convert, limits


class Upload:
    """The messages of one push, made in the thread that sends them.

    A failure there ends the stream in order, so that receipts for what has arrived still come, and is kept for the
    thread that reads them.

    Args:
        samples: Each with the number of its first bytes that the server has.
        at_hand: See `SyncTransport.push`.
        moved: Called when a message has gone, and while one waits for the throttle.
        throttle: Keeps the messages under a rate.

    Attributes:
        failure: What `samples` raised.
    """

    def __init__(
        self,
        samples: Iterable[tuple[Sample, int]],
        at_hand: Callable[[int], bool],
        moved: Callable[[], None],
        throttle: Throttle,
    ) -> None:
        self.failure: Exception | None = None
        self._samples = samples
        self._at_hand = at_hand
        self._moved = moved
        self._throttle = throttle

    def messages(self) -> Iterator[object]:
        """Messages of `Samples.Push`."""
        try:
            for chunks in self._groups():
                self._throttle.spend(sum(len(chunk.data) for chunk in chunks), waiting=self._moved)
                yield convert.chunks_to_message(chunks)
                self._moved()
        except Exception as cause:
            self.failure = cause

    def _groups(self) -> Iterator[list[Chunk]]:
        """Pieces that travel in one message, no more than one large piece together; none waits for the next sample."""
        most = self._throttle.piece_bytes(limits.CHUNK_BYTES)
        group: list[Chunk] = []
        room = most
        for sample, offset in self._samples:
            for chunk in chunks_of(sample, offset, size_bytes=most):
                if group and (len(chunk.data) > room or len(group) >= limits.MAX_TOGETHER):
                    yield group
                    group, room = [], most
                group.append(chunk)
                room -= len(chunk.data)
                if not chunk.last or not self._at_hand(room):
                    yield group
                    group, room = [], most
        if group:  # what was at hand needed no sending any more
            yield group


def chunks_of(sample: Sample, offset: int, *, size_bytes: int = limits.CHUNK_BYTES) -> Iterator[Chunk]:
    """Cuts a payload from `offset` on into pieces of a size; at least one, which carries the offer."""
    size = len(sample.payload)
    offer: SampleOffer | None = SampleOffer(digest=sample.digest, size_bytes=size, metadata=sample.metadata)
    for begin in range(offset, max(size, offset + 1), size_bytes):
        end = begin + size_bytes
        data = sample.payload[begin:end]
        yield Chunk(digest=sample.digest, offset=begin, data=data, last=end >= size, offer=offer)
        offer = None
