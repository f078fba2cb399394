"""What every `SampleOutbox` promises, held against all of them."""

from __future__ import annotations

import dataclasses
import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sample_values import make_metadata, make_sample

from edge.errors import FormatError
from edge.outbox.base import EntryState, OutboxStats, Sample, SampleOutbox
from edge.outbox.memory import MemoryOutbox
from edge.outbox.sqlite import SqliteOutbox


@pytest.fixture(params=["memory", "sqlite"])
def outbox(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SampleOutbox]:
    made: dict[str, Callable[[], SampleOutbox]] = {
        "memory": MemoryOutbox,
        "sqlite": lambda: SqliteOutbox(tmp_path / "outbox.sqlite"),
    }
    outbox = made[request.param]()
    yield outbox
    outbox.close()


def states(outbox: SampleOutbox) -> dict[str, EntryState]:
    return {entry.digest: entry.state for entry in outbox.entries()}


def test_put_keeps_everything_that_was_known(outbox: SampleOutbox) -> None:
    sample = make_sample(1, size_bytes=100_000)
    assert outbox.put(sample, now=1.0)
    (entry,) = outbox.entries()
    assert (entry.digest, entry.size_bytes, entry.metadata) == (sample.digest, 100_000, sample.metadata)
    assert (entry.state, entry.attempts) == (EntryState.PENDING, 0)
    assert outbox.payload(sample.digest) == sample.payload


def test_the_same_digest_is_kept_once(outbox: SampleOutbox) -> None:
    sample = make_sample(1)
    again = dataclasses.replace(sample, metadata=make_metadata(label="other", value=0.9))
    assert outbox.put(sample, now=1.0)
    assert not outbox.put(again, now=2.0)
    assert [entry.metadata for entry in outbox.entries()] == [sample.metadata]


@pytest.mark.parametrize("settle", ["sent", "parked", "claimed"])
def test_a_digest_is_never_kept_again_whatever_became_of_it(outbox: SampleOutbox, settle: str) -> None:
    sample = make_sample(1)
    outbox.put(sample, now=1.0)
    outbox.claim(limit=1, now=1.0, lease_s=10)
    if settle == "sent":
        outbox.mark_sent((sample.digest,), now=2.0)
    elif settle == "parked":
        outbox.park(sample.digest, reason="not a picture")
    before = outbox.entries()
    assert not outbox.put(sample, now=3.0)
    assert outbox.entries() == before


def test_claims_the_most_valuable_first_and_the_oldest_among_equals(outbox: SampleOutbox) -> None:
    values = [0.2, 0.9, 0.5, 0.9, 0.5]
    samples = [make_sample(number, value=value) for number, value in enumerate(values)]
    for number, sample in enumerate(samples):
        outbox.put(sample, now=100.0 - number)
    claimed = outbox.claim(limit=4, now=200.0, lease_s=10)
    assert [entry.digest for entry in claimed] == [samples[number].digest for number in (3, 1, 4, 2)]
    assert all(entry.state is EntryState.CLAIMED and entry.attempts == 1 for entry in claimed)


def test_what_is_claimed_is_not_claimed_again_before_its_lease_ends(outbox: SampleOutbox) -> None:
    outbox.put(make_sample(1), now=1.0)
    assert len(outbox.claim(limit=5, now=10.0, lease_s=60)) == 1
    assert outbox.claim(limit=5, now=69.9, lease_s=60) == ()
    (entry,) = outbox.claim(limit=5, now=70.0, lease_s=60)
    assert entry.attempts == 2


def test_a_clock_that_was_set_back_does_not_prolong_a_lease(outbox: SampleOutbox) -> None:
    outbox.put(make_sample(1), now=1.0)
    outbox.claim(limit=1, now=1_000_000.0, lease_s=60)
    assert len(outbox.claim(limit=1, now=10.0, lease_s=60)) == 1


@pytest.mark.parametrize("limit", [0, -1])
def test_claiming_nothing_takes_nothing(outbox: SampleOutbox, limit: int) -> None:
    outbox.put(make_sample(1), now=1.0)
    assert outbox.claim(limit=limit, now=2.0, lease_s=60) == ()
    assert outbox.stats().pending == 1


def test_release_gives_back_at_once_and_only_what_is_claimed(outbox: SampleOutbox) -> None:
    samples = [make_sample(number) for number in range(3)]
    for sample in samples:
        outbox.put(sample, now=1.0)
    outbox.claim(limit=3, now=1.0, lease_s=60)
    outbox.mark_sent((samples[0].digest,), now=2.0)
    outbox.park(samples[1].digest, reason="refused")
    outbox.release(tuple(sample.digest for sample in samples))
    assert list(states(outbox).values()) == [EntryState.SENT, EntryState.PARKED, EntryState.PENDING]
    assert [entry.digest for entry in outbox.claim(limit=3, now=2.0, lease_s=60)] == [samples[2].digest]


