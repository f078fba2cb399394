"""The floor of an ingest server: raw TLS over TCP, no checks, the same store, groups by the same rule."""

from __future__ import annotations

import queue
import socket
import ssl
import sys
import threading
import time
from pathlib import Path

from benchmarks.workers.ingest_samples import metadata
from cloud_train.store.blobs import FolderBlobStore
from cloud_train.store.layout import StoreLayout
from cloud_train.store.sql import open_meta_store
from cloud_train.types import SampleRecord

GROUP, MAX_GROUP, WAIT_S = 8, 32, 0.02
"""As `edgeloop serve` by default: so many go at once, at most so many together, fewer after so long."""


def run(store: Path, key: Path, certificate: Path) -> None:
    """Serves one connection after the other on a free port, which is printed first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    layout = StoreLayout(root=store)
    store.mkdir(parents=True, exist_ok=True)
    meta, blobs = open_meta_store(layout.meta), FolderBlobStore(layout.blobs)
    known = metadata("bench-1")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            plain, _ = listener.accept()
            with context.wrap_socket(plain, server_side=True) as road:
                arrived: queue.Queue[tuple[str, bytes] | None] = queue.Queue(MAX_GROUP)
                reader = threading.Thread(target=_read, args=(road, arrived), daemon=True)
                reader.start()
                while group := _group(arrived):
                    blobs.put_many(dict(group))
                    rows = (
                        SampleRecord(digest=digest, size_bytes=len(data), received_at=time.time(), metadata=known)
                        for digest, data in group
                    )
                    meta.add_samples(tuple(rows))
                    road.sendall(b"".join(bytes.fromhex(digest) for digest, _ in group))


def _read(road: ssl.SSLSocket, arrived: queue.Queue[tuple[str, bytes] | None]) -> None:
    with road.makefile("rb", buffering=1 << 18) as file:
        while head := file.read(36):
            arrived.put((head[:32].hex(), file.read(int.from_bytes(head[32:], "big"))))
    arrived.put(None)


def _group(arrived: queue.Queue[tuple[str, bytes] | None]) -> list[tuple[str, bytes]]:
    """What has come while the last group was written; else the first that come, soon. Empty at the end."""
    group: list[tuple[str, bytes]] = []
    due = 0.0
    while len(group) < MAX_GROUP:
        try:
            wait_s = max(0.0, due - time.monotonic()) if 0 < len(group) < GROUP else 0.0
            item = arrived.get(block=not group or wait_s > 0, timeout=wait_s if group else None)
        except queue.Empty:
            break
        if item is None:
            if group:
                arrived.put(None)
            break
        due = due or time.monotonic() + WAIT_S
        group.append(item)
    return group


if __name__ == "__main__":
    run(*map(Path, sys.argv[1:]))
