"""What a sample costs a server's disk: flushes and CPU for pictures and rows, three ways, side by side.

    python -m benchmarks.store_flushes [--samples 1024] [--group 8] [--json]

A flush is a call of fsync or fdatasync, counted by strace over the whole process where strace is installed (so those of
SQLite and its checkpoints are in it), otherwise by a hook for pictures plus one for each commit. What shelving costs is
measured on as many pictures as are shelved together, and added.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from cloud_train.store.folder_blobs import SHELVE_OVER, FolderBlobStore
from cloud_train.store.sql import SqlMetaStore, open_meta_store
from cloud_train.types import SampleRecord
from edge import durable
from edge.outbox.base import SampleMetadata
from edge.types import KeepReason, Outcome

PICTURE_BYTES = 30_000
WAYS = {
    "one by one": "a file and a row a sample, each flushed with its folder",
    "grouped, shelves": "files of a group onto 256 shelves, one commit a group",
    "grouped, new": "files of a group into one folder, one commit a group, shelved later (ours)",
}
_METADATA = SampleMetadata(
    device_id="kiosk-1",
    captured_at=1_700_000_000.0,
    source="camera",
    prediction_id="p",
    bundle_digest="ab" * 32,
    label="tea",
    confidence=0.5,
    margin=0.1,
    outcome=Outcome.CONFIRM,
    reason=KeepReason.LOW_CONFIDENCE,
    value=0.5,
)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=1024)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--folder", type=Path, default=None, help="on the disk to measure; a temporary one by default")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--way", choices=list(WAYS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(measure(options)))
        return
    rows = {way: traced(way, options) for way in WAYS}
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    print(f"{options.samples} samples of {PICTURE_BYTES // 1000} kB in groups of {options.group}")
    print(f"{'':18}{'flushes a sample':>18}{'CPU us a sample':>18}{'samples/s':>12}")
    for way, row in rows.items():
        print(f"{way:18}{row['flushes']:18.3f}{row['cpu_us']:18.0f}{row['rate']:12.0f}   {WAYS[way]}")


def traced(way: str, options: argparse.Namespace) -> dict[str, float]:
    """Runs one way in a process of its own: once plainly for its time, once under strace for its flushes."""
    line = [sys.executable, "-m", "benchmarks.store_flushes", "--way", way, "--samples", str(options.samples)]
    line += ["--group", str(options.group), *(["--folder", str(options.folder)] if options.folder else [])]
    row: dict[str, float] = json.loads(subprocess.run(line, check=True, capture_output=True, text=True).stdout)
    strace = shutil.which("strace")
    if strace:
        with tempfile.NamedTemporaryFile() as log:
            tracer = [strace, "-f", "-qq", "-e", "trace=fsync,fdatasync,getppid", "-o", log.name]
            subprocess.run([*tracer, *line], check=True, capture_output=True)
            row["flushes"] = between_marks(Path(log.name).read_text()) / options.samples + row["shelving"]
    return row


def between_marks(log: str) -> int:
    """Flushes between the two calls of getppid that `measure` makes for this."""
    _, _, rest = log.partition("getppid(")
    middle, _, _ = rest.rpartition("getppid(")
    return len(re.findall(r"\bf(?:data)?sync\(", middle))


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Writes the samples one way."""
    flushes, fsync = [0], os.fsync

    def counted(handle: int) -> None:
        flushes[0] += 1
        fsync(handle)

    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        root = Path(place)
        meta, write = open_meta_store(root / "meta.sqlite"), _writer(options.way, root)
        for name in ("new", *(f"{number:02x}" for number in range(256))):
            (root / "blobs" / name).mkdir(parents=True, exist_ok=True)
        size = 1 if options.way == "one by one" else options.group
        groups = list(_groups(root, options.samples, size))
        os.fsync = counted
        os.getppid()
        began, cpu = time.perf_counter(), time.process_time()
        for files in groups:
            write(files)
            _record(meta, files)
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
        os.getppid()
        total = flushes[0] + len(groups)
        shelving = _shelve(root, flushes) if options.way == "grouped, new" else 0.0
        meta.close()
    return {
        "flushes": total / options.samples + shelving,
        "shelving": shelving,
        "cpu_us": cpu / options.samples * 1e6,
        "rate": options.samples / took,
    }


def _shelve(root: Path, flushes: list[int]) -> float:
    """Flushes a sample of moving as many to their shelves as are moved together."""
    for number in range(SHELVE_OVER):
        (root / "blobs" / "new" / hashlib.sha256(b"%d" % number).hexdigest()).touch()
    before = flushes[0]
    return (FolderBlobStore(root / "blobs").shelve() and flushes[0] - before) / SHELVE_OVER


def _writer(way: str, root: Path) -> Callable[[dict[str, Path]], None]:
    blobs = FolderBlobStore(root / "blobs", shelve_over=0)
    if way == "grouped, new":
        return blobs.adopt
    return lambda files: durable.publish_files(
        (path, root / "blobs" / digest[:2] / digest) for digest, path in files.items()
    )


def _groups(root: Path, samples: int, size: int) -> Iterator[dict[str, Path]]:
    durable.make_folder(root / "partial")
    rng = random.Random(1)  # noqa: S311 - pictures, not secrets
    for start in range(0, samples, size):
        files = {}
        for number in range(start, min(start + size, samples)):
            data = rng.randbytes(PICTURE_BYTES)
            path = root / "partial" / str(number)
            path.write_bytes(data)
            files[hashlib.sha256(data).hexdigest()] = path
        yield files


def _record(meta: SqlMetaStore, files: dict[str, Path]) -> None:
    meta.add_samples(
        tuple(
            SampleRecord(digest=digest, size_bytes=PICTURE_BYTES, received_at=1.0, metadata=_METADATA)
            for digest in files
        )
    )


if __name__ == "__main__":
    main()
