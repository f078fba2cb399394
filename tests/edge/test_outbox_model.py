"""The outbox on disk and the one in memory give the same answers to any sequence of calls."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from sample_values import make_sample

from edge.outbox.base import OutboxLimits, SampleOutbox
from edge.outbox.memory import MemoryOutbox
from edge.outbox.sqlite import SqliteOutbox
from edge.types import Feedback, FeedbackKind

NUM_SAMPLES = 9
LIMITS = OutboxLimits(max_entries=4, max_remembered=2, max_audit_rows=5)
SAMPLES = [make_sample(number, size_bytes=20 + number, value=number % 4 / 4) for number in range(NUM_SAMPLES)]
moments = st.integers(0, 50).map(float)
some = st.lists(st.integers(0, NUM_SAMPLES - 1), max_size=4).map(lambda ns: tuple(SAMPLES[n].digest for n in ns))


class BothOutboxes(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.both: list[SampleOutbox] = [MemoryOutbox(LIMITS), self.opened()]

    def opened(self) -> SqliteOutbox:
        outbox = SqliteOutbox(Path(self.folder.name) / "outbox.sqlite", LIMITS)
        # The answers are compared here, not the disk: without this, hundreds of runs would wait for it.
        outbox._database.connection.execute("PRAGMA synchronous=OFF")
        return outbox

    def agree(self, answers: list[object]) -> None:
        assert answers[0] == answers[1]

    @rule(number=st.integers(0, NUM_SAMPLES - 1), now=moments)
    def put(self, number: int, now: float) -> None:
        self.agree([outbox.put(SAMPLES[number], now=now) for outbox in self.both])

    @rule(numbers=st.lists(st.integers(0, NUM_SAMPLES - 1), max_size=6), now=moments)
    def put_many(self, numbers: list[int], now: float) -> None:
        samples = [SAMPLES[number] for number in numbers]
        self.agree([outbox.put_many(samples, now=now) for outbox in self.both])

    @rule(number=st.integers(0, NUM_SAMPLES - 1), at=st.sampled_from([1.0, 2.0]), now=moments)
    def put_answer(self, number: int, at: float, now: float) -> None:
        feedback = Feedback(kind=FeedbackKind.CONFIRMED, label="tea", who="ann", at=at)
        for outbox in self.both:
            outbox.put_answer(SAMPLES[number].digest, feedback, now=now)

    @rule(limit=st.integers(0, 3), is_taken=st.booleans(), now=moments)
    def send_answers(self, limit: int, is_taken: bool, now: float) -> None:
        waiting = [outbox.waiting_answers(limit=limit) for outbox in self.both]
        self.agree([[(one.digest, one.feedback) for one in answers] for answers in waiting])
        for outbox, answers in zip(self.both, waiting, strict=True):
            numbers = tuple(one.number for one in answers)
            if is_taken:
                outbox.answers_sent(numbers)
            for number in () if is_taken else numbers:
                outbox.refuse_answer(number, reason="no", now=now)

    @rule()
    def release_all(self) -> None:
        for outbox in self.both:
            outbox.release_all()

    @rule()
    def maintain(self) -> None:
        for outbox in self.both:
            outbox.maintain()

    @rule(limit=st.integers(0, 4), now=moments, lease_s=st.sampled_from([0.0, 5.0, 20.0]))
    def claim(self, limit: int, now: float, lease_s: float) -> None:
        self.agree([outbox.claim(limit=limit, now=now, lease_s=lease_s) for outbox in self.both])

    @rule(digests=some, now=moments)
    def mark_sent(self, digests: tuple[str, ...], now: float) -> None:
        for outbox in self.both:
            outbox.mark_sent(digests, now=now)

    @rule(digests=some)
    def release(self, digests: tuple[str, ...]) -> None:
        for outbox in self.both:
            outbox.release(digests)

    @rule(number=st.integers(0, NUM_SAMPLES - 1))
    def park(self, number: int) -> None:
        for outbox in self.both:
            outbox.park(SAMPLES[number].digest, reason="no")

    def audit(self, outbox: SampleOutbox) -> list[object]:
        return [outbox.audit(limit=limit) for limit in (0, 2, 99)]

    @rule()
    def reopen(self) -> None:
        self.both[1].close()
        self.both[1] = self.opened()

    @invariant()
    def same_content(self) -> None:
        self.agree([outbox.entries() for outbox in self.both])
        self.agree([dataclasses.replace(outbox.stats(), file_bytes=0) for outbox in self.both])
        self.agree([self.audit(outbox) for outbox in self.both])
        self.agree([self.payloads(outbox) for outbox in self.both])

    def payloads(self, outbox: SampleOutbox) -> list[bytes | None]:
        def one(digest: str) -> bytes | None:
            try:
                return outbox.payload(digest)
            except KeyError:
                return None

        return [one(sample.digest) for sample in SAMPLES]

    def teardown(self) -> None:
        self.both[1].close()
        self.folder.cleanup()


TestBothOutboxes = BothOutboxes.TestCase
TestBothOutboxes.settings = settings(max_examples=40, stateful_step_count=25, deadline=None, derandomize=True)
