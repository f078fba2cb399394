"""What happens at the door, for the audit and the log: bounded, so that nobody fills the disk by being refused.

The first entries of a caller and kind in a minute are written one by one; the others are counted, and the count is one
more entry when the minute is over. Too many callers at a time are counted together.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from cloud_train.fleet.attempts import site_of
from cloud_train.fleet_types import AuditEntry
from cloud_train.store.audit import AuditLog
from edge import jsonvalue

_logger = logging.getLogger("edgeloop.audit")

MANY = "peer:many"
"""Who, of entries of callers that are too many to be told apart."""
_MINUTE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalLimits:
    """How much is written.

    Attributes:
        each_minute: Entries of one caller and action that are written one by one.
        each_address: The same of one address, behind which there may be many callers.
        callers: Callers and actions told apart in one minute.
        waiting: Entries that may wait to be written; more are counted.
    """

    each_minute: int = 20
    each_address: int = 200
    callers: int = 500
    waiting: int = 5_000


@dataclass(slots=True)
class _Minute:
    until: float
    counts: dict[tuple[str, str], int] = field(default_factory=dict)


class Journal:
    """Takes entries at once and writes them later. Thread-safe.

    Args:
        audit: Where they end.
        clock: Seconds since the epoch, UTC.
        limits: How much is written.
    """

    def __init__(self, audit: AuditLog, clock: Callable[[], float], limits: JournalLimits | None = None) -> None:
        self._audit = audit
        self._clock = clock
        self._limits = limits or JournalLimits()
        self._lock = threading.Lock()
        self._waiting: list[AuditEntry] = []
        self._minute = _Minute(until=0.0)

    def note(self, who: str, action: str, subject: str, **detail: str) -> None:
        """Takes an entry, or counts it. Never blocks on the database.

        Args:
            who: As in `AuditEntry`.
            action: As in `AuditEntry`.
            subject: As in `AuditEntry`.
            detail: Plain texts; never a secret.
        """
        now = self._clock()
        with self._lock:
            self._turn_minute(now)
            counts = self._minute.counts
            counted = f"peer:{site_of(who.removeprefix('peer:'))}" if who.startswith("peer:") else who  # not by port
            known = (counted, action) in counts or len(counts) < self._limits.callers
            key = (counted if known else MANY, action)
            counts[key] = counts.get(key, 0) + 1
            if counts[key] > self._most(key[0]) or len(self._waiting) >= self._limits.waiting:
                return
            entry = AuditEntry(at=now, who=who, action=action, subject=subject, detail=detail)
            self._waiting.append(entry)
        log_entry(entry)

    def flush(self) -> int:
        """Writes what waits; blocking.

        Returns:
            Entries that were written.

        Raises:
            StorageError: The database failed; they wait for the next time.
        """
        with self._lock:
            self._turn_minute(self._clock())
            taken, self._waiting = self._waiting, []
        try:
            self._audit.record(*taken)
        except BaseException:
            with self._lock:
                self._waiting = (taken + self._waiting)[: self._limits.waiting]
            raise
        return len(taken)

    def close(self) -> None:
        """Counts what is counted, and writes what waits.

        Raises:
            StorageError: The database failed.
        """
        with self._lock:
            self._turn_minute(float("inf"))
        self.flush()

    def _most(self, counted: str) -> int:
        """Entries of one address or caller that are written one by one in a minute."""
        is_address = counted.startswith("peer:") and counted != MANY
        return self._limits.each_address if is_address else self._limits.each_minute

    def _turn_minute(self, now: float) -> None:
        if now < self._minute.until:
            return
        at = self._clock()
        for (who, action), number in self._minute.counts.items():
            most = self._most(who)
            if number > most:
                detail = {"times": str(number - most)}
                entry = AuditEntry(at=at, who=who, action=action, subject="more", detail=detail)
                self._waiting.append(entry)
                log_entry(entry)
        self._minute = _Minute(until=at + _MINUTE_S)


def log_entry(entry: AuditEntry) -> None:
    """One entry as a JSON line of the logger `edgeloop.audit`."""
    if _logger.isEnabledFor(logging.INFO):
        _logger.info("%s", jsonvalue.canonical_bytes(entry).decode())
