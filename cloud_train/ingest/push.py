"""Samples on their way in: a stream of pieces, or one sample whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

from cloud_train.ingest.arrivals import Arrival
from cloud_train.ingest.callers import Caller
from cloud_train.ingest.intake import PayloadRefusedError
from cloud_train.ingest.picture import length_fault, size_fault
from cloud_train.ingest.push_stream import PushParts, PushStream, refused_receipt, stored_receipt
from edge.sync.types import Chunk, Receipt, SampleOffer


async def push(
    pieces: AsyncIterator[Chunk], parts: PushParts, *, caller: Caller
) -> AsyncGenerator[tuple[Receipt, ...], None]:
    """Takes pieces until they end; yields receipts once their samples are durable or refused for good, all there are.

    Args:
        pieces: Those of a sample follow each other; the first carries the offer.
        parts: Of the server.
        caller: Who sends; a sample of another device ends the stream.

    Raises:
        ForbiddenError: A piece belongs to another device, or the device has been shut out.
        FormatError: A piece makes no sense.
        RoadError: The device shall offer again.
        StorageError: The disk is full or failing; nothing was lost that has a receipt.
    """
    stream = PushStream(parts, caller)
    reader = asyncio.create_task(stream.read(pieces))
    stream.begin(reader)
    parts.open.add(stream)
    try:
        while receipts := await stream.receipts():
            yield receipts
    finally:
        parts.open.discard(stream)
        stream.forget()
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)


async def put(offer: SampleOffer, data: bytes, parts: PushParts, *, caller: Caller) -> Receipt:
    """Takes one sample whole.

    Raises:
        ForbiddenError: It belongs to another device, or the device has been shut out.
        RoadError: The device shall try again later.
        StorageError: The disk is full or failing.
    """
    parts.ledger.own(caller, offer.metadata.device_id)
    fault = size_fault(offer, max_bytes=parts.limits.max_payload_bytes) or length_fault(len(data), offer)
    begun = parts.ledger.begin(caller, offer)
    if fault:
        parts.ledger.refused(caller, offer.digest, fault)
        return refused_receipt(offer.digest, fault)
    await parts.room.take(len(data))
    done = parts.commits.submit(Arrival(offer=offer, data=data), is_alone=True)
    done.add_done_callback(lambda _: parts.room.give(len(data)))  # a caller that hangs up leaves its bytes in the group
    try:
        await asyncio.shield(done)
    except PayloadRefusedError as refusal:
        parts.ledger.refused(caller, offer.digest, str(refusal))
        return refused_receipt(offer.digest, str(refusal))
    parts.ledger.stored(begun)
    return stored_receipt(offer.digest)
