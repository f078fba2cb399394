"""Keeps samples in the background, several in one durable write, so that no disk ever holds up a camera.

What was handed over is acknowledged by `settled` only once it survives a power cut. While the disk is full, read-only
or failing, it waits here and is tried again; when too much waits, the least valuable goes first.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from edge.background import lower_priority
from edge.errors import StorageError
from edge.outbox.base import PutOutcome, Sample, SampleOutbox

GROUP = 16
"""Most samples in one durable write."""
LINGER_S = 0.2
"""How long the first of a group waits for others."""
RETRY_S, RETRY_CAP_S = 1.0, 10.0


class GroupWriter:
    """A thread that puts samples into the outbox. Thread-safe.

    Args:
        outbox: Where they go.
        clock: Seconds since the epoch, UTC.
        settled: Told, in the thread, what became of samples that the outbox has judged.
        failed: Told in one line why the outbox could not be written; the samples wait on.
        dropped: Told how many samples were given up because too much waits.
        max_samples: Samples that may wait.
        max_bytes: Bytes that may wait.
    """

    def __init__(
        self,
        outbox: SampleOutbox,
        *,
        clock: Callable[[], float],
        settled: Callable[[Sequence[PutOutcome]], None],
        failed: Callable[[str], None],
        dropped: Callable[[int], None],
        max_samples: int = 64,
        max_bytes: int = 32_000_000,
    ) -> None:
        self._outbox = outbox
        self._clock = clock
        self._settled = settled
        self._failed = failed
        self._dropped = dropped
        self._max_samples = max_samples
        self._max_bytes = max_bytes
        self._waiting: list[Sample] = []
        self._under_way: tuple[Sample, ...] = ()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="edgeloop-writer", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def hand_over(self, sample: Sample) -> bool:
        """Takes a sample for keeping; never waits for the disk.

        Returns:
            False when it was given up at once: too much of more value waits, or this has ended.
        """
        with self._changed:
            if self._stopping and not self._thread.is_alive():
                return False
            if any(sample.digest == known.digest for known in (*self._under_way, *self._waiting)):
                return True
            self._waiting.append(sample)
            given_up = self._shed()
            self._changed.notify_all()
        if given_up:
            self._dropped(len(given_up))
        return sample not in given_up

    def stop(self, *, timeout_s: float) -> int:
        """Writes what waits, once, and ends.

        Returns:
            How many samples could not be written in time.
        """
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        with self._changed:
            return len(self._waiting) + len(self._under_way)

    def _shed(self) -> list[Sample]:
        given_up = []
        size = sum(len(sample.payload) for sample in self._waiting)
        while len(self._waiting) > self._max_samples or size > self._max_bytes:
            least = min(self._waiting, key=lambda sample: sample.metadata.value)
            self._waiting.remove(least)
            size -= len(least.payload)
            given_up.append(least)
        return given_up

    def _run(self) -> None:
        lower_priority()
        failures = 0
        while group := self._next_group():
            is_last_try = self._stopping
            try:
                outcomes = self._outbox.put_many(group, now=self._clock())
            except StorageError as error:
                self._failed(str(error))
                self._give_back()
                if is_last_try:
                    return
                self._rest(min(RETRY_CAP_S, RETRY_S * 2.0 ** min(failures, 8)))
                failures += 1
            except Exception as error:  # a sample that cannot be written down must not end the thread with all others
                self._failed(f"samples cannot be kept: {type(error).__name__}: {' '.join(str(error).split())}")
                self._forget()
                self._dropped(len(group))
            else:
                failures = 0
                self._forget()
                self._settled(outcomes)
                self._tidy()

    def _forget(self) -> None:
        with self._changed:
            self._under_way = ()

    def _tidy(self) -> None:
        try:
            self._outbox.maintain()
        except StorageError as error:
            self._failed(str(error))

    def _next_group(self) -> tuple[Sample, ...]:
        """Waits for samples, then a moment for more; empty when there is nothing left to do."""
        with self._changed:
            while not self._waiting:
                if self._stopping:
                    return ()
                self._changed.wait_for(lambda: self._waiting or self._stopping)
                self._changed.wait_for(lambda: len(self._waiting) >= GROUP or self._stopping, LINGER_S)
            self._under_way = tuple(self._waiting[:GROUP])
            del self._waiting[:GROUP]
            return self._under_way

    def _give_back(self) -> None:
        with self._changed:
            self._waiting[:0] = self._under_way
            self._under_way = ()
            given_up = self._shed()
        if given_up:
            self._dropped(len(given_up))

    def _rest(self, seconds: float) -> None:
        """Waits after a failure, or until there is no more time to."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopping, seconds)
