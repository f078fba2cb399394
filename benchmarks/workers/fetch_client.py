"""Fetches one file: to throw it away, or to a file, broken off once and verified; prints one JSON line."""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.workers.ingest_client import channel
from edge.wire import convert
from edge.wire.v1 import edgeloop_pb2_grpc as stubs


def discard(updates: stubs.UpdatesStub, path: str, size_bytes: int) -> None:
    """Counts the bytes."""
    got = sum(len(message.data) for message in updates.Fetch(convert.fetch_request_to_message(path, 0)))
    if got < size_bytes:
        raise SystemExit(f"{got} of {size_bytes} bytes came")


def verified(updates: stubs.UpdatesStub, path: str, size_bytes: int) -> None:
    """Writes and hashes; hangs up in the middle and goes on where it was."""
    digest, got = hashlib.sha256(), 0
    with tempfile.TemporaryFile() as file:
        for stop in (size_bytes // 2, size_bytes):
            call = updates.Fetch(convert.fetch_request_to_message(path, got))
            for message in call:
                data = convert.fetch_chunk_from_message(message)
                file.write(data)
                digest.update(data)
                got += len(data)
                if got >= stop and stop < size_bytes:
                    call.cancel()
                    break
    if digest.hexdigest() != path.rpartition("/")[2]:
        raise SystemExit("what came is not what was published")


if __name__ == "__main__":
    kind, target, keys, path, size = sys.argv[1:]
    with channel(target, Path(keys)) as road:
        begun = time.perf_counter()
        {"discard": discard, "verified": verified}[kind](stubs.UpdatesStub(road), path, int(size))
        print(json.dumps({"seconds": time.perf_counter() - begun}))
