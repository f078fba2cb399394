"""Empties the outbox over the road: offer, push what is missing, and let go of a sample only after its receipt.

People's answers follow once their samples have arrived.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

from edge.errors import FormatError, RefusedError, RoadError
from edge.outbox.base import OutboxEntry, Sample, SampleOutbox, WaitingAnswer
from edge.sync.base import SyncTransport
from edge.sync.types import OfferReply, Receipt, ReceiptStatus, SampleOffer
from edge.wire import limits

RECEIPTS_AT_ONCE = 8
"""Receipts that are written to the outbox together; what a kill makes the next round ask about again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainResult:
    """What one emptying of the outbox came to.

    Attributes:
        sent: Samples that got a receipt.
        known: Samples that the server had already.
        refused: Samples that were parked.
        bytes_sent: Payload bytes that travelled.
        answers: People's answers that the server took.
        retry_after_s: Seconds that the server asks to wait before the next offer; 0 for none.
    """

    sent: int = 0
    known: int = 0
    refused: int = 0
    bytes_sent: int = 0
    answers: int = 0
    retry_after_s: float = 0.0

    def plus(self, other: DrainResult) -> DrainResult:
        """Both together; the newer wish to wait counts."""
        return DrainResult(
            sent=self.sent + other.sent,
            known=self.known + other.known,
            refused=self.refused + other.refused,
            bytes_sent=self.bytes_sent + other.bytes_sent,
            answers=self.answers + other.answers,
            retry_after_s=other.retry_after_s,
        )


def drain(
    outbox: SampleOutbox,
    transport: SyncTransport,
    *,
    now: Callable[[], float],
    batch: int = 32,
    lease_s: float = 60,
    go_on: Callable[[], bool] = lambda: True,
) -> DrainResult:
    """Sends what waits at the time of the call. Killed or failed at any point, the next call does the rest.

    An answer that the server refuses for good is forgotten, with a row in the audit.

    Args:
        outbox: Where the samples wait.
        transport: The road.
        now: Seconds since the epoch, UTC.
        batch: Samples to offer at once.
        lease_s: How long an offered sample is kept from others if this process dies.
        go_on: Asked before each batch; when it says no, the rest waits for another call.

    Raises:
        RoadError: The road failed; what has no receipt waits in the outbox again.
        RefusedError: The server will not talk to this device at all; nothing is parked for that.
        StorageError: The outbox could not be read or written.
    """
    total = DrainResult()
    waiting = outbox.stats().pending
    while waiting > 0 and total.retry_after_s == 0 and go_on():
        limit = min(batch, waiting, limits.MAX_OFFERS)
        entries = outbox.claim(limit=limit, now=now(), lease_s=lease_s)
        if not entries:
            break
        waiting -= len(entries)
        total = total.plus(_Round(outbox, transport, entries, now).run())
    if total.retry_after_s == 0 and go_on():
        total = total.plus(_send_answers(outbox, transport, now=now, batch=batch, go_on=go_on))
    return total


def _send_answers(
    outbox: SampleOutbox,
    transport: SyncTransport,
    *,
    now: Callable[[], float],
    batch: int,
    go_on: Callable[[], bool],
) -> DrainResult:
    total = DrainResult()
    while go_on() and (waiting := outbox.waiting_answers(limit=batch)):
        taken: list[int] = []
        try:
            for answer in waiting:
                problem = _problem_with(answer, transport)
                if problem:
                    outbox.refuse_answer(answer.number, reason=problem, now=now())
                else:
                    taken.append(answer.number)
        finally:
            if taken:
                outbox.answers_sent(tuple(taken))
        total = total.plus(DrainResult(answers=len(taken)))
    return total


def _problem_with(answer: WaitingAnswer, transport: SyncTransport) -> str:
    """Tells the server an answer.

    Returns:
        Why no server will ever take it; empty when this one has.

    Raises:
        RoadError: The road failed.
        RefusedError: The server will not talk to this device at all, which says nothing about the answer.
    """
    try:
        transport.annotate(answer.digest, answer.feedback)
    except FormatError as problem:
        return problem.message
    except RefusedError as refusal:
        transport.offer(())
        return limits.shortened(refusal.message)
    return ""


