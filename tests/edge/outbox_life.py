"""One life of an outbox, as a process that may be killed: keeps, claims, settles, and writes a journal of what it saw.

    python outbox_life.py OUTBOX JOURNAL NUM_SAMPLES KILL_AT_POINT

The journal is the test's own oracle: a line before a put begins, a line after it has returned True, and one after
every settlement. With KILL_AT_POINT n, the process ends itself by SIGKILL at the n-th durable write; 0 never.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sample_values import make_sample

from edge import durable
from edge.outbox.sqlite import SqliteOutbox


def live(path: Path, journal: Path, num_samples: int) -> None:
    handle = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    note = lambda *words: os.write(handle, (" ".join(map(str, words)) + "\n").encode())  # noqa: E731
    outbox = SqliteOutbox(path)
    note("opened")
    for number in range(num_samples):
        sample = make_sample(number, size_bytes=3000 + number, value=(number * 37 % 100) / 100)
        note("begin", sample.digest)
        kept = outbox.put(sample, now=number)
        note("kept" if kept else "refused", sample.digest)
        if number % 3 == 2:
            settle(outbox, note, now=number)
    outbox.close()
    note("closed")


def settle(outbox: SqliteOutbox, note, now: float) -> None:
    claimed = [entry.digest for entry in outbox.claim(limit=3, now=now, lease_s=0.5)]
    sent, rest = claimed[:1], claimed[1:]
    outbox.mark_sent(tuple(sent), now=now)
    note("sent", *sent)
    for digest in rest[:1] if now % 2 else []:
        outbox.park(digest, reason="said no")
        note("parked", digest)
    outbox.release(tuple(rest))


def kill_at(number: int) -> None:
    points = itertools.count(1)

    def observe(point: str) -> None:
        if next(points) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    durable.observe(observe)


if __name__ == "__main__":
    kill_at(int(sys.argv[4]))
    live(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
