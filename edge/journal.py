"""predictions.jsonl: one line for each answered frame, for people and scripts; two files of bounded size.

The journal is a log, not a ledger: the last lines may be missing after a power cut, and a full disk stops it without
stopping the device.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from pathlib import Path

from edge import durable
from edge.types import Frame, Inference


class Journal:
    """Appends lines; moves a full file aside to `predictions.1.jsonl`, over the one before. Thread-safe.

    Args:
        path: The file.
        max_bytes: Size at which it is moved aside.

    Raises:
        StorageError: The file cannot be opened.
    """

    def __init__(self, path: Path, *, max_bytes: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        try:
            self._file = path.open("ab", buffering=0)
            self._torn = not _ends_with_newline(path)
        except OSError as cause:
            raise durable.storage_error(path, cause) from cause

    def append(self, line: dict[str, object]) -> None:
        """Adds one line.

        Raises:
            StorageError: The disk is full or failing; a half-written line is closed off by the next one.
        """
        data = json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        try:
            with self._lock:
                if not self._file.closed:  # a line that comes too late is no error of a log
                    self._write(data)
        except OSError as cause:
            raise durable.storage_error(self._path, cause) from cause

    def close(self) -> None:
        """Closes the file; later lines are dropped."""
        with self._lock:
            self._file.close()

    def _write(self, data: bytes) -> None:
        if self._file.tell() > 0 and self._file.tell() + len(data) > self._max_bytes:
            self._rotate()
        written = self._file.write(b"\n" + data if self._torn else data)
        self._torn = written < len(data)

    def _rotate(self) -> None:
        with contextlib.suppress(FileNotFoundError):  # moved by a rotation that then failed
            os.replace(self._path, self._path.with_name(f"{self._path.stem}.1{self._path.suffix}"))
        fresh = self._path.open("ab", buffering=0)
        self._file.close()
        self._file, self._torn = fresh, False


def prediction_line(
    frame: Frame, inference: Inference, *, pass_number: int, version: int, kept: bool
) -> dict[str, object]:
    """One answered frame as a line of the journal.

    Args:
        frame: The picture.
        inference: What the engine said.
        pass_number: The pass over the source, from 1.
        version: Of the bundle that judged.
        kept: Whether the sample is in the outbox.
    """
    return {
        "sequence": frame.sequence,
        "pass": pass_number,
        "source": frame.source,
        "prediction_id": inference.prediction_id,
        "picture_digest": inference.picture_digest,
        "bundle_digest": inference.bundle_digest,
        "bundle_version": version,
        "label": inference.prediction.headline.label,
        "confidence": round(inference.decision.confidence, 6),
        "outcome": inference.decision.outcome.value,
        "reason": inference.decision.reason.value,
        "kept": kept,
        "total_ms": round(inference.timings.total_ms, 3),
        "at": round(frame.captured_at, 3),
    }


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
