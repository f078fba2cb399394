"""A device that sends samples of 30 KB in one of three ways, as fast as receipts come; prints one JSON line."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.workers.ingest_samples import samples
from edge.outbox.base import Sample
from edge.sync.types import Receipt, ReceiptStatus, SampleOffer

if TYPE_CHECKING:
    import grpc

WINDOW = 32
"""Samples under way without a receipt: as many as a device sends, and as the server takes of one stream."""


def stream(target: str, keys: Path, waiting: list[Sample]) -> Iterator[float]:
    """One push stream, in the messages of the device's own transport; yields the time of each receipt."""
    from edge.sync.throttle import Throttle
    from edge.sync.upload import Upload
    from edge.wire import convert
    from edge.wire.v1 import edgeloop_pb2_grpc as stubs

    window = Window(waiting)
    with channel(target, keys) as road:
        upload = Upload(window.samples(), window.at_hand, lambda: None, Throttle(0))
        for message in stubs.SamplesStub(road).Push(upload.messages()):
            for receipt in convert.push_receipts_from_message(message):
                require_stored(receipt)
                window.room.release()
                yield time.perf_counter()


class Window:
    """Samples as the device's uploader gives them out: `WINDOW` without a receipt, small ones together."""

    def __init__(self, waiting: list[Sample]) -> None:
        self.room = threading.Semaphore(WINDOW)
        self._waiting = deque(waiting)
        self._has_room = False

    def samples(self) -> Iterator[tuple[Sample, int]]:
        """Each with nothing of it on the server."""
        while self._waiting:
            self._has_room = self._has_room or self.room.acquire()
            self._has_room = False
            yield self._waiting.popleft(), 0

    def at_hand(self, most_bytes: int) -> bool:
        """Whether the next one is that small and has room."""
        if not self._waiting or len(self._waiting[0].payload) > most_bytes:
            return False
        self._has_room = self._has_room or self.room.acquire(blocking=False)
        return self._has_room


def put(target: str, keys: Path, waiting: list[Sample]) -> Iterator[float]:
    """One unary call a sample, one after the other."""
    from edge.wire import convert
    from edge.wire.v1 import edgeloop_pb2_grpc as stubs

    with channel(target, keys) as road:
        call = stubs.SamplesStub(road).Put
        for sample in waiting:
            offer = SampleOffer(digest=sample.digest, size_bytes=len(sample.payload), metadata=sample.metadata)
            require_stored(
                convert.push_receipt_from_message(call(convert.put_request_to_message(offer, sample.payload)))
            )
            yield time.perf_counter()


def require_stored(receipt: Receipt) -> None:
    """Ends the process when a sample was not stored."""
    if receipt.status is not ReceiptStatus.STORED:
        raise SystemExit(f"refused: {receipt.reason}")


@contextlib.contextmanager
def channel(target: str, keys: Path) -> Iterator[grpc.Channel]:
    """A connection as the first device, made before the clock starts."""
    import grpc

    parts = (keys / name for name in ("authority.pem", "key.pem", "bench-1.pem"))
    credentials = grpc.ssl_channel_credentials(*(part.read_bytes() for part in parts))
    with grpc.secure_channel(target, credentials) as road:
        grpc.channel_ready_future(road).result(10)
        yield road


def floor(target: str, keys: Path, waiting: list[Sample]) -> Iterator[float]:
    """Raw TLS over TCP: digest, length, bytes; receipts are digests."""
    host, _, port = target.rpartition(":")
    context = ssl.create_default_context(cafile=str(keys / "authority.pem"))
    with socket.create_connection((host, int(port))) as plain, context.wrap_socket(plain, server_hostname=host) as road:
        room = threading.Semaphore(WINDOW)

        def send() -> None:
            for sample in waiting:
                room.acquire()
                head = bytes.fromhex(sample.digest) + len(sample.payload).to_bytes(4, "big")
                road.sendall(head + sample.payload)

        threading.Thread(target=send, daemon=True).start()
        received = 0
        while received < 32 * len(waiting):
            before = received // 32
            received += len(road.recv(32 * WINDOW))
            for _ in range(received // 32 - before):
                room.release()
                yield time.perf_counter()


if __name__ == "__main__":
    kind, target, keys, number, seed = sys.argv[1:]
    made = samples(int(number), seed=seed)
    way = {"stream": stream, "put": put, "floor": floor}[kind]
    receipts = list(way(target, Path(keys), made))
    print(json.dumps({"seconds": receipts[-1] - receipts[0], "samples": len(receipts) - 1}))
