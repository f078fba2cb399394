"""Measured program: puts samples onto the disk in one way or another, each durably, and times every one.

python -m benchmarks.workers.enqueue WAY FOLDER COUNT SIZE_BYTES

Prints one JSON object: milliseconds of each durable write, samples in each, bytes that went to the disk, and which
writes had a checkpoint in them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import random
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from edge.outbox.base import Sample, SampleMetadata
from edge.outbox.sqlite import SqliteOutbox
from edge.types import KeepReason, Outcome

GROUP = 8
_METADATA = SampleMetadata(
    device_id="kiosk-1",
    captured_at=1.75e9,
    source="camera:0",
    prediction_id="0123456789ab-cdef01234567",
    bundle_digest="ab" * 32,
    label="milk",
    confidence=0.5,
    margin=0.1,
    outcome=Outcome.CONFIRM,
    reason=KeepReason.LOW_CONFIDENCE,
    value=0.5,
)


@dataclasses.dataclass
class Written:
    """What the writes came to."""

    times_ms: list[float] = dataclasses.field(default_factory=list)
    checkpoints: list[bool] = dataclasses.field(default_factory=list)


def samples(count: int, size_bytes: int) -> Iterator[Sample]:
    """Samples of seeded noise, as JPEG is to a disk."""
    rng = random.Random(5)  # noqa: S311
    for number in range(count):
        payload = rng.randbytes(size_bytes)
        metadata = dataclasses.replace(_METADATA, value=(number % 97) / 97)
        yield Sample(digest=hashlib.sha256(payload).hexdigest(), payload=payload, metadata=metadata)


def ours(folder: Path, given: list[Sample], group: int) -> Written:
    """The outbox, one durable write a group; tidied after each, as the agent's writer does."""
    path = folder / "outbox.sqlite"
    outbox = SqliteOutbox(path)
    written = Written()
    for begin in range(0, len(given), group):
        before = path.stat().st_mtime_ns
        _timed(written, lambda begin=begin: outbox.put_many(given[begin : begin + group], now=1.75e9))
        written.checkpoints.append(path.stat().st_mtime_ns != before)
        outbox.maintain()
    outbox.close()
    return written


def log(folder: Path, given: list[Sample], group: int) -> Written:
    """The least that can be done: appended to one file, flushed with `fdatasync`. No index, nothing can be freed."""
    written = Written()
    with (folder / "samples.log").open("ab", buffering=0) as file:
        for begin in range(0, len(given), group):
            data = b"".join(sample.payload for sample in given[begin : begin + group])

            def write(data: bytes = data) -> None:
                file.write(data)
                os.fdatasync(file.fileno())

            _timed(written, write)
    return written


def files(folder: Path, given: list[Sample], group: int) -> Written:
    """A file a sample: temporary name, flush, rename, flush of the folder. What careful programs do."""
    written = Written()
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    for begin in range(0, len(given), group):

        def write(part: list[Sample] = given[begin : begin + group]) -> None:
            for sample in part:
                temporary = folder / f".{sample.digest}"
                with temporary.open("wb") as file:
                    file.write(sample.payload)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.rename(folder / sample.digest)
            os.fsync(handle)

        _timed(written, write)
    os.close(handle)
    return written


def plain(folder: Path, given: list[Sample], group: int) -> Written:
    """SQLite as it comes: rollback journal, pages of 4 kB."""
    written = Written()
    with sqlite3.connect(folder / "plain.sqlite", isolation_level=None) as db:
        db.execute("CREATE TABLE samples (digest TEXT PRIMARY KEY, data BLOB)")
        for begin in range(0, len(given), group):

            def write(part: list[Sample] = given[begin : begin + group]) -> None:
                db.execute("BEGIN")
                rows = [(sample.digest, sample.payload) for sample in part]
                db.executemany("INSERT INTO samples VALUES (?, ?)", rows)
                db.execute("COMMIT")

            _timed(written, write)
    return written


WAYS: dict[str, tuple[Callable[[Path, list[Sample], int], Written], int]] = {
    "ours": (ours, 1),
    "ours-grouped": (ours, GROUP),
    "log": (log, 1),
    "log-grouped": (log, GROUP),
    "files": (files, 1),
    "sqlite": (plain, 1),
}


def _timed(written: Written, write: Callable[[], object]) -> None:
    began = time.perf_counter()
    write()
    written.times_ms.append((time.perf_counter() - began) * 1e3)


def _disk_bytes() -> int:
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["write_bytes"])


def main(way: str, folder: Path, count: int, size_bytes: int) -> None:
    """Prints what was measured."""
    write, group = WAYS[way]
    given = list(samples(count, size_bytes))
    before = _disk_bytes()
    written = write(folder, given, group)
    said = {"bytes": _disk_bytes() - before, "group": group} | dataclasses.asdict(written)
    print(json.dumps(said))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