def test_sent_frees_the_picture_and_keeps_the_digest(outbox: SampleOutbox) -> None:
    sample = make_sample(1)
    outbox.put(sample, now=1.0)
    outbox.mark_sent((sample.digest,), now=2.0)
    outbox.mark_sent((sample.digest,), now=3.0)
    with pytest.raises(KeyError):
        outbox.payload(sample.digest)
    assert states(outbox) == {sample.digest: EntryState.SENT}
    assert outbox.claim(limit=1, now=4.0, lease_s=60) == ()


def test_sent_is_final(outbox: SampleOutbox) -> None:
    sample = make_sample(1)
    outbox.put(sample, now=1.0)
    outbox.mark_sent((sample.digest,), now=2.0)
    outbox.park(sample.digest, reason="too late")
    outbox.release((sample.digest,))
    assert states(outbox) == {sample.digest: EntryState.SENT}


def test_parked_keeps_the_picture_and_is_not_offered_again(outbox: SampleOutbox) -> None:
    sample = make_sample(1)
    outbox.put(sample, now=1.0)
    outbox.claim(limit=1, now=1.0, lease_s=60)
    outbox.park(sample.digest, reason="not a picture")
    assert outbox.payload(sample.digest) == sample.payload
    assert outbox.claim(limit=1, now=1000.0, lease_s=60) == ()


def test_a_receipt_for_a_parked_sample_counts(outbox: SampleOutbox) -> None:
    sample = make_sample(1)
    outbox.put(sample, now=1.0)
    outbox.park(sample.digest, reason="refused by an old server")
    outbox.mark_sent((sample.digest,), now=2.0)
    assert states(outbox) == {sample.digest: EntryState.SENT}


def test_unknown_digests_change_nothing(outbox: SampleOutbox) -> None:
    sample = make_sample(1)
    outbox.put(sample, now=1.0)
    before = outbox.entries()
    outbox.mark_sent(("0" * 64,), now=2.0)
    outbox.release(("0" * 64,))
    outbox.park("0" * 64, reason="nobody")
    assert outbox.entries() == before
    with pytest.raises(KeyError):
        outbox.payload("0" * 64)


def test_entries_come_oldest_first(outbox: SampleOutbox) -> None:
    samples = [make_sample(number, value=number / 10) for number in range(5)]
    for sample in samples:
        outbox.put(sample, now=1.0)
    outbox.claim(limit=2, now=2.0, lease_s=60)
    assert [entry.digest for entry in outbox.entries()] == [sample.digest for sample in samples]


def test_stats_count_every_state(outbox: SampleOutbox) -> None:
    assert outbox.stats() == OutboxStats(pending=0, sent=0, parked=0, pending_bytes=0)
    samples = [make_sample(number, size_bytes=10 + number, value=1 - number / 10) for number in range(4)]
    for sample in samples:
        outbox.put(sample, now=1.0)
    outbox.mark_sent((samples[0].digest,), now=2.0)
    outbox.park(samples[1].digest, reason="refused")
    outbox.claim(limit=1, now=2.0, lease_s=60)
    assert outbox.stats() == OutboxStats(pending=2, sent=1, parked=1, pending_bytes=12 + 13)


def test_a_payload_that_is_not_its_digest_is_not_kept(outbox: SampleOutbox) -> None:
    sample = dataclasses.replace(make_sample(1), payload=b"something else")
    with pytest.raises(FormatError, match=sample.digest):
        outbox.put(sample, now=1.0)
    assert outbox.entries() == ()


@pytest.mark.parametrize("metadata", [make_metadata(confidence=math.nan), make_metadata(source="bad\udc80name")])
def test_metadata_that_cannot_be_written_down_is_not_kept(outbox: SampleOutbox, metadata: object) -> None:
    sample = dataclasses.replace(make_sample(1), metadata=metadata)
    with pytest.raises(FormatError, match="metadata cannot be kept"):
        outbox.put(sample, now=1.0)
    assert outbox.entries() == ()


def test_many_threads_lose_and_double_nothing(outbox: SampleOutbox) -> None:
    samples = [make_sample(number) for number in range(60)]
    kept: list[str] = []
    sent: list[str] = []

    def keep(part: list[Sample]) -> None:
        kept.extend(sample.digest for sample in part if outbox.put(sample, now=1.0))

    def send() -> None:
        for _ in range(40):
            claimed = tuple(entry.digest for entry in outbox.claim(limit=3, now=1.0, lease_s=60))
            outbox.mark_sent(claimed, now=1.0)
            sent.extend(claimed)

    threads = [threading.Thread(target=keep, args=(samples,)) for _ in range(3)]
    threads += [threading.Thread(target=send) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(kept) == sorted(sample.digest for sample in samples)
    assert len(sent) == len(set(sent))
    assert {digest for digest, state in states(outbox).items() if state is EntryState.SENT} == set(sent)


def test_closing_twice_is_harmless(outbox: SampleOutbox) -> None:
    outbox.close()
    outbox.close()
