"""Values that cross the road between device and server."""

from __future__ import annotations

import enum
from dataclasses import dataclass

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
    """

    missing: tuple[str, ...]
    known: tuple[str, ...]
    refused: dict[str, str]
    partial: dict[str, int]
    retry_after_s: float


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Directive:
    """What the server wants a device to do. A hint only: what may run is decided by the signed release.

    Attributes:
        channel: The update channel to follow.
        bundle_digest: The bundle the channel offers, empty when there is none.
        check_in_s: Seconds until the next check-in.
    """

    channel: str
    bundle_digest: str
    check_in_s: float
