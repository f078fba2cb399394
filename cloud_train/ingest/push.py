"""One push: pieces in, receipts out, in whatever order the samples become durable."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from cloud_train.ingest.callers import Caller
from cloud_train.ingest.commit import GroupCommit
from cloud_train.ingest.intake import Intake, PayloadRefusedError, Upload
from cloud_train.ingest.picture import size_fault
from edge.errors import RoadError
from edge.sync.types import Chunk, Receipt, ReceiptStatus, SampleOffer

T = TypeVar("T")

_MAX_UNDER_WAY = 16
_TURN_S = 10.0


class Turns:
    """One upload of a digest at a time, over all connections. Belongs to one event loop."""

    def __init__(self) -> None:
        self._busy: dict[str, asyncio.Future[None]] = {}

    async def take(self, digest: str, *, timeout_s: float = _TURN_S) -> None:
        """Waits until nobody sends `digest`, then holds it.

        Raises:
            RoadError: It took too long.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while digest in self._busy:
                    await asyncio.shield(self._busy[digest])
        except TimeoutError as cause:
            raise RoadError(
                f"{digest} is being sent by another connection", hint="try again later", retry_after_s=1.0
            ) from cause
        self._busy[digest] = asyncio.get_running_loop().create_future()

    def give(self, digest: str) -> None:
        """Lets the next one in."""
        self._busy.pop(digest).set_result(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class PushParts:
    """What a push needs of its server.

    Attributes:
        intake: Where payloads grow.
        turns: Who may send what.
        commits: Makes finished uploads durable.
        is_stored: Whether a digest is durable already; blocking.
        in_thread: Runs a blocking function on a worker thread.
        max_payload_bytes: Largest payload taken.
    """

    intake: Intake
    turns: Turns
    commits: GroupCommit[Upload]
    is_stored: Callable[[str], bool]
    in_thread: Callable[..., asyncio.Future[Any]]
    max_payload_bytes: int


async def push(pieces: AsyncIterator[Chunk], parts: PushParts, *, caller: Caller) -> AsyncGenerator[Receipt, None]:
    """Takes pieces until they end; yields every receipt once its sample is durable or refused for good.

    Args:
        pieces: Those of a sample follow each other; the first carries the offer.
        parts: Of the server.
        caller: Who sends; a sample of another device ends the stream.

    Raises:
        ForbiddenError: A piece belongs to another device.
        FormatError: A piece makes no sense.
        RoadError: The device shall offer again.
        StorageError: The disk is full or failing; nothing was lost that has a receipt.
    """
    stream = _PushStream(parts, caller)
    reader = asyncio.create_task(stream.read(pieces))
    try:
        while (said := await stream.said.get()) is not None:
            if isinstance(said, Exception):
                raise said
            yield said
    finally:
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)


class _PushStream:
    """Reads one connection's pieces; one sample is open at a time.

    `said` carries the receipts, an error that ends the stream, or None at its end.
    """

    def __init__(self, parts: PushParts, caller: Caller) -> None:
        self._caller = caller
        self.said: asyncio.Queue[Receipt | Exception | None] = asyncio.Queue()
        self._parts = parts
        self._turn: str | None = None
        self._upload: Upload | None = None
        self._skipped: dict[str, Receipt | None] = {}
        self._under_way: set[asyncio.Task[None]] = set()

    async def read(self, pieces: AsyncIterator[Chunk]) -> None:
        """Reads to the end, then waits for what is being committed."""
        try:
            async for piece in pieces:
                await self._take(piece)
            await asyncio.gather(*self._under_way)
            self.said.put_nowait(None)
        except Exception as error:  # raised again by `push`
            self.said.put_nowait(error)
        finally:
            self._let_go()

    async def _take(self, piece: Chunk) -> None:
        if piece.digest not in self._skipped:
            try:
                await self._receive(piece)
            except PayloadRefusedError as refusal:
                self._let_go()
                self.said.put_nowait(_refused(piece.digest, str(refusal)))
                self._skipped[piece.digest] = None
        if piece.last and (receipt := self._skipped.pop(piece.digest, None)):
            self.said.put_nowait(receipt)

    async def _receive(self, piece: Chunk) -> None:
        if self._turn != piece.digest:
            self._let_go()
            await self._begin(piece)
        upload = self._upload
        if upload is None:
            return
        await self._in_thread(upload.append, piece.offset, piece.data)
        if piece.last:
            await self._in_thread(upload.finish)
            await self._hand_over(upload)

    async def _begin(self, piece: Chunk) -> None:
        """Opens an upload, unless the sample is durable already: then its pieces are skipped."""
        offer, parts = _offer_of(piece, self._parts.max_payload_bytes), self._parts
        self._caller.must_be(offer.metadata.device_id)
        await parts.turns.take(offer.digest)
        self._turn = offer.digest
        if await self._in_thread(parts.is_stored, offer.digest):
            self._let_go()
            self._skipped[offer.digest] = _stored(offer.digest)
        else:
            await self._in_thread(self._open, offer, piece.offset)

    def _open(self, offer: SampleOffer, offset: int) -> None:
        self._upload = self._parts.intake.begin(offer, offset=offset)

    async def _hand_over(self, upload: Upload) -> None:
        self._upload = self._turn = None
        task = asyncio.create_task(self._commit(upload))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        if len(self._under_way) >= _MAX_UNDER_WAY:
            await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)

    async def _commit(self, upload: Upload) -> None:
        """Goes on when its stream has ended: what has arrived is kept."""
        try:
            await self._parts.commits.add(upload)
            self.said.put_nowait(_stored(upload.offer.digest))
        except Exception as error:  # raised again by `push`
            self.said.put_nowait(error)
        finally:
            upload.close()
            self._parts.turns.give(upload.offer.digest)

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


def _stored(digest: str) -> Receipt:
    return Receipt(digest=digest, status=ReceiptStatus.STORED)


def _refused(digest: str, reason: str) -> Receipt:
    return Receipt(digest=digest, status=ReceiptStatus.REFUSED, reason=reason)


def _offer_of(piece: Chunk, max_bytes: int) -> SampleOffer:
    if piece.offer is None:
        raise PayloadRefusedError("its first piece carries no offer")
    if fault := size_fault(piece.offer, max_bytes=max_bytes):
        raise PayloadRefusedError(fault)
    return piece.offer
