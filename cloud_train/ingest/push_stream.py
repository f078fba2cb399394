"""One connection's pieces: read, put together, handed on; receipts in whatever order the samples become durable.

A sample that comes in one piece stays in memory until it is durable; others grow in a file of the intake, from where
they can be taken up again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from cloud_train.ingest.arrivals import Arrival
from cloud_train.ingest.callers import Caller
from cloud_train.ingest.commit import GroupCommit
from cloud_train.ingest.intake import Intake, PayloadRefusedError, Upload
from cloud_train.ingest.ledger import Ledger
from cloud_train.ingest.picture import length_fault, size_fault
from cloud_train.ingest.room import Room
from cloud_train.ingest.turns import Turns
from edge.errors import RoadError
from edge.sync.types import Chunk, Receipt, ReceiptStatus, SampleOffer

T = TypeVar("T")

_MAX_UNDER_WAY = 32
_MAX_UNREAD, _UNREAD_S = 256, 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class PushLimits:
    """What one stream may cost.

    Attributes:
        max_payload_bytes: Largest payload taken.
        idle_s: A stream on which nothing comes for so long is ended.
        max_age_s: So is one that is older; its device goes on where it was, on a new one.
    """

    max_payload_bytes: int
    idle_s: float
    max_age_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PushParts:
    """What a push needs of its server.

    Attributes:
        intake: Where payloads grow that come in pieces.
        turns: Who may send what.
        commits: Makes what has arrived durable.
        room: How much may be in memory.
        ledger: What is counted and written down.
        open: The streams that run now.
        is_stored: Whether a digest is durable already; blocking.
        in_thread: Runs a blocking function on a worker thread.
        limits: What one stream may cost.
    """

    intake: Intake
    turns: Turns
    commits: GroupCommit[Arrival]
    room: Room
    ledger: Ledger
    open: set[PushStream]
    is_stored: Callable[[str], bool]
    in_thread: Callable[..., asyncio.Future[Any]]
    limits: PushLimits


class PushStream:
    """Reads one connection's pieces; one sample is open at a time. Made by `push`."""

    def __init__(self, parts: PushParts, caller: Caller) -> None:
        self._said: asyncio.Queue[Receipt | Exception | None] = asyncio.Queue()  # receipts; an error or None at the end
        self._has_ended = False
        self._ended_by: Exception | None = None
        self._parts = parts
        self._caller = caller
        self._turn: str | None = None
        self._upload: Upload | None = None
        self._begun = 0.0
        self._skipped: dict[str, SampleOffer | None] = {}
        self._under_way = 0
        self._settled = asyncio.Event()
        self._ending: Exception | None = None
        self._reader: asyncio.Task[None] | None = None
        self._opened_at = self._moved_at = asyncio.get_running_loop().time()
        self._watch: asyncio.TimerHandle | None = None

    @property
    def num_unread(self) -> int:
        """Receipts that nobody has taken yet."""
        return self._said.qsize()

    def begin(self, reader: asyncio.Task[None]) -> None:
        """Starts to watch that something comes."""
        self._reader = reader
        self._look()

    def end(self, error: Exception) -> None:
        """Reads no more; what has arrived still gets its receipts, then the stream ends with `error`."""
        if self._reader is not None and self._ending is None:
            self._ending = error
            self._reader.cancel()

    def forget(self) -> None:
        """Ends the watch."""
        if self._watch is not None:
            self._watch.cancel()

    async def read(self, pieces: AsyncIterator[Chunk]) -> None:
        """Reads to the end, then waits for what is being committed."""
        ended: Exception | None = None
        try:
            async for piece in pieces:
                self._moved_at = asyncio.get_running_loop().time()
                await self._take(piece)
        except asyncio.CancelledError:
            if self._ending is None:
                raise
            ended = self._ending
        except Exception as error:  # raised again by `push`
            ended = error
        finally:
            self._let_go()
        await self._until_under_way(0)
        self._said.put_nowait(ended)

    async def receipts(self) -> tuple[Receipt, ...]:
        """All receipts that are ready, at least one; nothing at the end.

        Raises:
            Exception: What ended the stream, after the receipts that were ready before.
        """
        ready: list[Receipt] = []
        while not self._has_ended and (not ready or not self._said.empty()):
            said = self._said.get_nowait() if ready else await self._said.get()
            if isinstance(said, Receipt):
                ready.append(said)
            else:
                self._has_ended, self._ended_by = True, said
        if not ready and self._ended_by is not None:
            raise self._ended_by
        return tuple(ready)

    async def _take(self, piece: Chunk) -> None:
        while self.num_unread >= _MAX_UNREAD:  # a caller that reads no receipts
            await asyncio.sleep(_UNREAD_S)
        if piece.digest not in self._skipped:
            self._skipped.clear()  # pieces of a sample follow each other: what was skipped before is over
            try:
                await self._receive(piece)
            except PayloadRefusedError as refusal:
                self._let_go()
                self._refuse(piece.digest, str(refusal))
                self._skipped[piece.digest] = None
        if piece.last and (known := self._skipped.pop(piece.digest, None)):
            await self._hand_over(Arrival(offer=known))  # the transaction looks whether its device was shut out

    async def _receive(self, piece: Chunk) -> None:
        if self._turn != piece.digest:
            self._let_go()
            offer = self._admitted(piece)
            if piece.last and not piece.offset:
                await self._take_whole(offer, piece.data)
                return
            await self._begin(offer, piece.offset)
        upload = self._upload
        if upload is None:
            return
        await self._in_thread(upload.append, piece.offset, piece.data)
        if piece.last:
            await self._in_thread(upload.finish)
            self._upload = self._turn = None
            await self._hand_over(Arrival(offer=upload.offer, path=upload.path), upload)

    def _admitted(self, piece: Chunk) -> SampleOffer:
        """The offer of a first piece, if the caller may send that now."""
        if piece.offer is None:
            self._parts.ledger.stray(self._caller)
            raise PayloadRefusedError("its first piece carries no offer")
        self._parts.ledger.own(self._caller, piece.offer.metadata.device_id)
        self._begun = self._parts.ledger.begin(self._caller, piece.offer)
        if fault := size_fault(piece.offer, max_bytes=self._parts.limits.max_payload_bytes):
            raise PayloadRefusedError(fault)
        return piece.offer

    async def _take_whole(self, offer: SampleOffer, data: bytes) -> None:
        if fault := length_fault(len(data), offer):
            raise PayloadRefusedError(fault)
        await self._parts.room.take(len(data))
        await self._hand_over(Arrival(offer=offer, data=data))

    async def _begin(self, offer: SampleOffer, offset: int) -> None:
        """Opens an upload, unless the sample is durable already: then its pieces are skipped."""
        parts = self._parts
        await parts.turns.take(offer.digest)
        self._turn = offer.digest
        if await self._in_thread(parts.is_stored, offer.digest):
            self._let_go()
            self._skipped[offer.digest] = offer
        else:
            await self._in_thread(self._open, offer, offset)

    def _open(self, offer: SampleOffer, offset: int) -> None:
        self._upload = self._parts.intake.begin(offer, offset=offset)

    async def _hand_over(self, arrival: Arrival, upload: Upload | None = None) -> None:
        """Goes on when its stream has ended: what has arrived is kept."""
        self._under_way += 1
        done = self._parts.commits.submit(arrival)
        done.add_done_callback(partial(self._committed, arrival, upload, self._begun))
        if self._under_way >= _MAX_UNDER_WAY:
            await self._until_under_way(_MAX_UNDER_WAY - 1)

    def _committed(self, arrival: Arrival, upload: Upload | None, begun: float, done: asyncio.Future[None]) -> None:
        digest = arrival.offer.digest
        if upload is not None:
            upload.close()
            self._parts.turns.give(digest)
        if arrival.data is not None:
            self._parts.room.give(len(arrival.data))
        match done.exception():
            case None:
                self._parts.ledger.stored(begun)
                self._said.put_nowait(stored_receipt(digest))
            case PayloadRefusedError() as refusal:
                self._refuse(digest, str(refusal))
            case Exception() as error:  # raised again by `push`
                self._said.put_nowait(error)
        self._under_way -= 1
        self._settled.set()

    def _refuse(self, digest: str, reason: str) -> None:
        self._parts.ledger.refused(self._caller, digest, reason)
        self._said.put_nowait(refused_receipt(digest, reason))

    async def _until_under_way(self, number: int) -> None:
        while self._under_way > number:
            self._settled.clear()
            await self._settled.wait()

    def _look(self) -> None:
        loop, limits = asyncio.get_running_loop(), self._parts.limits
        if loop.time() - self._moved_at > limits.idle_s and not self._under_way:
            self.end(RoadError(f"nothing came for {limits.idle_s:g} s", hint="offer again", retry_after_s=1.0))
        elif loop.time() - self._opened_at > limits.max_age_s:
            self.end(RoadError(f"the stream is older than {limits.max_age_s:g} s", hint="offer again"))
        else:
            self._watch = loop.call_later(min(limits.idle_s, limits.max_age_s) / 4, self._look)

    async def _in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        """Runs a blocking function; when cancelled, waits for its end, so that nobody writes to what is let go."""
        running = self._parts.in_thread(function, *arguments)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait((running,))
            raise

    def _let_go(self) -> None:
        if self._upload is not None:
            self._upload.close()
            self._upload = None
        if self._turn is not None:
            self._parts.turns.give(self._turn)
            self._turn = None


def stored_receipt(digest: str) -> Receipt:
    """The sample is durable."""
    return Receipt(digest=digest, status=ReceiptStatus.STORED)


def refused_receipt(digest: str, reason: str) -> Receipt:
    """The sample will never be taken."""
    return Receipt(digest=digest, status=ReceiptStatus.REFUSED, reason=reason)
