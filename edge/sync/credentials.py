"""As whom the device speaks: what a channel is opened with."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from edge.outbox.base import Sample, SampleMetadata
from edge.sync.types import DeviceStatus, SampleOffer


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientIdentity:
    """A device's side of mutual TLS.

    Attributes:
        device_id: The name that its certificate carries.
        key_pem: Its private key, PEM.
        certificate_pem: Its certificate chain, PEM.
        authority_pem: Authorities of the servers that it speaks to, PEM.
    """

    device_id: str
    key_pem: bytes = field(repr=False)
    certificate_pem: bytes
    authority_pem: bytes


def own_offer(offer: SampleOffer, identity: ClientIdentity | None) -> SampleOffer:
    """An offer under the device's own name: what it kept before it was enrolled is its own too."""
    metadata = _own(offer.metadata, identity)
    return offer if metadata is offer.metadata else replace(offer, metadata=metadata)


def own_sample(sample: Sample, identity: ClientIdentity | None) -> Sample:
    """A sample under the device's own name."""
    metadata = _own(sample.metadata, identity)
    return sample if metadata is sample.metadata else replace(sample, metadata=metadata)


def own_status(status: DeviceStatus, identity: ClientIdentity | None) -> DeviceStatus:
    """A status under the device's own name."""
    if identity is None or status.device_id == identity.device_id:
        return status
    return replace(status, device_id=identity.device_id)


def _own(metadata: SampleMetadata, identity: ClientIdentity | None) -> SampleMetadata:
    if identity is None or metadata.device_id == identity.device_id:
        return metadata
    return replace(metadata, device_id=identity.device_id)
