"""An outbox that a device of schema version 1 has left opens for ever, with everything in it."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

from sample_values import make_sample

from edge.outbox.base import EntryState, OutboxLimits, OutboxStats
from edge.outbox.sqlite import SqliteOutbox
from edge.types import Feedback, FeedbackKind

HERE = Path(__file__).resolve().parent


def test_an_outbox_of_version_1_opens_with_everything_in_it(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    shutil.copy(HERE / "outbox_v1.sqlite", path)
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
    assert stats == OutboxStats(pending=2, sent=1, parked=1, pending_bytes=128)
    for sample in (samples[0], samples[1], samples[3]):
        assert outbox.payload(sample.digest) == sample.payload
    assert not outbox.put(samples[2], now=1_800_000_000.0)
    claimed = outbox.claim(limit=4, now=1_800_000_000.0, lease_s=60)
    assert [entry.digest for entry in claimed] == [samples[1].digest, samples[0].digest]
    outbox.close()


def test_an_outbox_of_version_1_does_all_that_one_of_today_does(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    shutil.copy(HERE / "outbox_v1.sqlite", path)
    outbox = SqliteOutbox(path, OutboxLimits(max_entries=3))
    answer = Feedback(kind=FeedbackKind.CONFIRMED, label="tea", who="ann", at=1.0)
    outbox.put_answer(make_sample(3).digest, answer, now=1.0)
    outbox.release_all()
    assert outbox.put(make_sample(9, value=0.5), now=1.0)
    assert [entry.digest for entry in outbox.entries()] == [make_sample(n).digest for n in (1, 2, 3, 9)]
    assert outbox.audit(limit=9)[0].digest == make_sample(0).digest
    outbox.close()
    again = SqliteOutbox(path)
    assert again.stats().shed == 1
    again.close()
