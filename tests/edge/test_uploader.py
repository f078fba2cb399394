"""Emptying the outbox: everything is sent once, nothing is let go without a receipt, any failure can be tried again."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path

import grpc
import pytest
from loopback_server import RunningServer, Trouble, loopback_server
from sample_values import make_sample, sample_of

from edge.errors import RefusedError, RoadError, StorageError
from edge.outbox.base import AuditAction, EntryState, Sample, SampleOutbox
from edge.outbox.memory import MemoryOutbox
from edge.outbox.sqlite import SqliteOutbox
from edge.sync.grpc_transport import GrpcTransport
from edge.sync.types import OfferReply, Receipt, ReceiptStatus, SampleOffer
from edge.sync.uploader import RECEIPTS_AT_ONCE, DrainResult, drain
from edge.types import Feedback, FeedbackKind
from edge.wire import limits


@pytest.fixture
def server() -> Iterator[RunningServer]:
    with loopback_server() as running:
        yield running


@pytest.fixture
def transport(server: RunningServer) -> Iterator[GrpcTransport]:
    with closing(GrpcTransport(server.target, timeout_s=5)) as transport:
        yield transport


@pytest.fixture(params=["memory", "sqlite"])
def outbox(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SampleOutbox]:
    outbox = MemoryOutbox() if request.param == "memory" else SqliteOutbox(tmp_path / "outbox.sqlite")
    yield outbox
    outbox.close()


def keep(outbox: SampleOutbox, count: int, *, size_bytes: int = 500) -> list[Sample]:
    samples = [make_sample(number, size_bytes=size_bytes, value=1 - number / 1000) for number in range(count)]
    for sample in samples:
        assert outbox.put(sample, now=1.0)
    return samples


def states(outbox: SampleOutbox) -> list[EntryState]:
    return [entry.state for entry in outbox.entries()]


def test_everything_is_sent_once_and_freed(
    server: RunningServer, transport: GrpcTransport, outbox: SampleOutbox
) -> None:
    samples = keep(outbox, 70)
    result = drain(outbox, transport, now=time.time)
    assert result == DrainResult(sent=70, bytes_sent=70 * 500)
    assert server.state.stored == {sample.digest: sample.payload for sample in samples}
    assert set(server.state.stored_times.values()) == {1}
    assert server.state.metadata[samples[3].digest] == samples[3].metadata
    assert states(outbox) == [EntryState.SENT] * 70
    assert drain(outbox, transport, now=time.time) == DrainResult()


def test_an_empty_outbox_does_not_bother_the_server(server: RunningServer, transport: GrpcTransport) -> None:
    server.state.troubles["Offer"] = [Trouble(grpc.StatusCode.INTERNAL)]
    assert drain(MemoryOutbox(), transport, now=time.time) == DrainResult()
    assert len(server.state.troubles["Offer"]) == 1


def test_what_the_server_knows_is_not_sent(
    server: RunningServer, transport: GrpcTransport, outbox: SampleOutbox
) -> None:
    samples = keep(outbox, 5)
    server.state.stored = {sample.digest: sample.payload for sample in samples[:3]}
    assert drain(outbox, transport, now=time.time) == DrainResult(sent=2, known=3, bytes_sent=1000)
    assert states(outbox) == [EntryState.SENT] * 5


def test_what_the_server_refuses_is_parked_with_its_picture(
    server: RunningServer, transport: GrpcTransport, outbox: SampleOutbox
) -> None:
    samples = keep(outbox, 4)
    server.state.refused = {samples[0].digest: "too large"}
    server.state.refused_later = {samples[2].digest: "not a picture"}
    assert drain(outbox, transport, now=time.time) == DrainResult(sent=2, refused=2, bytes_sent=1500)
    assert states(outbox) == [EntryState.PARKED, EntryState.SENT, EntryState.PARKED, EntryState.SENT]
    assert outbox.payload(samples[0].digest) == samples[0].payload
    assert drain(outbox, transport, now=time.time) == DrainResult()


def test_one_that_no_server_could_take_does_not_block_the_others(
    server: RunningServer, transport: GrpcTransport, outbox: SampleOutbox
) -> None:
    poison = make_sample(99, value=1.0, source="x" * 10_000)
    outbox.put(poison, now=1.0)
    keep(outbox, 2)
    assert drain(outbox, transport, now=time.time) == DrainResult(sent=2, refused=1, bytes_sent=1000)
    assert states(outbox) == [EntryState.PARKED, EntryState.SENT, EntryState.SENT]


def test_only_one_that_no_server_could_take_is_parked_without_an_offer(
    server: RunningServer, transport: GrpcTransport, outbox: SampleOutbox
) -> None:
    outbox.put(make_sample(99, label="a\0b"), now=1.0)
    assert drain(outbox, transport, now=time.time) == DrainResult(refused=1)


def test_a_broken_push_goes_on_where_it_broke_off(
    server: RunningServer, transport: GrpcTransport, outbox: SampleOutbox
) -> None:
    size_bytes = 3 * limits.CHUNK_BYTES + 7
    (sample,) = keep(outbox, 1, size_bytes=size_bytes)
    server.state.cut_after_chunks = 2
    with pytest.raises(RoadError, match="cut"):
        drain(outbox, transport, now=time.time)
    assert states(outbox) == [EntryState.PENDING]
    assert drain(outbox, transport, now=time.time) == DrainResult(
        sent=1, bytes_sent=size_bytes - 2 * limits.CHUNK_BYTES
    )
    assert server.state.stored == {sample.digest: sample.payload}
    assert server.state.received_bytes == size_bytes


def test_a_server_that_has_more_than_there_is_gets_it_from_the_start(
    server: RunningServer, transport: GrpcTransport, outbox: SampleOutbox
) -> None:
    (sample,) = keep(outbox, 1)
    server.state.partial[sample.digest] = bytearray(5000)
    assert drain(outbox, transport, now=time.time) == DrainResult(sent=1, bytes_sent=500)
    assert server.state.stored == {sample.digest: sample.payload}


def test_receipts_from_before_the_break_count(
    server: RunningServer, transport: GrpcTransport, outbox: SampleOutbox
) -> None:
    keep(outbox, 20)
    server.state.receipts_group = 1
    server.state.cut_after_chunks = 12
    with pytest.raises(RoadError):
        drain(outbox, transport, now=time.time)
    sent = states(outbox).count(EntryState.SENT)
    assert 0 < sent <= 12
    assert states(outbox).count(EntryState.PENDING) == 20 - sent
    result = drain(outbox, transport, now=time.time)
    assert result.sent + result.known == 20 - sent
    assert set(server.state.stored_times.values()) == {1}


def test_a_road_that_fails_at_the_offer_gives_all_back(
    server: RunningServer, transport: GrpcTransport, outbox: SampleOutbox
) -> None:
    keep(outbox, 3)
    server.stop()
    with pytest.raises(RoadError):
        drain(outbox, transport, now=time.time)
    assert states(outbox) == [EntryState.PENDING] * 3


def test_a_device_that_is_not_welcome_parks_nothing(
    server: RunningServer, transport: GrpcTransport, outbox: SampleOutbox
) -> None:
    keep(outbox, 3)
    server.state.troubles["Offer"] = [Trouble(grpc.StatusCode.PERMISSION_DENIED)]
    with pytest.raises(RefusedError):
        drain(outbox, transport, now=time.time)
    assert states(outbox) == [EntryState.PENDING] * 3


def test_the_wish_to_wait_ends_the_round_after_what_was_asked_for(
    server: RunningServer, transport: GrpcTransport, outbox: SampleOutbox
) -> None:
    keep(outbox, 10)
    server.state.retry_after_s = 7.0
    result = drain(outbox, transport, now=time.time, batch=4)
    assert result == DrainResult(sent=4, bytes_sent=2000, retry_after_s=7.0)
    assert outbox.stats().pending == 6


def test_the_most_valuable_go_first(server: RunningServer, transport: GrpcTransport, outbox: SampleOutbox) -> None:
    samples = keep(outbox, 10)
    server.state.retry_after_s = 7.0
    drain(outbox, transport, now=time.time, batch=4)
    assert list(server.state.stored) == [sample.digest for sample in samples[:4]]


class ScriptedRoad:
    """A road in memory whose server side is a function; for what a well-behaved server never does."""

    def __init__(
        self,
        push: Callable[[Iterable[tuple[Sample, int]]], Iterator[Receipt]],
        reply: Callable[[tuple[SampleOffer, ...]], OfferReply] | None = None,
    ) -> None:
        self._push = push
        self.reply = reply
        self.offered: list[tuple[SampleOffer, ...]] = []

    def push(self, samples: Iterable[tuple[Sample, int]], *, at_hand: object = None) -> Iterator[Receipt]:
        return self._push(samples)

    def offer(self, offers: tuple[SampleOffer, ...]) -> OfferReply:
        self.offered.append(offers)
        if self.reply is not None:
            return self.reply(offers)
        missing = tuple(offer.digest for offer in offers)
        return OfferReply(missing=missing, known=(), refused={}, partial={}, retry_after_s=0.0)


def stored(digest: str) -> Receipt:
    return Receipt(digest=digest, status=ReceiptStatus.STORED)


def store_each(samples: Iterable[tuple[Sample, int]]) -> Iterator[Receipt]:
    for sample, _ in samples:
        yield stored(sample.digest)


def test_at_most_a_window_is_under_way_without_a_receipt(outbox: SampleOutbox) -> None:
    keep(outbox, 32)
    taken: list[str] = []
    most_under_way = 0

    def push(samples: Iterable[tuple[Sample, int]]) -> Iterator[Receipt]:
        nonlocal most_under_way
        feeder = threading.Thread(target=lambda: taken.extend(sample.digest for sample, _ in samples))
        feeder.start()
        for answered in range(32):
            expected = min(answered + limits.WINDOW, 32)
            deadline = time.monotonic() + 10
            while len(taken) < expected and time.monotonic() < deadline:
                time.sleep(0.001)
            time.sleep(0.002)
            most_under_way = max(most_under_way, len(taken) - answered)
            yield stored(taken[answered])
        feeder.join(10)
        assert not feeder.is_alive()

    assert drain(outbox, ScriptedRoad(push), now=time.time, batch=32).sent == 32
    assert most_under_way == limits.WINDOW == 8


def test_small_samples_travel_together_where_the_server_reads_them_so(
    server: RunningServer, transport: GrpcTransport, outbox: SampleOutbox
) -> None:
    samples = keep(outbox, 40)
    assert drain(outbox, transport, now=time.time, batch=20).sent == 40
    assert server.state.messages == [20, 20]
    assert server.state.stored == {sample.digest: sample.payload for sample in samples}


def test_no_server_gets_samples_together_that_does_not_say_it_reads_them(
    server: RunningServer, transport: GrpcTransport, outbox: SampleOutbox
) -> None:
    server.state.together = False
    keep(outbox, 20)
    assert drain(outbox, transport, now=time.time).sent == 20
    assert server.state.messages == [1] * 20


def test_samples_that_travel_together_are_no_more_than_one_large_piece(
    server: RunningServer, transport: GrpcTransport, outbox: SampleOutbox
) -> None:
    keep(outbox, 12, size_bytes=limits.CHUNK_BYTES // 4)
    assert drain(outbox, transport, now=time.time).sent == 12
    assert server.state.messages == [4, 4, 4]


def test_at_most_a_larger_window_is_under_way_where_samples_travel_together(
    server: RunningServer, transport: GrpcTransport, outbox: SampleOutbox
) -> None:
    server.state.receipts_group = limits.WINDOW_TOGETHER
    keep(outbox, 100)
    assert drain(outbox, transport, now=time.time, batch=100).sent == 100
    assert server.state.messages[0] == limits.WINDOW_TOGETHER == 32
    assert sum(server.state.messages) == 100


def test_what_was_put_together_goes_although_the_next_one_was_sent_by_another_process(
    server: RunningServer, transport: GrpcTransport
) -> None:
    class Emptied(MemoryOutbox):
        def payload(self, digest: str) -> bytes:
            if digest == samples[-1].digest:
                raise KeyError(digest)
            return super().payload(digest)

    outbox = Emptied()
    samples = keep(outbox, 5)
    assert drain(outbox, transport, now=time.time).sent == 4
    assert server.state.messages == [4]


def test_receipts_are_written_down_in_small_groups_while_the_push_goes_on(outbox: SampleOutbox) -> None:
    keep(outbox, 24)
    seen: list[int] = []

    def push(samples: Iterable[tuple[Sample, int]]) -> Iterator[Receipt]:
        for sample, _ in samples:
            seen.append(outbox.stats().sent)
            yield stored(sample.digest)

    drain(outbox, ScriptedRoad(push), now=time.time)
    assert seen == [number // RECEIPTS_AT_ONCE * RECEIPTS_AT_ONCE for number in range(24)]


def test_a_server_that_ends_without_a_receipt_keeps_nothing_from_being_sent_again(outbox: SampleOutbox) -> None:
    keep(outbox, 3)

    def push(samples: Iterable[tuple[Sample, int]]) -> Iterator[Receipt]:
        first, *_ = samples
        yield stored(first[0].digest)

    with pytest.raises(RoadError, match="2 samples without a receipt"):
        drain(outbox, ScriptedRoad(push), now=time.time)
    assert states(outbox) == [EntryState.SENT, EntryState.PENDING, EntryState.PENDING]
    assert drain(outbox, ScriptedRoad(store_each), now=time.time).sent == 2


def test_a_server_that_does_not_speak_of_an_offer_is_no_receipt(outbox: SampleOutbox) -> None:
    keep(outbox, 3)

    def reply(offers: tuple[SampleOffer, ...]) -> OfferReply:
        return OfferReply(missing=(offers[0].digest,), known=(), refused={}, partial={}, retry_after_s=0.0)

    with pytest.raises(RoadError, match="2 samples without a receipt"):
        drain(outbox, ScriptedRoad(store_each, reply), now=time.time)
    assert states(outbox) == [EntryState.SENT, EntryState.PENDING, EntryState.PENDING]


def test_receipts_for_strangers_change_nothing(outbox: SampleOutbox) -> None:
    samples = keep(outbox, 2)
    stranger = make_sample(77)
    outbox.put(stranger, now=1.0)
    outbox.park(stranger.digest, reason="set aside")

    def push(batch: Iterable[tuple[Sample, int]]) -> Iterator[Receipt]:
        for sample, _ in batch:
            yield stored(stranger.digest)
            yield stored("0" * 64)
            yield stored(sample.digest)
            yield stored(sample.digest)

    assert drain(outbox, ScriptedRoad(push), now=time.time).sent == len(samples)
    assert states(outbox) == [EntryState.SENT, EntryState.SENT, EntryState.PARKED]


def test_a_sample_that_another_process_has_sent_meanwhile_is_passed_over(outbox: SampleOutbox) -> None:
    samples = keep(outbox, 3)

    def reply(offers: tuple[SampleOffer, ...]) -> OfferReply:
        outbox.mark_sent((samples[1].digest,), now=2.0)
        missing = tuple(offer.digest for offer in offers)
        return OfferReply(missing=missing, known=(), refused={}, partial={}, retry_after_s=0.0)

    result = drain(outbox, ScriptedRoad(store_each, reply), now=time.time)
    assert result == DrainResult(sent=2, bytes_sent=1000)
    assert states(outbox) == [EntryState.SENT] * 3


def test_what_comes_in_meanwhile_waits_for_the_next_time(outbox: SampleOutbox) -> None:
    keep(outbox, 2)

    def push(samples: Iterable[tuple[Sample, int]]) -> Iterator[Receipt]:
        for sample, _ in samples:
            outbox.put(sample_of(b"next to " + sample.payload, value=1.0), now=2.0)
            yield stored(sample.digest)

    assert drain(outbox, ScriptedRoad(push), now=time.time, batch=1).sent == 2
    assert outbox.stats().pending == 2


class BrokenOutbox(MemoryOutbox):
    """Fails at one call, as a failing disk does."""

    failing = ""

    def payload(self, digest: str) -> bytes:
        if self.failing == "payload":
            raise StorageError("the disk failed")
        return super().payload(digest)

    def mark_sent(self, digests: tuple[str, ...], *, now: float) -> None:
        if self.failing == "mark_sent":
            raise StorageError("the disk failed")
        super().mark_sent(digests, now=now)


@pytest.mark.parametrize("failing", ["payload", "mark_sent"])
def test_a_failing_disk_is_said_as_such_and_nothing_is_lost(
    server: RunningServer, transport: GrpcTransport, failing: str
) -> None:
    outbox = BrokenOutbox()
    keep(outbox, 20)
    outbox.failing = failing
    with pytest.raises(StorageError, match="the disk failed"):
        drain(outbox, transport, now=time.time)
    outbox.failing = ""
    assert outbox.stats().pending == 20
    result = drain(outbox, transport, now=lambda: time.time() + 3600)
    assert result.sent + result.known == 20
    assert set(server.state.stored_times.values()) == {1}


def test_no_thread_is_left_behind_by_a_push_that_broke(
    server: RunningServer, transport: GrpcTransport, outbox: SampleOutbox
) -> None:
    """It breaks when a whole window is under way, and the feeder waits for a receipt that never comes."""
    before = set(threading.enumerate())
    keep(outbox, 30)
    server.state.receipts_group = 100
    for _ in range(3):
        server.state.cut_after_chunks = limits.WINDOW - 1
        with pytest.raises(RoadError):
            drain(outbox, transport, now=time.time)
    server.state.receipts_group = limits.WINDOW
    assert drain(outbox, transport, now=time.time).sent == 30
    deadline = time.monotonic() + 5
    while lingering(before) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert lingering(before) == []


def lingering(before: set[threading.Thread]) -> list[str]:
    """Threads of a push: the one that watches it, and those of grpc, which feed it and wait for it."""
    names = [thread.name for thread in threading.enumerate() if thread not in before]
    return [name for name in names if "patience" in name or "(_run)" in name]


ANSWER = Feedback(kind=FeedbackKind.CORRECTED, label="tea", who="ann", at=5.0)


def test_answers_follow_their_samples_in_the_same_round(
    server: RunningServer, transport: GrpcTransport, outbox: SampleOutbox
) -> None:
    samples = keep(outbox, 3)
    outbox.put_answer(samples[1].digest, ANSWER, now=1.0)
    outbox.put_answer("a" * 64, ANSWER, now=1.0)
    result = drain(outbox, transport, now=time.time)
    assert result == DrainResult(sent=3, bytes_sent=1500, answers=2)
    assert server.state.feedback == [(samples[1].digest, ANSWER), ("a" * 64, ANSWER)]
    assert drain(outbox, transport, now=time.time) == DrainResult()
    assert len(server.state.feedback) == 2


def test_an_answer_waits_while_its_sample_is_refused(
    server: RunningServer, transport: GrpcTransport, outbox: SampleOutbox
) -> None:
    (sample,) = keep(outbox, 1)
    outbox.put_answer(sample.digest, ANSWER, now=1.0)
    server.state.refused = {sample.digest: "not a picture"}
    assert drain(outbox, transport, now=time.time) == DrainResult(refused=1)
    assert server.state.feedback == []
    assert outbox.stats().answers == 1


def test_many_answers_go_in_batches(server: RunningServer, transport: GrpcTransport, outbox: SampleOutbox) -> None:
    for number in range(7):
        outbox.put_answer(f"{number:064x}", ANSWER, now=1.0)
    assert drain(outbox, transport, now=time.time, batch=3).answers == 7
    assert [digest for digest, _ in server.state.feedback] == [f"{number:064x}" for number in range(7)]


class BreakingRoad(GrpcTransport):
    """Breaks at the second answer, once."""

    num_told = 0

    def annotate(self, digest: str, feedback: Feedback) -> None:
        self.num_told += 1
        if self.num_told == 2:
            raise RoadError("the road broke")
        super().annotate(digest, feedback)


def test_answers_stay_when_the_road_fails(server: RunningServer, outbox: SampleOutbox) -> None:
    for number in range(3):
        outbox.put_answer(f"{number:064x}", ANSWER, now=1.0)
    with closing(BreakingRoad(server.target, timeout_s=5)) as road:
        with pytest.raises(RoadError):
            drain(outbox, road, now=time.time)
        assert [one.digest for one in outbox.waiting_answers(limit=9)] == [f"{number:064x}" for number in (1, 2)]
        assert drain(outbox, road, now=time.time) == DrainResult(answers=2)
    assert [digest for digest, _ in server.state.feedback] == [f"{number:064x}" for number in range(3)]


def test_an_answer_that_is_refused_is_forgotten_and_written_down(
    server: RunningServer, transport: GrpcTransport, outbox: SampleOutbox
) -> None:
    for number in range(2):
        outbox.put_answer(f"{number:064x}", ANSWER, now=1.0)
    server.state.troubles["Annotate"] = [Trouble(grpc.StatusCode.NOT_FOUND)]
    assert drain(outbox, transport, now=lambda: 9.0) == DrainResult(answers=1)
    assert outbox.stats().answers == 0
    (row,) = outbox.audit(limit=9)
    assert (row.at, row.action, row.digest) == (9.0, AuditAction.REFUSED, "0" * 64)
    assert "tea" in row.detail


def test_an_answer_that_no_server_could_take_does_not_block_the_others(
    server: RunningServer, transport: GrpcTransport, outbox: SampleOutbox
) -> None:
    outbox.put_answer("a" * 64, dataclasses.replace(ANSWER, who="x" * 10_000), now=1.0)
    outbox.put_answer("b" * 64, ANSWER, now=1.0)
    assert drain(outbox, transport, now=time.time) == DrainResult(answers=1)
    assert outbox.audit(limit=1)[0].digest == "a" * 64


def test_a_device_that_is_not_welcome_forgets_no_answer(
    server: RunningServer, transport: GrpcTransport, outbox: SampleOutbox
) -> None:
    """A refusal that is about the device says nothing about the answer."""
    outbox.put_answer("a" * 64, ANSWER, now=1.0)
    for method in ("Annotate", "Offer"):
        server.state.troubles[method] = [Trouble(grpc.StatusCode.PERMISSION_DENIED)]
    with pytest.raises(RefusedError):
        drain(outbox, transport, now=time.time)
    assert outbox.stats().answers == 1
    assert outbox.audit(limit=9) == ()


def test_a_server_that_asks_to_wait_gets_no_answers(
    server: RunningServer, transport: GrpcTransport, outbox: SampleOutbox
) -> None:
    keep(outbox, 2)
    outbox.put_answer("a" * 64, ANSWER, now=1.0)
    server.state.retry_after_s = 7.0
    assert drain(outbox, transport, now=time.time) == DrainResult(sent=2, bytes_sent=1000, retry_after_s=7.0)
    assert outbox.stats().answers == 1
