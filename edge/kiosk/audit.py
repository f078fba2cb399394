"""kiosk-audit.jsonl: who asked for what and when, one line a request; two files of bounded size.

No pictures and no tokens are in it. It is a log: a full disk stops it, and never the answers.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

from edge.errors import StorageError
from edge.journal import Journal


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a request was about, as far as it came.

    Attributes:
        prediction_id: Of the answer; empty where there is none.
        predicted_class: As it was answered; empty where nothing was named.
        outcome: `accept`, `confirm` or `unknown`; empty where there is no answer.
        confidence: In [0, 1].
        kind: Of a feedback.
        label: Of a feedback.
        who: Who gave a feedback.
    """

    prediction_id: str = ""
    predicted_class: str = ""
    outcome: str = ""
    confidence: float = 0.0
    kind: str = ""
    label: str = ""
    who: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLine:
    """One request.

    Attributes:
        at: When it was answered, seconds since the epoch, UTC.
        client: Address it came from.
        route: What was called.
        status: HTTP status of the reply.
        took_ms: Milliseconds until the reply.
        said: What it was about.
    """

    at: float
    client: str
    route: str
    status: int
    took_ms: float
    said: Said

    def fields(self) -> dict[str, object]:
        """The line as it is written."""
        said = asdict(self.said) | {"confidence": round(self.said.confidence, 6)}
        return {
            "at": round(self.at, 3),
            "client": self.client,
            "route": self.route,
            "status": self.status,
            "took_ms": round(self.took_ms, 3),
            **said,
        }


class Audit:
    """Writes the audit log. Thread-safe; tries a failed file again with the next line.

    Args:
        path: The file, or None to write nothing.
        max_bytes: Size at which it is moved aside.
    """

    def __init__(self, path: Path | None, *, max_bytes: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._journal: Journal | None = None

    def write(self, line: AuditLine) -> bool:
        """Adds a line; False where the disk is full or failing, and the line is lost."""
        if self._path is None:
            return True
        with self._lock:
            try:
                if self._journal is None:
                    self._journal = Journal(self._path, max_bytes=self._max_bytes)
                self._journal.append(line.fields())
            except (StorageError, ValueError):  # ValueError: the journal could not be opened again after a rotation
                self._drop()
                return False
            return True

    def close(self) -> None:
        """Closes the file. Calling it twice is harmless."""
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        if self._journal is not None:
            with contextlib.suppress(OSError):
                self._journal.close()
            self._journal = None
