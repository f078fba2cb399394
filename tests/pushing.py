"""The client's end of the wire for tests of the server: exact control over every piece."""

from __future__ import annotations

import queue
from collections.abc import Iterable, Iterator
from pathlib import Path

import grpc

from cloud_train.store.layout import StoreLayout
from cloud_train.store.sql import open_meta_store
from cloud_train.types import SampleRecord
from edge.outbox.base import Sample
from edge.sync.types import Chunk, DeviceStatus, Directive, OfferReply, Receipt, ReceiptStatus, SampleOffer
from edge.types import Feedback
from edge.wire import convert
from edge.wire.v1 import edgeloop_pb2_grpc as stubs


def offer_of(sample: Sample) -> SampleOffer:
    return SampleOffer(digest=sample.digest, size_bytes=len(sample.payload), metadata=sample.metadata)


def pieces(sample: Sample, *, start: int = 0, step: int = 700, offer: SampleOffer | None = None) -> list[Chunk]:
    """A sample in pieces from `start` on."""
    size = len(sample.payload)
    return [
        Chunk(
            digest=sample.digest,
            offset=begin,
            data=sample.payload[begin : begin + step],
            last=begin + step >= size,
            offer=(offer or offer_of(sample)) if begin == start else None,
        )
        for begin in range(start, max(size, start + 1), step)
    ]


class Road:
    """One channel to a server."""

    def __init__(self, target: str, store: Path) -> None:
        self.target = target
        self._store = store
        self._channel = grpc.insecure_channel(target)
        self._samples = stubs.SamplesStub(self._channel)
        self._fleet = stubs.FleetStub(self._channel)
        self._updates = stubs.UpdatesStub(self._channel)

    def __enter__(self) -> Road:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def offer(self, *samples: Sample) -> OfferReply:
        request = convert.offer_request_to_message(tuple(offer_of(sample) for sample in samples))
        return convert.offer_response_from_message(self._samples.Offer(request, timeout=10))

    def push(self, chunks: Iterable[Chunk]) -> list[Receipt]:
        messages = (convert.chunk_to_message(chunk) for chunk in chunks)
        return [convert.push_receipt_from_message(message) for message in self._samples.Push(messages, timeout=30)]

    def push_samples(self, samples: Iterable[Sample]) -> dict[str, ReceiptStatus]:
        receipts = self.push(chunk for sample in samples for chunk in pieces(sample))
        assert len({receipt.digest for receipt in receipts}) == len(receipts), "a receipt came twice"
        return {receipt.digest: receipt.status for receipt in receipts}

    def open_push(self) -> OpenPush:
        return OpenPush(self._samples)

    def annotate(self, digest: str, feedback: Feedback) -> None:
        self._samples.Annotate(convert.annotate_request_to_message(digest, feedback), timeout=10)

    def check_in(self, status: DeviceStatus) -> Directive:
        answer = self._fleet.CheckIn(convert.check_in_request_to_message(status), timeout=10)
        return convert.check_in_response_from_message(answer)

    def fetch(self, path: str, offset: int = 0) -> list[bytes]:
        answers = self._updates.Fetch(convert.fetch_request_to_message(path, offset), timeout=10)
        return [convert.fetch_chunk_from_message(message) for message in answers]

    def records(self) -> tuple[SampleRecord, ...]:
        meta = open_meta_store(StoreLayout(root=self._store).meta)
        try:
            return meta.samples()
        finally:
            meta.close()

    def partials(self) -> dict[str, int]:
        return {path.name: path.stat().st_size for path in (self._store / "partial").iterdir()}


class OpenPush:
    """A push whose pieces the test sends one by one."""

    def __init__(self, samples: stubs.SamplesStub) -> None:
        self._pieces: queue.Queue[Chunk | None] = queue.Queue()
        self._call = samples.Push(self._messages(), timeout=30)

    def send(self, *chunks: Chunk) -> None:
        for chunk in chunks:
            self._pieces.put(chunk)

    def receipt(self) -> Receipt:
        return convert.push_receipt_from_message(next(self._call))

    def receipts(self, number: int) -> list[Receipt]:
        return [self.receipt() for _ in range(number)]

    def end(self) -> list[Receipt]:
        self._pieces.put(None)
        return [convert.push_receipt_from_message(message) for message in self._call]

    def cut(self) -> None:
        """Breaks the connection as a lost network would."""
        self._call.cancel()
        self._pieces.put(None)

    def _messages(self) -> Iterator[object]:
        while (chunk := self._pieces.get()) is not None:
            yield convert.chunk_to_message(chunk)
