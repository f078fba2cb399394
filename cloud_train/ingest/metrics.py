"""What a server counts, for Prometheus. Each server has a registry of its own."""

from __future__ import annotations

from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_RECEIPT_S = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_GROUP = (1, 2, 4, 8, 12, 16, 24, 32, 64)


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestMetrics:
    """Counters of one server process.

    Attributes:
        registry: Holds them all.
        samples: Samples by result.
        bytes: Payload bytes announced on their way.
        receipt_s: From the first piece to the receipt.
        group: Samples that were committed together.
        commit_s: How long that took.
        over_limit: Calls and samples of devices over a limit, by limit.
        calls: Finished calls, by method and status code.
        open_calls: Running calls, by method.
        shed: Calls that were turned away before anything was read, by reason.
        flushes: Durable writes of the commits: files, folders, transactions.
        unchecked: Stored samples that no worker has decoded yet.
        quarantined: Samples that failed there.
        decode_s: CPU of the worker that decodes, apart from this process.
    """

    registry: CollectorRegistry
    samples: Counter
    bytes: Counter
    receipt_s: Histogram
    group: Histogram
    commit_s: Histogram
    over_limit: Counter
    calls: Counter
    open_calls: Gauge
    shed: Counter
    flushes: Counter
    unchecked: Gauge
    quarantined: Gauge
    decode_s: Gauge
    stored: Counter = field(init=False)
    refused: Counter = field(init=False)

    def __post_init__(self) -> None:
        """Looks labels up once: a sample is counted two thousand times a second."""
        object.__setattr__(self, "stored", self.samples.labels("stored"))
        object.__setattr__(self, "refused", self.samples.labels("refused"))


def make_metrics() -> IngestMetrics:
    """Fresh counters in a fresh registry, with what Python and the process tell of themselves."""
    from prometheus_client import GCCollector, PlatformCollector, ProcessCollector

    own = CollectorRegistry()
    ProcessCollector(registry=own)
    PlatformCollector(registry=own)
    GCCollector(registry=own)
    return IngestMetrics(
        registry=own,
        samples=Counter("edgeloop_samples", "Samples by result.", ["result"], registry=own),
        bytes=Counter("edgeloop_payload_bytes", "Payload bytes on their way in.", registry=own),
        receipt_s=Histogram("edgeloop_receipt_seconds", "First piece to receipt.", buckets=_RECEIPT_S, registry=own),
        group=Histogram("edgeloop_group_samples", "Samples committed together.", buckets=_GROUP, registry=own),
        commit_s=Histogram("edgeloop_commit_seconds", "Time of one commit.", buckets=_RECEIPT_S, registry=own),
        over_limit=Counter("edgeloop_over_limit", "Devices over a limit.", ["limit"], registry=own),
        calls=Counter("edgeloop_calls", "Finished calls.", ["method", "code"], registry=own),
        open_calls=Gauge("edgeloop_open_calls", "Running calls.", ["method"], registry=own),
        shed=Counter("edgeloop_shed_calls", "Calls turned away at the door.", ["reason"], registry=own),
        flushes=Counter("edgeloop_flushes", "Durable writes of samples.", registry=own),
        unchecked=Gauge("edgeloop_unchecked_samples", "Samples that wait to be decoded.", registry=own),
        quarantined=Gauge("edgeloop_quarantined_samples", "Samples in quarantine.", registry=own),
        decode_s=Gauge("edgeloop_decode_cpu_seconds", "CPU of this server's decode worker.", registry=own),
    )
