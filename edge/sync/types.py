"""Values that cross the road between device and server."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from edge.outbox.base import SampleMetadata


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleOffer:
    """What the device could send.

    Attributes:
        digest: SHA-256 of the payload, hex.
        size_bytes: Its size.
        metadata: What the device knew.
    """

    digest: str
    size_bytes: int
    metadata: SampleMetadata


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferReply:
    """What the server wants of it. Every offered digest is in exactly one of missing, known and refused.

    Attributes:
        missing: Digests to push, in this order.
        known: Digests the server already holds durably: as good as a receipt.
        refused: Digest to reason, never to be offered again.
        partial: Digest of a missing payload to the number of bytes the server already has.
        retry_after_s: Wait so long before the next offer; 0 for no wait.
        together: Whether the server reads several small samples in one message.
    """

    missing: tuple[str, ...]
    known: tuple[str, ...]
    refused: dict[str, str]
    partial: dict[str, int]
    retry_after_s: float
    together: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A piece of a payload on its way up.

    Attributes:
        digest: SHA-256 of the whole payload, hex.
        offset: Where in the payload `data` begins.
        data: The bytes; empty only in a last chunk.
        last: True when the payload ends here.
        offer: What is being sent; on the first chunk of a sample only.
    """

    digest: str
    offset: int
    data: bytes
    last: bool
    offer: SampleOffer | None = None


class ReceiptStatus(enum.Enum):
    """STORED is durable; REFUSED is final and says why."""

    STORED = "stored"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The server's word about one pushed sample.

    Attributes:
        digest: SHA-256 of the payload, hex.
        status: Stored durably, or refused for good.
        reason: Why it was refused.
    """

    digest: str
    status: ReceiptStatus
    reason: str = ""


CONFIDENCE_BINS = 20
"""Bins of equal width over [0, 1] in a `BundleHour`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleHour:
    """What one bundle did in one hour of one run of a device.

    Attributes:
        bundle_digest: The bundle.
        hour: Whole hours since the epoch, UTC.
        run: Names the run of the process, so that a restart within an hour adds to it; 8 hex digits.
        frames: Frames answered.
        accepted: Of these, ACCEPT.
        confirmed: Of these, CONFIRM.
        unknown: Of these, UNKNOWN.
        failed: Frames on which the model failed.
        kept: Samples put into the outbox.
        confidence: Frames by calibrated confidence, `CONFIDENCE_BINS` counts.
        classes: Frames by headline label; what is too rare to be told apart is under the empty name.
        latency_p50_ms: Median time from picture to decision.
        latency_p90_ms: Its 90th percentile.
        latency_p99_ms: Its 99th percentile.
        outbox_depth: Most entries that waited in the outbox at a time.
    """

    bundle_digest: str
    hour: int
    run: str
    frames: int = 0
    accepted: int = 0
    confirmed: int = 0
    unknown: int = 0
    failed: int = 0
    kept: int = 0
    confidence: tuple[int, ...] = (0,) * CONFIDENCE_BINS
    classes: dict[str, int] = field(default_factory=dict)
    latency_p50_ms: float = 0.0
    latency_p90_ms: float = 0.0
    latency_p99_ms: float = 0.0
    outbox_depth: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceStatus:
    """What a device tells about itself at check-in.

    Attributes:
        device_id: Its name.
        software: `edgeloop <version>`.
        bundle_digest: The active bundle, empty when there is none.
        bundle_version: Its version, 0 when there is none.
        outbox_pending: Entries waiting.
        frames: Frames answered since the start.
        accepted: Of these, ACCEPT.
        confirmed: Of these, CONFIRM.
        unknown: Of these, UNKNOWN.
        kept: Samples put into the outbox.
        latency_p50_ms: Median time from picture to decision.
        last_error: The newest failure in one line, empty when all is well.
        outbox_bytes: Bytes of the entries that wait.
        outbox_parked: Entries that the server refused.
        starts: Starts of the agent in this home, ever.
        unclean_starts: Of these, after an end that was no proper stop: a crash, a kill, a power cut.
        on_trial: Whether the active bundle has yet to show that it works here.
        rejected: Digests of bundles that failed here, newest last.
        clock: The device's wall clock, seconds since the epoch, UTC; 0 when it does not say.
        platform: Machine and system, as `aarch64 linux`.
        hours: What the bundles did, oldest first; as much as fits.
    """

    device_id: str
    software: str
    bundle_digest: str
    bundle_version: int
    outbox_pending: int
    frames: int
    accepted: int
    confirmed: int
    unknown: int
    kept: int
    latency_p50_ms: float
    last_error: str = ""
    outbox_bytes: int = 0
    outbox_parked: int = 0
    starts: int = 0
    unclean_starts: int = 0
    on_trial: bool = False
    rejected: tuple[str, ...] = ()
    clock: float = 0.0
    platform: str = ""
    hours: tuple[BundleHour, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Directive:
    """What the server wants a device to do. A hint only: what may run is decided by the signed release.

    Attributes:
        channel: The update channel to follow.
        bundle_digest: The bundle this device shall run, empty when the server has no wish.
        check_in_s: Seconds until the next check-in.
        update_windows: Hours of its local day in which it may change its bundle, as `22:00-06:00`; empty for any.
    """

    channel: str
    bundle_digest: str
    check_in_s: float
    update_windows: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """What the fleet gives a device that it takes in.

    Attributes:
        device_id: The name under which it is known from now on.
        certificate_pem: Its certificate chain, PEM.
        authority_pem: The certificate authority of the fleet's servers, PEM.
    """

    device_id: str
    certificate_pem: bytes
    authority_pem: bytes
