"""The service `Samples`: messages to values, to the handlers, and back. Nothing is decided here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING

from cloud_train.ingest import handlers
from cloud_train.ingest.callers import Context
from cloud_train.ingest.desk import Desk, mapped
from cloud_train.ingest.push import push, put
from cloud_train.review.labels import record_feedback
from edge.wire import convert, limits
from edge.wire.v1 import edgeloop_pb2 as wire
from edge.wire.v1 import edgeloop_pb2_grpc as stubs

if TYPE_CHECKING:
    from edge.sync.types import Chunk, Receipt


class SamplesServicer(stubs.SamplesServicer):
    """Offers, payloads, answers."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def Offer(self, request: wire.OfferRequest, context: Context) -> wire.OfferResponse:  # noqa: N802
        """Asks before it sends."""
        desk = self._desk
        async with mapped(context, self._desk.journal):
            caller = await desk.gate.admit(context)
            offers = convert.offer_request_from_message(request)
            for offer in offers:
                desk.pushes.ledger.own(caller, offer.metadata.device_id)
            desk.pushes.ledger.offer(caller, offers)
            reply = await desk.in_thread(
                lambda: handlers.answer_offer(
                    offers, meta=desk.meta, blobs=desk.blobs, intake=desk.pushes.intake, settings=desk.settings
                )
            )
            return convert.offer_response_to_message(reply)

    async def Push(  # noqa: N802
        self, request_iterator: AsyncIterator[wire.Chunk], context: Context
    ) -> None:
        """Payloads up, receipts down."""
        desk = self._desk
        async with mapped(context, self._desk.journal):
            caller = await desk.gate.admit(context)
            with desk.door.upload(caller):
                pieces = _Pieces(request_iterator)
                pushing = push(pieces.read(), desk.pushes, caller=caller)
                async with desk.gate.watched(caller), aclosing(pushing) as receipts:
                    async for some in receipts:
                        for message in _receipt_messages(some, together=pieces.together):
                            await context.write(message)

    async def Put(self, request: wire.PutRequest, context: Context) -> wire.PushReceipt:  # noqa: N802
        """One small sample whole."""
        desk = self._desk
        async with mapped(context, self._desk.journal):
            caller = await desk.gate.admit(context)
            offer, data = convert.put_request_from_message(request)
            with desk.door.upload(caller):
                return convert.push_receipt_to_message(await put(offer, data, desk.pushes, caller=caller))

    async def Annotate(self, request: wire.AnnotateRequest, context: Context) -> wire.AnnotateResponse:  # noqa: N802
        """A person's answer."""
        desk = self._desk
        async with mapped(context, self._desk.journal):
            caller = await desk.gate.admit(context)
            digest, feedback = convert.annotate_request_from_message(request)
            desk.pushes.ledger.call(caller)
            sample = await desk.in_thread(desk.meta.sample, digest)
            if sample is not None:
                desk.pushes.ledger.own(caller, sample.metadata.device_id)
            record = partial(record_feedback, desk.meta, digest, feedback, through=caller.who, now=desk.clock())
            await desk.in_thread(record)
            return convert.annotate_response_to_message()


class _Pieces:
    """The pieces of a push.

    Attributes:
        together: Whether its device has sent several in one message, and so reads several receipts in one.
    """

    def __init__(self, messages: AsyncIterator[wire.Chunk]) -> None:
        self.together = False
        self._messages = messages

    async def read(self) -> AsyncIterator[Chunk]:
        async for message in self._messages:
            self.together = self.together or bool(message.more)
            for piece in convert.chunks_from_message(message):
                yield piece


def _receipt_messages(receipts: tuple[Receipt, ...], *, together: bool) -> Iterator[wire.PushReceipt]:
    size = limits.MAX_TOGETHER if together else 1
    for begin in range(0, len(receipts), size):
        yield convert.push_receipts_to_message(receipts[begin : begin + size])
