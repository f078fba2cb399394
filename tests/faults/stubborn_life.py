"""One life of an outbox whose disk fails now and then: tries on, and writes a journal of what it saw.

    python stubborn_life.py OUTBOX JOURNAL NUM_SAMPLES

The journal is the test's own oracle: `opened`, then `kept DIGEST` for every sample that the outbox has acknowledged,
`sent DIGEST` for every receipt that it has, `failed` for every error, and `closed`.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from sample_values import make_sample

from edge.errors import StorageError
from edge.outbox.sqlite import SqliteOutbox

_ENOUGH = 200


class Life:
    def __init__(self, path: Path, journal: Path) -> None:
        self._path = path
        self._handle = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def live(self, num_samples: int) -> None:
        outbox = self._stubbornly(lambda: SqliteOutbox(self._path))
        self._note("opened")
        for number in range(num_samples):
            sample = make_sample(number, size_bytes=3000 + number)
            self._stubbornly(lambda sample=sample: outbox.put(sample, now=1.0))
            self._note("kept", sample.digest)
            if number % 4 == 3:
                self._send(outbox)
            time.sleep(0.002)
        outbox.close()
        self._note("closed")

    def _send(self, outbox: SqliteOutbox) -> None:
        claimed = self._stubbornly(lambda: outbox.claim(limit=3, now=2.0, lease_s=60))
        sent = claimed[0].digest
        self._stubbornly(lambda: outbox.mark_sent((sent,), now=2.0))
        self._note("sent", sent)
        self._stubbornly(lambda: outbox.release(tuple(entry.digest for entry in claimed[1:])))

    def _stubbornly(self, action: Callable[[], object]) -> object:
        for _ in range(_ENOUGH):
            try:
                return action()
            except StorageError:
                self._note("failed")
        raise SystemExit("the disk never worked")

    def _note(self, *words: str) -> None:
        os.write(self._handle, (" ".join(words) + "\n").encode())


if __name__ == "__main__":
    Life(Path(sys.argv[1]), Path(sys.argv[2])).live(int(sys.argv[3]))
