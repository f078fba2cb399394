"""What samples cost and come to: quotas, counters, the audit of refusals."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cloud_train.errors import ForbiddenError
from cloud_train.ingest.callers import Caller
from cloud_train.ingest.journal import Journal
from cloud_train.ingest.metrics import IngestMetrics
from cloud_train.ingest.quota import Quotas
from edge.errors import RoadError
from edge.sync.types import SampleOffer

_SPREAD = 0.25


class Ledger:
    """Belongs to one event loop.

    Args:
        quotas: What is left to each device.
        journal: Where refusals are written.
        metrics: Where all is counted.
        steady: Seconds that never jump.
        jitter: A number in [0, 1), so that those who are told to wait do not come back together.
    """

    def __init__(
        self,
        *,
        quotas: Quotas,
        journal: Journal,
        metrics: IngestMetrics,
        steady: Callable[[], float],
        jitter: Callable[[], float],
    ) -> None:
        self._quotas = quotas
        self._journal = journal
        self._metrics = metrics
        self._steady = steady
        self._jitter = jitter

    def own(self, caller: Caller, device_id: str) -> None:
        """Checks that a caller speaks for itself; who does not is written down.

        Raises:
            ForbiddenError: The sample is another device's.
        """
        try:
            caller.must_be(device_id)
        except ForbiddenError:
            self._journal.note(caller.who, "sample.forbidden", f"device:{device_id}")
            raise

    def stray(self, caller: Caller) -> None:
        """Counts a piece that belongs to nothing, like a sample. Raises as `begin` does."""
        self._spend(caller, caller.device_id or caller.peer, {"samples": 1.0})

    def call(self, caller: Caller) -> None:
        """Counts a call that writes a little. Raises as `begin` does."""
        if caller.device_id:
            self._spend(caller, caller.device_id, {"calls": 1.0})

    def offer(self, caller: Caller, offers: tuple[SampleOffer, ...]) -> None:
        """Counts an offer, and looks whether there is anything left to send by.

        Raises:
            RoadError: The device has to wait, and how long.
        """
        device_id = caller.device_id or (offers[0].metadata.device_id if offers else caller.peer)
        ahead = {"samples": 1.0, "bytes": 1.0} if offers else {}
        self._spend(caller, device_id, {"offers": 1.0})
        self._look(caller, device_id, ahead)

    def begin(self, caller: Caller, offer: SampleOffer) -> float:
        """Counts a sample on its way.

        Returns:
            When it began, for `stored`.

        Raises:
            RoadError: The device has to wait, and how long.
        """
        amounts = {"samples": 1.0, "bytes": float(offer.size_bytes)}
        self._spend(caller, caller.device_id or offer.metadata.device_id, amounts)
        self._metrics.bytes.inc(offer.size_bytes)
        return self._steady()

    def stored(self, begun: float) -> None:
        """Counts a receipt."""
        self._metrics.stored.inc()
        self._metrics.receipt_s.observe(self._steady() - begun)

    def refused(self, caller: Caller, digest: str, reason: str) -> None:
        """Counts and writes down a refusal."""
        self._metrics.refused.inc()
        self._journal.note(caller.who, "sample.refused", f"sample:{digest}", reason=reason)

    def later(self, wait_s: float) -> float:
        """A time to wait, spread."""
        return wait_s * (1.0 + _SPREAD * self._jitter()) + self._jitter()

    def _spend(self, caller: Caller, device_id: str, amounts: Mapping[str, float]) -> None:
        self._wait(caller, device_id, *self._quotas.spend(device_id, amounts, now=self._steady()))

    def _look(self, caller: Caller, device_id: str, amounts: Mapping[str, float]) -> None:
        self._wait(caller, device_id, *self._quotas.look(device_id, amounts, now=self._steady()))

    def _wait(self, caller: Caller, device_id: str, what: str, wait_s: float) -> None:
        if not wait_s:
            return
        self._metrics.over_limit.labels(what).inc()
        self._journal.note(caller.who, "device.over_limit", f"device:{device_id}", limit=what)
        message = f"device {device_id!r} has sent all the {what} it may for now"
        raise RoadError(message, hint="it goes on by itself", retry_after_s=self.later(wait_s))