class _Round:
    """One claimed batch. At its end every entry is sent, parked or given back."""

    def __init__(
        self,
        outbox: SampleOutbox,
        transport: SyncTransport,
        entries: tuple[OutboxEntry, ...],
        now: Callable[[], float],
    ) -> None:
        self._outbox = outbox
        self._transport = transport
        self._now = now
        self._open = {offer.digest: offer for offer in map(_offer_of, entries) if offer is not None}
        self._stored: list[str] = []
        self._known = self._sent = self._refused = self._bytes_sent = 0

    def run(self) -> DrainResult:
        try:
            reply = self._offer()
            self._push(reply)
            if self._open:
                raise RoadError(f"the server left {len(self._open)} samples without a receipt")
        finally:
            self._save_receipts()
            if self._open:
                self._outbox.release(tuple(self._open))
        return DrainResult(
            sent=self._sent,
            known=self._known,
            refused=self._refused,
            bytes_sent=self._bytes_sent,
            retry_after_s=reply.retry_after_s,
        )

    def _offer(self) -> OfferReply:
        offers = tuple(offer for offer in tuple(self._open.values()) if self._is_sendable(offer))
        if not offers:
            return OfferReply(missing=(), known=(), refused={}, partial={}, retry_after_s=0.0)
        reply = self._transport.offer(offers)
        for digest, reason in reply.refused.items():
            self._park(digest, reason)
        known = tuple(digest for digest in reply.known if self._open.pop(digest, None))
        if known:
            self._outbox.mark_sent(known, now=self._now())
            self._known += len(known)
        return reply

    def _is_sendable(self, offer: SampleOffer) -> bool:
        """Whether a server could take it; one that none could is parked, lest it block all others for ever."""
        try:
            limits.check_offer(offer)
        except FormatError as problem:
            self._park(offer.digest, problem.message)
            return False
        return True

    def _push(self, reply: OfferReply) -> None:
        wanted = [self._open[digest] for digest in reply.missing if digest in self._open]
        if not wanted:
            return
        feed = _Feed(self._outbox, wanted, reply)
        try:
            with contextlib.ExitStack() as at_exit:
                at_exit.callback(feed.stop)
                receipts = self._transport.push(feed, at_hand=feed.at_hand)
                if isinstance(receipts, Generator):
                    at_exit.callback(receipts.close)
                for receipt in receipts:
                    self._take(receipt)
                    feed.settled(receipt.digest)
        finally:
            self._bytes_sent += feed.bytes_sent
        for digest in feed.gone:
            self._open.pop(digest, None)

    def _take(self, receipt: Receipt) -> None:
        if receipt.status is ReceiptStatus.REFUSED:
            self._park(receipt.digest, receipt.reason)
        elif self._open.pop(receipt.digest, None):
            self._stored.append(receipt.digest)
        if len(self._stored) >= RECEIPTS_AT_ONCE:
            self._save_receipts()

    def _save_receipts(self) -> None:
        stored, self._stored = tuple(self._stored), []
        if stored:
            self._outbox.mark_sent(stored, now=self._now())
            self._sent += len(stored)

    def _park(self, digest: str, reason: str) -> None:
        if self._open.pop(digest, None):
            self._outbox.park(digest, reason=reason)
            self._refused += 1


def _offer_of(entry: OutboxEntry) -> SampleOffer | None:
    """None for one without metadata, which no claim hands out."""
    if entry.metadata is None:
        return None
    return SampleOffer(digest=entry.digest, size_bytes=entry.size_bytes, metadata=entry.metadata)


class _Feed:
    """The samples of one push, read from the outbox one by one, a window of them without a receipt.

    Iterated in the transport's thread, which calls `at_hand` too; `settled` and `stop` come from the thread that reads
    the receipts.
    """

    def __init__(self, outbox: SampleOutbox, wanted: list[SampleOffer], reply: OfferReply) -> None:
        self.bytes_sent = 0
        self.gone: list[str] = []
        self._outbox = outbox
        self._wanted = deque(wanted)
        self._reply = reply
        self._slots = threading.Semaphore(limits.WINDOW_TOGETHER if reply.together else limits.WINDOW)
        self._has_slot = False
        self._settled: set[str] = set()
        self._under_way: set[str] = set()
        self._stopped = False

    def __iter__(self) -> Iterator[tuple[Sample, int]]:
        while self._wanted:
            self._has_slot = self._has_slot or self._slots.acquire()
            if self._stopped:
                return
            offer = self._wanted.popleft()
            sample = self._read(offer)
            if sample is None:
                continue
            self._has_slot = False
            self._under_way.add(offer.digest)
            offset = self._offset(offer)
            self.bytes_sent += offer.size_bytes - offset
            yield sample, offset

    def at_hand(self, most_bytes: int) -> bool:
        """Whether the server reads samples together, and the next one is that small and need not wait for a receipt."""
        if not self._reply.together or not self._wanted or self._wanted[0].size_bytes > most_bytes:
            return False
        self._has_slot = self._has_slot or self._slots.acquire(blocking=False)
        return self._has_slot

    def settled(self, digest: str) -> None:
        """A receipt has come: one more may go."""
        self._settled.add(digest)
        if digest in self._under_way:
            self._under_way.discard(digest)
            self._slots.release()

    def stop(self) -> None:
        """Nothing more shall go."""
        self._stopped = True
        self._slots.release()

    def _read(self, offer: SampleOffer) -> Sample | None:
        """The sample, or None when it needs no sending any more: the server or another process was faster."""
        if offer.digest in self._settled:
            return None
        try:
            payload = self._outbox.payload(offer.digest)
        except KeyError:
            self.gone.append(offer.digest)
            return None
        return Sample(digest=offer.digest, payload=payload, metadata=offer.metadata)

    def _offset(self, offer: SampleOffer) -> int:
        """Where to go on; from the start when the server claims to have more than there is."""
        offset = self._reply.partial.get(offer.digest, 0)
        return offset if offset <= offer.size_bytes else 0
