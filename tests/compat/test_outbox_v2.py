"""An outbox that a device of schema version 2 has left opens for ever, with everything in it."""

from __future__ import annotations

import dataclasses
import shutil
import sqlite3
from pathlib import Path

from sample_values import make_sample

from edge.outbox.base import AuditAction, AuditRow, EntryState, OutboxStats
from edge.outbox.sqlite import SqliteOutbox
from edge.types import Feedback, FeedbackKind

HERE = Path(__file__).resolve().parent
ANSWER = Feedback(kind=FeedbackKind.CORRECTED, label="Früchtetee", who="ann", at=1_700_000_000.5)


def test_the_file_is_of_version_2() -> None:
    with sqlite3.connect(f"file:{HERE / 'outbox_v2.sqlite'}?immutable=1", uri=True) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (2,)
    db.close()


def test_an_outbox_of_version_2_opens_with_everything_in_it(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    shutil.copy(HERE / "outbox_v2.sqlite", path)
    outbox = SqliteOutbox(path)
    samples = [make_sample(0), make_sample(1, value=0.9), make_sample(2), make_sample(3)]
    entries = outbox.entries()
    assert [entry.digest for entry in entries] == [sample.digest for sample in samples]
    assert [entry.metadata for entry in entries] == [
        None if number == 2 else sample.metadata for number, sample in enumerate(samples)
    ]
    assert [entry.state for entry in entries] == list(EntryState)
    assert [entry.attempts for entry in entries] == [0, 1, 0, 0]
    stats = dataclasses.replace(outbox.stats(), file_bytes=0)
    assert stats == OutboxStats(pending=2, sent=1, parked=1, pending_bytes=128, shed=1, answers=2)
    for sample in (samples[0], samples[1], samples[3]):
        assert outbox.payload(sample.digest) == sample.payload
    (waiting,) = outbox.waiting_answers(limit=9)
    assert (waiting.digest, waiting.feedback) == (samples[2].digest, ANSWER)
    assert outbox.audit(limit=9) == (
        AuditRow(
            at=1_700_000_000.5,
            action=AuditAction.SHED,
            digest=make_sample(4).digest,
            size_bytes=64,
            value=0.1,
            detail="the outbox is full of what is worth more",
        ),
    )
    assert not outbox.put(samples[2], now=1_800_000_000.0)
    claimed = outbox.claim(limit=4, now=1_800_000_000.0, lease_s=60)
    assert [entry.digest for entry in claimed] == [samples[1].digest, samples[0].digest]
    outbox.close()
