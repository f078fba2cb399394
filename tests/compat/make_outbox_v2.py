"""Writes tests/compat/outbox_v2.sqlite, an outbox of schema version 2 with an entry in every state, answers, an audit.

Run once, by the edgeloop that had this schema; never again: the file stands for devices out there.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sample_values import make_sample

from edge.outbox.base import OutboxLimits
from edge.outbox.sqlite import SqliteOutbox
from edge.types import Feedback, FeedbackKind

HERE = Path(__file__).resolve().parent
NUMBERS = {"pending": 0, "claimed": 1, "sent": 2, "parked": 3}
SHED = 4
ANSWER = Feedback(kind=FeedbackKind.CORRECTED, label="Früchtetee", who="ann", at=1_700_000_000.5)


def main() -> None:
    path = HERE / "outbox_v2.sqlite"
    path.unlink(missing_ok=True)
    outbox = SqliteOutbox(path, OutboxLimits(max_entries=4))
    for number in NUMBERS.values():
        outbox.put(make_sample(number, value=0.9 if number == NUMBERS["claimed"] else 0.5), now=1_700_000_000.0)
    outbox.put(make_sample(SHED, value=0.1), now=1_700_000_000.5)
    outbox.claim(limit=1, now=1_700_000_001.0, lease_s=60)
    outbox.mark_sent((make_sample(NUMBERS["sent"]).digest,), now=1_700_000_002.0)
    outbox.park(make_sample(NUMBERS["parked"]).digest, reason="not a picture")
    for name in ("pending", "sent"):
        outbox.put_answer(make_sample(NUMBERS[name]).digest, ANSWER, now=1_700_000_003.0)
    outbox.close()


if __name__ == "__main__":
    main()
