"""An outbox on disk that outlives damage to its file: it is set aside, salvaged, and a new one goes on in its place."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from edge import durable
from edge.errors import DamagedError, StorageError, UnusableFileError
from edge.outbox import ledger, quarantine
from edge.outbox.base import (
    AuditAction,
    AuditRow,
    OutboxEntry,
    OutboxLimits,
    OutboxStats,
    PutOutcome,
    Sample,
    WaitingAnswer,
)
from edge.outbox.salvage import DamagedFile
from edge.outbox.sqlite import SqliteOutbox
from edge.types import Feedback

T = TypeVar("T")

_POINT = "salvage"
_ROWS_AT_ONCE = 64
_BYTES_AT_ONCE = 2 * 1024 * 1024
"""Half the log: what is taken over in one durable write."""


class RecoveringOutbox:
    """`SqliteOutbox` that starts anew when its file is damaged, with all that can still be read of it.

    Only for the process that holds the device's home: another one would go on with the file that was set aside.

    Args:
        path: The file; it and its folder are made when missing.
        limits: What it may hold.
        report: Told in one line what was set aside, and in another what was taken over.
        clock: Seconds since the epoch, UTC.
        patient: Whether a disk that is full, read-only or failing at first is waited for: every call tries it again.

    Raises:
        UnusableFileError: The file is not an outbox, or was written by a newer edgeloop.
        StorageError: The disk fails.
    """

    def __init__(
        self,
        path: Path,
        limits: OutboxLimits | None = None,
        *,
        report: Callable[[str], None],
        clock: Callable[[], float],
        patient: bool = False,
    ) -> None:
        self._path = path
        self._limits = limits
        self._report = report
        self._clock = clock
        self._lock = threading.RLock()
        self._tidying = threading.Lock()  # never held while `_lock` is asked for
        self._inner: SqliteOutbox | None = None
        self._is_closed = False
        durable.make_folder(path.parent)
        try:
            self._do(lambda inner: None)
        except StorageError as error:
            if isinstance(error, UnusableFileError) or not patient:
                self.close()
                raise
            report(f"{error.message}; it is opened when the disk allows it")
        except BaseException:
            self.close()
            raise

    def put(self, sample: Sample, *, now: float) -> bool:
        """See `SampleOutbox.put`."""
        return self._do(lambda inner: inner.put(sample, now=now))

    def put_many(self, samples: Sequence[Sample], *, now: float) -> tuple[PutOutcome, ...]:
        """See `SampleOutbox.put_many`."""
        return self._do(lambda inner: inner.put_many(samples, now=now))

    def put_answer(self, digest: str, feedback: Feedback, *, now: float) -> None:
        """See `SampleOutbox.put_answer`."""
        self._do(lambda inner: inner.put_answer(digest, feedback, now=now))

    def waiting_answers(self, *, limit: int) -> tuple[WaitingAnswer, ...]:
        """See `SampleOutbox.waiting_answers`."""
        return self._do(lambda inner: inner.waiting_answers(limit=limit))

    def answers_sent(self, numbers: tuple[int, ...]) -> None:
        """See `SampleOutbox.answers_sent`."""
        self._do(lambda inner: inner.answers_sent(numbers))

    def refuse_answer(self, number: int, *, reason: str, now: float) -> None:
        """See `SampleOutbox.refuse_answer`."""
        self._do(lambda inner: inner.refuse_answer(number, reason=reason, now=now))

    def audit(self, *, limit: int) -> tuple[AuditRow, ...]:
        """See `SampleOutbox.audit`."""
        return self._do(lambda inner: inner.audit(limit=limit))

    def claim(self, *, limit: int, now: float, lease_s: float) -> tuple[OutboxEntry, ...]:
        """See `SampleOutbox.claim`."""
        return self._do(lambda inner: inner.claim(limit=limit, now=now, lease_s=lease_s))

    def payload(self, digest: str) -> bytes:
        """See `SampleOutbox.payload`; one that is damaged is not there any more."""
        return self._do(lambda inner: inner.payload(digest))

    def mark_sent(self, digests: tuple[str, ...], *, now: float) -> None:
        """See `SampleOutbox.mark_sent`."""
        self._do(lambda inner: inner.mark_sent(digests, now=now))

    def release(self, digests: tuple[str, ...]) -> None:
        """See `SampleOutbox.release`."""
        self._do(lambda inner: inner.release(digests))

    def release_all(self) -> None:
        """See `SampleOutbox.release_all`."""
        self._do(lambda inner: inner.release_all())

    def park(self, digest: str, *, reason: str) -> None:
        """See `SampleOutbox.park`."""
        self._do(lambda inner: inner.park(digest, reason=reason))

    def entries(self) -> tuple[OutboxEntry, ...]:
        """See `SampleOutbox.entries`."""
        return self._do(lambda inner: inner.entries())

    def stats(self) -> OutboxStats:
        """See `SampleOutbox.stats`."""
        return self._do(lambda inner: inner.stats())

    def maintain(self) -> None:
        """See `SampleOutbox.maintain`. Other calls go on meanwhile; setting a damaged file aside waits for it."""
        with self._lock:
            inner = self._opened()
        try:
            with self._tidying:
                if inner is self._inner:
                    inner.maintain()
        except DamagedError:
            self._do(lambda inner: inner.maintain())

    def close(self) -> None:
        """See `SampleOutbox.close`."""
        with self._lock, self._tidying:
            self._is_closed = True
            if self._inner is not None:
                self._inner.close()
                self._inner = None

    def _do(self, call: Callable[[SqliteOutbox], T]) -> T:
        """A call, once more on the new file when the old one has turned out to be damaged."""
        with self._lock:
            try:
                return call(self._opened())
            except DamagedError as damage:
                reason = damage.message
            # Outside of the handler: the exception holds on to the connection, which must be gone before its file
            # is renamed, lest SQLite removes the log of the new one when it closes the old one.
            self._start_anew(reason)
            return call(self._opened())

    def _opened(self) -> SqliteOutbox:
        if self._inner is not None:
            return self._inner
        if self._is_closed:
            raise StorageError(f"outbox {self._path}: it is closed")
        quarantine.go_on(self._path)
        self._inner = SqliteOutbox(self._path, self._limits, clock=self._clock)
        for damaged in quarantine.unsalvaged(self._path):
            self._salvage(damaged, self._inner)
        return self._inner

    def _start_anew(self, reason: str) -> None:
        with self._tidying:
            if self._inner is not None:
                self._inner.close()
                self._inner = None
            damaged = quarantine.set_aside(self._path, reason)
        self._report(f"{reason}; it was set aside as {damaged.name}")

    def _salvage(self, damaged: Path, inner: SqliteOutbox) -> None:
        """Takes over what can be read. When the disk is too full for it, the next start goes on."""
        try:
            haul = _take_over(damaged, inner, now=self._clock())
            _write_down(damaged, inner, haul, now=self._clock())
            quarantine.salvaged(self._path, damaged)
        except DamagedError:
            raise
        except StorageError as error:
            self._report(f"{damaged.name} could not be salvaged yet: {error}")
            return
        self._report(f"salvaged out of {damaged.name}: {haul.line}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Haul:
    """What was taken over: numbers of each, and payload bytes."""

    samples: int
    size_bytes: int
    lost: int
    remembered: int
    answers: int
    totals: dict[str, int]

    @property
    def line(self) -> str:
        parts = f"{self.samples} samples, {self.answers} answers, {self.remembered} digests of sent samples"
        if not self.lost:
            return parts
        return f"{parts}; at least {self.lost} {'samples are' if self.lost > 1 else 'sample is'} lost"


def _take_over(damaged: Path, inner: SqliteOutbox, *, now: float) -> _Haul:
    """Everything that proves itself; what is in the new file already stays as it is, so that a kill costs nothing."""
    with contextlib.closing(DamagedFile(damaged)) as file:
        answers = 0
        for answer in file.answers():
            inner.put_answer(answer.digest, answer.feedback, now=now)
            answers += 1
        remembered = 0
        for digests in _groups(file.remembered(), size_of=lambda digest: len(digest)):
            inner.remember(digests, now=now, point=_POINT)
            remembered += len(digests)
        samples = size_bytes = 0
        for group in _groups(file.samples(), size_of=lambda placed: len(placed.sample.payload)):
            inner.place(group, now=now, point=_POINT)
            samples += len(group)
            size_bytes += sum(len(placed.sample.payload) for placed in group)
        return _Haul(
            samples=samples,
            size_bytes=size_bytes,
            lost=file.num_lost,
            remembered=remembered,
            answers=answers,
            totals={name: file.total(name) for name in (ledger.SENT, ledger.SHED)},
        )


def _write_down(damaged: Path, inner: SqliteOutbox, haul: _Haul, *, now: float) -> None:
    details = {
        AuditAction.QUARANTINED: (damaged.stat().st_size, f"{damaged.name}: {quarantine.reason_of(damaged)}"),
        AuditAction.SALVAGED: (haul.size_bytes, f"{damaged.name}: {haul.line}"),
    }
    rows = [
        AuditRow(at=now, action=action, digest="", size_bytes=size_bytes, value=0.0, detail=detail)
        for action, (size_bytes, detail) in details.items()
    ]
    inner.record(rows, totals=haul.totals, point=_POINT)


def _groups(items: Iterable[T], *, size_of: Callable[[T], int]) -> Iterator[list[T]]:
    """Parts of what comes, small enough to be written at once."""
    rest = iter(items)
    while group := list(itertools.islice(rest, 1)):
        size = size_of(group[0])
        while size < _BYTES_AT_ONCE and len(group) < _ROWS_AT_ONCE and (more := list(itertools.islice(rest, 1))):
            group += more
            size += size_of(more[0])
        yield group
