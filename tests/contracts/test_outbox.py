"""What every `SampleOutbox` promises, held against all of them."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pytest
from sample_values import make_metadata, make_sample

from edge.errors import FormatError
from edge.outbox.base import (
    AuditAction,
    EntryState,
    OutboxLimits,
    OutboxStats,
    PutOutcome,
    Sample,
    SampleOutbox,
    WaitingAnswer,
)
from edge.outbox.memory import MemoryOutbox
from edge.outbox.recovering import RecoveringOutbox
from edge.outbox.sqlite import SqliteOutbox
from edge.types import Feedback, FeedbackKind

Make = Callable[[OutboxLimits], SampleOutbox]


@pytest.fixture(params=["memory", "sqlite", "recovering"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    path = tmp_path / "outbox.sqlite"
    kinds: dict[str, Make] = {
        "memory": MemoryOutbox,
        "sqlite": lambda limits: SqliteOutbox(path, limits),
        "recovering": lambda limits: RecoveringOutbox(path, limits, report=pytest.fail, clock=lambda: 0.0),
    }
    with contextlib.ExitStack() as at_exit:

        def made(limits: OutboxLimits) -> SampleOutbox:
            outbox = kinds[request.param](limits)
            at_exit.callback(outbox.close)
            return outbox

        yield made


@pytest.fixture
def outbox(make: Make) -> SampleOutbox:
    return make(OutboxLimits())


def states(outbox: SampleOutbox) -> dict[str, EntryState]:
    return {entry.digest: entry.state for entry in outbox.entries()}


def counted(outbox: SampleOutbox) -> OutboxStats:
    """Without the size of the file, which only one on disk has."""
    return dataclasses.replace(outbox.stats(), file_bytes=0)


def put_all(outbox: SampleOutbox, samples: Iterable[Sample]) -> None:
    for sample in samples:
        assert outbox.put(sample, now=1.0)


def left(outbox: SampleOutbox, samples: Sequence[Sample]) -> list[int]:
    """Which of the samples are in the outbox, with what is left of each."""
    present = states(outbox)
    for sample in samples:
        if present.get(sample.digest, EntryState.SENT) is not EntryState.SENT:
            assert outbox.payload(sample.digest) == sample.payload
    return [number for number, sample in enumerate(samples) if sample.digest in present]


def answer(label: str = "tea", *, at: float = 1.0) -> Feedback:
    return Feedback(kind=FeedbackKind.CORRECTED, label=label, who="ann", at=at)


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
        outbox.put(sample, now=100.0 - number)  # a clock that is set back does not make the younger the older
    claimed = outbox.claim(limit=4, now=200.0, lease_s=10)
    assert [entry.digest for entry in claimed] == [samples[number].digest for number in (1, 3, 2, 4)]
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
    (entry,) = outbox.entries()
    assert (entry.digest, entry.state, entry.metadata) == (sample.digest, EntryState.SENT, None)
    assert outbox.stats().sent == 1
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
    assert counted(outbox) == OutboxStats(pending=0, sent=0, parked=0, pending_bytes=0)
    samples = [make_sample(number, size_bytes=10 + number, value=1 - number / 10) for number in range(4)]
    for sample in samples:
        outbox.put(sample, now=1.0)
    outbox.mark_sent((samples[0].digest,), now=2.0)
    outbox.park(samples[1].digest, reason="refused")
    outbox.claim(limit=1, now=2.0, lease_s=60)
    assert counted(outbox) == OutboxStats(pending=2, sent=1, parked=1, pending_bytes=12 + 13)


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


def test_claims_are_the_best_of_all_classes(outbox: SampleOutbox) -> None:
    """Answered or not, one order of value; what is parked or being sent is passed over."""
    samples = [make_sample(number, value=number / 10) for number in range(8)]
    put_all(outbox, samples)
    for number in (2, 6):
        outbox.put_answer(samples[number].digest, answer(), now=1.0)
    outbox.park(samples[7].digest, reason="no")
    claims = [[entry.digest for entry in outbox.claim(limit=limit, now=2.0, lease_s=60)] for limit in (1, 3, 10)]
    assert claims == [[samples[n].digest for n in numbers] for numbers in ((6,), (5, 4, 3), (2, 1, 0))]


def test_all_that_is_claimed_comes_back_at_once(outbox: SampleOutbox) -> None:
    samples = [make_sample(number) for number in range(4)]
    put_all(outbox, samples)
    outbox.claim(limit=3, now=1.0, lease_s=1e9)
    outbox.park(samples[0].digest, reason="no")
    outbox.release_all()
    assert list(states(outbox).values()) == [EntryState.PARKED, *[EntryState.PENDING] * 3]


def test_maintenance_changes_nothing_that_can_be_seen(outbox: SampleOutbox) -> None:
    samples = [make_sample(number, size_bytes=400_000) for number in range(12)]
    for sample in samples:
        outbox.put(sample, now=1.0)
        outbox.maintain()
    assert left(outbox, samples) == list(range(12))


def test_several_are_put_at_once(outbox: SampleOutbox) -> None:
    samples = [make_sample(number, size_bytes=1000) for number in range(5)]
    outbox.put(samples[1], now=1.0)
    outcomes = outbox.put_many([*samples, samples[0]], now=2.0)
    kept, known = PutOutcome.KEPT, PutOutcome.KNOWN
    assert outcomes == (kept, known, kept, kept, kept, known)
    assert [entry.digest for entry in outbox.entries()] == [samples[n].digest for n in (1, 0, 2, 3, 4)]
    assert left(outbox, samples) == list(range(5))
    assert outbox.put_many((), now=3.0) == ()


def test_one_that_cannot_be_kept_keeps_all_of_them_out(outbox: SampleOutbox) -> None:
    bad = dataclasses.replace(make_sample(2), payload=b"something else")
    with pytest.raises(FormatError):
        outbox.put_many([make_sample(1), bad, make_sample(3)], now=1.0)
    assert outbox.entries() == ()


FULL = OutboxLimits(max_entries=4)


@pytest.mark.parametrize(
    ("prepare", "shed"),
    [
        ({}, [2, 4, 1, 3]),
        ({"parked": (3,)}, [3, 2, 4, 1]),
        ({"answered": (2, 3)}, [4, 1, 2, 3]),
        ({"answered": (2, 3), "parked": (3, 1)}, [1, 4, 3, 2]),
        ({"claimed": (1, 3)}, [2, 4]),
    ],
)
def test_the_least_valuable_are_shed_first(make: Make, prepare: dict[str, tuple[int, ...]], shed: list[int]) -> None:
    """In order: without an answer, parked, the lower value, the older; never what is being sent."""
    outbox = make(FULL)
    values = {1: 0.6, 2: 0.2, 3: 0.6, 4: 0.2}
    samples = {number: make_sample(number, value=value) for number, value in values.items()}
    put_all(outbox, samples.values())
    for number in prepare.get("answered", ()):
        outbox.put_answer(samples[number].digest, answer(), now=1.0)
    for number in prepare.get("parked", ()):
        outbox.park(samples[number].digest, reason="no")
    if "claimed" in prepare:
        outbox.claim(limit=2, now=1.0, lease_s=60)
    gone = []
    for round_number in range(len(shed)):
        before = set(states(outbox))
        newest = make_sample(100 + round_number, value=0.9)
        outbox.put_answer(newest.digest, answer(), now=1.0)
        assert outbox.put(newest, now=2.0)
        (digest,) = before - set(states(outbox))
        gone += [number for number, sample in samples.items() if sample.digest == digest]
    assert gone == shed
    assert outbox.stats().shed == len(shed)
    assert [row.digest for row in reversed(outbox.audit(limit=99))] == [samples[number].digest for number in shed]
    assert all(row.action is AuditAction.SHED and row.at == 2.0 for row in outbox.audit(limit=99))


def test_a_new_one_that_is_worth_least_is_turned_away(make: Make) -> None:
    outbox = make(FULL)
    samples = [make_sample(number, value=0.5) for number in range(4)]
    put_all(outbox, samples)
    low, same = make_sample(10, value=0.4), make_sample(11, value=0.5)
    assert outbox.put_many([low], now=2.0) == (PutOutcome.SHED,)
    assert left(outbox, samples) == [0, 1, 2, 3]
    (row,) = outbox.audit(limit=9)
    assert (row.action, row.digest, row.size_bytes, row.value, row.at) == (AuditAction.SHED, low.digest, 64, 0.4, 2.0)
    assert outbox.put(same, now=3.0), "the youngest among equals goes last"
    assert left(outbox, samples) == [1, 2, 3]
    assert outbox.stats().shed == 2


def test_one_that_was_turned_away_may_come_again(make: Make) -> None:
    outbox = make(FULL)
    samples = [make_sample(number, value=0.5) for number in range(4)]
    put_all(outbox, samples)
    low = make_sample(10, value=0.4)
    assert not outbox.put(low, now=2.0)
    outbox.mark_sent((samples[0].digest,), now=3.0)
    assert outbox.put(low, now=4.0), "sent samples do not count"
    assert outbox.payload(low.digest) == low.payload


def test_nothing_is_shed_for_one_that_does_not_come_in_after_all(make: Make) -> None:
    """A large one would have to push out a better one as well as the two that are worth less."""
    outbox = make(OutboxLimits(max_bytes=1_000_000))
    values = (0.1, 0.2, 0.9, 0.9, 0.9)
    samples = [make_sample(number, size_bytes=150_000, value=value) for number, value in enumerate(values)]
    put_all(outbox, samples)
    assert not outbox.put(make_sample(30, size_bytes=600_000, value=0.5), now=3.0)
    assert left(outbox, samples) == [0, 1, 2, 3, 4]
    assert outbox.put(make_sample(31, size_bytes=420_000, value=0.5), now=3.0)
    assert left(outbox, samples) == [2, 3, 4]


def test_one_call_may_push_out_its_own(make: Make) -> None:
    outbox = make(OutboxLimits(max_entries=2))
    samples = [make_sample(number, value=value) for number, value in enumerate((0.5, 0.1, 0.9, 0.3, 0.7))]
    kept, shed = PutOutcome.KEPT, PutOutcome.SHED
    assert outbox.put_many(samples, now=1.0) == (shed, shed, kept, shed, kept)
    assert left(outbox, samples) == [2, 4]
    assert outbox.stats().shed == 3


def test_one_that_is_larger_than_all_is_turned_away_at_once(make: Make) -> None:
    outbox = make(OutboxLimits(max_bytes=1_000_000))
    small = make_sample(1, value=0.0)
    outbox.put(small, now=1.0)
    huge = make_sample(2, size_bytes=1_200_000, value=1.0)
    assert outbox.put_many([huge], now=2.0) == (PutOutcome.SHED,)
    assert left(outbox, [small]) == [0]
    assert "larger" in outbox.audit(limit=1)[0].detail


def test_the_bytes_are_a_limit_too(make: Make) -> None:
    outbox = make(OutboxLimits(max_bytes=1_000_000))
    samples = [make_sample(number, size_bytes=50_000, value=number / 100) for number in range(60)]
    put_all(outbox, samples)
    kept = left(outbox, samples)
    assert kept == list(range(60 - len(kept), 60)), "the best are here"
    assert 10 <= len(kept) <= 20
    assert outbox.stats().file_bytes <= 1_000_000
    assert outbox.stats().shed == 60 - len(kept)


def test_what_is_being_sent_is_never_shed(make: Make) -> None:
    outbox = make(OutboxLimits(max_entries=2))
    samples = [make_sample(number, value=0.1) for number in range(2)]
    put_all(outbox, samples)
    outbox.claim(limit=2, now=1.0, lease_s=60)
    assert outbox.put_many([make_sample(9, value=1.0)], now=1e9) == (PutOutcome.SHED,)
    assert left(outbox, samples) == [0, 1]


def test_only_so_many_digests_are_remembered(make: Make) -> None:
    outbox = make(OutboxLimits(max_remembered=3))
    samples = [make_sample(number) for number in range(6)]
    put_all(outbox, samples)
    for number in (5, 0, 1, 2, 3, 4):
        outbox.mark_sent((samples[number].digest,), now=2.0)
    assert [entry.digest for entry in outbox.entries()] == [sample.digest for sample in samples[3:]]
    assert outbox.stats().sent == 6, "of all times"
    assert [outbox.put(sample, now=3.0) for sample in samples] == [True] * 3 + [False] * 3


def test_only_so_many_rows_of_the_audit_are_kept(make: Make) -> None:
    outbox = make(OutboxLimits(max_entries=1, max_audit_rows=3))
    samples = [make_sample(number, value=number / 10) for number in range(6)]
    put_all(outbox, samples)
    assert [row.digest for row in outbox.audit(limit=99)] == [samples[number].digest for number in (4, 3, 2)]
    assert [row.digest for row in outbox.audit(limit=1)] == [samples[4].digest]
    assert outbox.audit(limit=0) == ()
    assert outbox.stats().shed == 5, "of all times"


def test_a_small_file_is_not_filled_with_digests() -> None:
    assert OutboxLimits().num_remembered == OutboxLimits().max_remembered
    assert OutboxLimits().num_audit_rows == OutboxLimits().max_audit_rows
    small = OutboxLimits(max_bytes=1_000_000)
    assert (small.num_remembered, small.num_audit_rows) == (500, 100)


@pytest.mark.parametrize("name", ["max_bytes", "max_entries", "max_remembered", "max_audit_rows"])
def test_limits_under_which_nothing_fits_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least"):
        OutboxLimits(**{name: 0})


def test_an_answer_waits_for_its_sample(outbox: SampleOutbox) -> None:
    sample = make_sample(1)
    outbox.put(sample, now=1.0)
    outbox.put_answer(sample.digest, answer(), now=2.0)
    assert outbox.waiting_answers(limit=9) == ()
    assert outbox.stats().answers == 1
    outbox.claim(limit=1, now=2.0, lease_s=60)
    assert outbox.waiting_answers(limit=9) == ()
    outbox.park(sample.digest, reason="no")
    assert outbox.waiting_answers(limit=9) == ()
    outbox.mark_sent((sample.digest,), now=3.0)
    (waiting,) = outbox.waiting_answers(limit=9)
    assert (waiting.digest, waiting.feedback) == (sample.digest, answer())
    outbox.answers_sent((waiting.number,))
    outbox.answers_sent((waiting.number,))
    assert outbox.waiting_answers(limit=9) == ()
    assert outbox.stats().answers == 0


def test_answers_come_oldest_first_and_so_many_as_are_asked_for(outbox: SampleOutbox) -> None:
    feedbacks = [answer(f"label {number}") for number in range(4)]
    for number, feedback in enumerate(feedbacks):
        outbox.put_answer(f"{number:064x}", feedback, now=10.0 - number)
    assert [one.feedback for one in outbox.waiting_answers(limit=3)] == feedbacks[:3]
    assert outbox.waiting_answers(limit=0) == ()


def test_the_same_answer_twice_is_one(outbox: SampleOutbox) -> None:
    for _ in range(2):
        outbox.put_answer("a" * 64, answer(), now=1.0)
    outbox.put_answer("a" * 64, answer(at=2.0), now=1.0)
    assert [one.feedback.at for one in outbox.waiting_answers(limit=9)] == [1.0, 2.0]


def test_a_number_names_one_answer_for_ever(outbox: SampleOutbox) -> None:
    outbox.put_answer("a" * 64, answer(), now=1.0)
    (first,) = outbox.waiting_answers(limit=9)
    outbox.answers_sent((first.number,))
    outbox.put_answer("b" * 64, answer(), now=1.0)
    outbox.answers_sent((first.number,))
    assert [one.digest for one in outbox.waiting_answers(limit=9)] == ["b" * 64]


def test_an_answer_outlives_a_sample_that_is_shed(make: Make) -> None:
    outbox = make(OutboxLimits(max_entries=1))
    first, second = make_sample(1, value=0.1), make_sample(2, value=0.9)
    outbox.put_answer(first.digest, answer(), now=1.0)
    outbox.put_answer(second.digest, answer("coffee"), now=1.0)
    outbox.put(first, now=1.0)
    assert [one.digest for one in outbox.waiting_answers(limit=9)] == [second.digest], "its sample was never here"
    outbox.put(second, now=1.0)
    assert [one.digest for one in outbox.waiting_answers(limit=9)] == [first.digest]


def test_an_answer_that_no_server_takes_is_written_down(outbox: SampleOutbox) -> None:
    outbox.put_answer("a" * 64, answer("tea"), now=1.0)
    (waiting,) = outbox.waiting_answers(limit=9)
    outbox.refuse_answer(waiting.number, reason="unknown sample", now=5.0)
    outbox.refuse_answer(waiting.number, reason="once more", now=6.0)
    (row,) = outbox.audit(limit=9)
    assert (row.at, row.action, row.digest) == (5.0, AuditAction.REFUSED, "a" * 64)
    assert "unknown sample" in row.detail
    assert "tea" in row.detail
    assert (outbox.stats().answers, outbox.stats().shed) == (0, 0)


def test_an_answer_that_cannot_be_written_down_is_not_kept(outbox: SampleOutbox) -> None:
    with pytest.raises(FormatError, match="answer cannot be kept"):
        outbox.put_answer("a" * 64, answer("bad\udc80name"), now=1.0)
    assert outbox.stats().answers == 0


def test_waiting_answers_are_values(outbox: SampleOutbox) -> None:
    outbox.put_answer("a" * 64, answer(), now=1.0)
    (waiting,) = outbox.waiting_answers(limit=1)
    assert waiting == WaitingAnswer(number=waiting.number, digest="a" * 64, feedback=answer())
