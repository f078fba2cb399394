"""`GET /metrics`: what the agent and its API have counted, in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import edge

if TYPE_CHECKING:
    from prometheus_client import Metric

    from edge.kiosk.desk import Desk

# Seconds; a small device answers within some ten milliseconds, a large picture takes seconds.
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """Counts requests, and asks the agent for the rest whenever it is read. Thread-safe.

    Args:
        desk: The agent.
    """

    def __init__(self, desk: Desk) -> None:
        import prometheus_client

        self._registry = prometheus_client.CollectorRegistry(auto_describe=False)
        self._requests = prometheus_client.Counter(
            "edgeloop_kiosk_requests",
            "Requests by route and HTTP status.",
            ("route", "status"),
            registry=self._registry,
        )
        self._seconds = prometheus_client.Histogram(
            "edgeloop_kiosk_request_seconds",
            "Time until the reply begins, by route.",
            ("route",),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._audit_failed = prometheus_client.Counter(
            "edgeloop_kiosk_audit_failed",
            "Audit lines that were lost, because the disk is full or failing.",
            registry=self._registry,
        )
        self._registry.register(_AgentMetrics(desk))
        self.media_type = prometheus_client.CONTENT_TYPE_LATEST

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Counts one request.

        Args:
            route: One of ours, or `other`.
            status: HTTP status.
            seconds: Until the reply began.
        """
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def audit_failed(self) -> None:
        """Counts a lost line of the audit log."""
        self._audit_failed.inc()

    def text(self) -> bytes:
        """Everything, at one moment."""
        import prometheus_client

        return bytes(prometheus_client.generate_latest(self._registry))


class _AgentMetrics:
    """The agent's own numbers, as a collector of prometheus-client."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def collect(self) -> Iterator[Metric]:
        """Asks the agent."""
        yield from self._counted()
        yield from self._standing()
        yield from self._info()

    def _counted(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily

        counts = self._desk.counts()
        frames = CounterMetricFamily("edgeloop_frames", "Frames by what became of them.", labels=["outcome"])
        for outcome, number in (
            ("accept", counts.accepted),
            ("confirm", counts.confirmed),
            ("unknown", counts.unknown),
            ("unreadable", counts.frames_unreadable),
            ("failed", counts.frames_failed),
            ("dropped", counts.frames_dropped),
        ):
            frames.add_metric([outcome], number)
        yield frames
        skipped = CounterMetricFamily(
            "edgeloop_skipped", "Frames that were not answered, by reason.", labels=["reason"]
        )
        skipped.add_metric(["unchanged"], counts.frames_unchanged)
        skipped.add_metric(["superseded"], counts.frames_superseded)
        yield skipped
        refused = CounterMetricFamily("edgeloop_not_kept", "Samples that were not kept, by reason.", labels=["reason"])
        for reason, number in (
            ("near_duplicate", counts.near_duplicates),
            ("over_budget", counts.over_budget),
            ("private", counts.private),
            ("too_large", counts.too_large),
            ("disk_failed", counts.keep_failed),
        ):
            refused.add_metric([reason], number)
        yield refused
        for name, told, number in (
            ("frames_seen", "Frames that were taken from the source or sent to the API.", counts.frames_seen),
            ("kept", "Samples that went into the outbox.", counts.kept),
            ("seen_bytes", "Encoded bytes of the frames.", counts.bytes_seen),
            ("uploaded_bytes", "Bytes of samples that were sent.", counts.bytes_uploaded),
            ("fetched_bytes", "Bytes of releases that were fetched.", counts.bytes_fetched),
        ):
            yield CounterMetricFamily(f"edgeloop_{name}", told, value=number)
        yield self._latency(counts.latency_p50_ms, counts.latency_p95_ms)

    def _latency(self, p50_ms: float, p95_ms: float) -> Metric:
        from prometheus_client.core import GaugeMetricFamily

        latency = GaugeMetricFamily(
            "edgeloop_answer_seconds",
            "Time from picture to decision over the last answers, by quantile.",
            labels=["quantile"],
        )
        latency.add_metric(["0.5"], p50_ms / 1000)
        latency.add_metric(["0.95"], p95_ms / 1000)
        return latency

    def _standing(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        state = self._desk.state()
        outbox = state.outbox
        for name, told, value in (
            ("outbox_pending", "Samples that wait to be sent.", outbox.pending),
            ("outbox_pending_bytes", "Bytes of samples that wait to be sent.", outbox.pending_bytes),
            ("outbox_parked", "Samples that the server refused.", outbox.parked),
            ("outbox_answers", "People's answers that wait to be sent.", outbox.answers),
            ("outbox_file_bytes", "Size of the outbox's file.", outbox.file_bytes),
            (
                "server_reached_seconds",
                "When the server last answered, seconds since the epoch.",
                state.server_reached_at,
            ),
            ("source_lost", "1 while the camera gives no frames.", float(bool(self._desk.watching().lost))),
        ):
            yield GaugeMetricFamily(f"edgeloop_{name}", told, value=value)
        yield CounterMetricFamily("edgeloop_outbox_sent", "Samples that arrived.", value=outbox.sent)
        yield CounterMetricFamily("edgeloop_outbox_shed", "Samples given up for want of room.", value=outbox.shed)

    def _info(self) -> Iterator[Metric]:
        from prometheus_client.core import InfoMetricFamily

        yield InfoMetricFamily("edgeloop_software", "The program.", value={"version": edge.__version__})
        serving = self._desk.serving()
        if serving is not None:
            manifest = serving.manifest
            yield InfoMetricFamily(
                "edgeloop_bundle",
                "The bundle that answers.",
                value={
                    "name": manifest.name,
                    "version": str(manifest.version),
                    "digest": serving.digest,
                    "task": manifest.task.value,
                    "artifact": serving.artifact,
                },
            )
