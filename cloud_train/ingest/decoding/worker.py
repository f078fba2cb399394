"""Takes samples that nobody has decoded yet, decodes them, and says what came of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from cloud_train.ingest.decoding.decoder import Decoder
from cloud_train.store.blobs import BlobStore
from cloud_train.store.checks import SqlCheckStore
from edge.errors import DamagedError

_logger = logging.getLogger(__name__)

CLAIM = 16
LEASE_S = 300.0
_DAMAGED = "its stored bytes are damaged: restore the picture from a backup"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerCounts:
    """What a worker has done since its start.

    Attributes:
        passed: Sound pictures.
        failed: Pictures that went into quarantine.
        cpu_s: CPU seconds that decoding took.
        crashes: Times that the decoding child died.
    """

    passed: int = 0
    failed: int = 0
    cpu_s: float = 0.0
    crashes: int = 0


class DecodeWorker:
    """One worker. Killed at any moment it loses nothing: its claims run out, and another takes them.

    Args:
        checks: Which samples are due.
        blobs: Their pictures.
        decoder: Decodes them.
        clock: Seconds since the epoch, UTC.
    """

    def __init__(
        self, checks: SqlCheckStore, blobs: BlobStore, decoder: Decoder, *, clock: Callable[[], float]
    ) -> None:
        self._checks = checks
        self._blobs = blobs
        self._decoder = decoder
        self._clock = clock
        self._passed = self._failed = 0

    @property
    def counts(self) -> WorkerCounts:
        """What was done so far."""
        return WorkerCounts(
            passed=self._passed, failed=self._failed, cpu_s=self._decoder.cpu_s, crashes=self._decoder.crashes
        )

    def step(self) -> int:
        """Claims some samples and decodes them.

        Returns:
            How many were claimed; 0 when nothing waits.

        Raises:
            StorageError: The database or the place of the pictures failed; the claims run out.
        """
        digests = self._checks.claim(limit=CLAIM, now=self._clock(), lease_s=LEASE_S)
        sound: list[str] = []
        try:
            for digest in digests:
                if self._is_sound(digest):
                    sound.append(digest)
        finally:
            self._checks.passed(tuple(sound), now=self._clock())
            self._passed += len(sound)
        return len(digests)

    def _is_sound(self, digest: str) -> bool:
        try:
            data = self._blobs.read(digest)
        except KeyError:  # it is asked for again when its device offers it; until then there is nothing to say of it
            _logger.warning("the picture of sample %s is gone", digest)
            return False
        except DamagedError as error:  # the disk's fault, not the picture's: it may read better the next time
            _logger.error("sample %s cannot be checked: %s", digest, error)
            self._failed += self._checks.unreadable(digest, _DAMAGED, now=self._clock())
            return False
        fault = self._decoder.fault_of(data)
        if fault:
            self._checks.failed(digest, fault, now=self._clock())
            self._failed += 1
            _logger.warning("sample %s is in quarantine: %s", digest, fault)
        return not fault
