"""What the calls do, as plain functions of values; blocking, called on worker threads."""

from __future__ import annotations

from pathlib import Path

from cloud_train.ingest.intake import Intake
from cloud_train.ingest.picture import size_fault
from cloud_train.publish.repository import read_release
from cloud_train.settings import ServeSettings
from cloud_train.store.blobs import BlobStore
from cloud_train.store.meta import MetaStore
from cloud_train.types import DeviceRecord
from edge.bundle.manifest import MANIFEST_NAME
from edge.sync.types import DeviceStatus, Directive, OfferReply, SampleOffer

_BUSY_S = 5.0


def answer_offer(
    offers: tuple[SampleOffer, ...], *, meta: MetaStore, blobs: BlobStore, intake: Intake, settings: ServeSettings
) -> OfferReply:
    """Sorts offered samples into known, refused and missing.

    Args:
        offers: What the device could send.
        meta: Where records are.
        blobs: Where pictures are; known means both.
        intake: Where unfinished uploads are.
        settings: Limits.
    """
    known = known_samples(tuple(offer.digest for offer in offers), meta=meta, blobs=blobs)
    faults = {offer.digest: size_fault(offer, max_bytes=settings.max_payload_bytes) for offer in offers}
    refused = {digest: fault for digest, fault in faults.items() if fault and digest not in known}
    missing = tuple(offer for offer in offers if offer.digest not in known and offer.digest not in refused)
    partial = {offer.digest: intake.offset(offer) for offer in missing}
    return OfferReply(
        missing=tuple(offer.digest for offer in missing),
        known=tuple(offer.digest for offer in offers if offer.digest in known),
        refused=refused,
        partial={digest: offset for digest, offset in partial.items() if offset},
        retry_after_s=_BUSY_S if missing and intake.full() else 0.0,
    )


def known_samples(digests: tuple[str, ...], *, meta: MetaStore, blobs: BlobStore) -> frozenset[str]:
    """Those whose record and picture are both there: as good as a receipt."""
    return frozenset(digest for digest in meta.known(digests) if blobs.has(digest))


def check_in(
    status: DeviceStatus, *, meta: MetaStore, repository: Path, settings: ServeSettings, now: float
) -> Directive:
    """Writes down how a device fares and tells it what its channel offers.

    Args:
        status: What the device says.
        meta: Where devices are recorded.
        repository: The repository folder.
        settings: Channel and interval.
        now: Seconds since the epoch, UTC.
    """
    device = DeviceRecord(
        device_id=status.device_id,
        last_seen=now,
        bundle_digest=status.bundle_digest,
        bundle_version=status.bundle_version,
        frames=status.frames,
        last_error=status.last_error,
    )
    meta.record_device(device)
    release = read_release(repository, settings.channel)
    offered = release.bundle_digest if release else ""
    return Directive(channel=settings.channel, bundle_digest=offered, check_in_s=settings.check_in_s)


def published_file(repository: Path, path: str) -> Path:
    """The file behind a published path.

    A channel's `manifest.json` is looked up through the signed metadata, so that it changes at the same moment as they.

    Args:
        repository: The repository folder.
        path: Relative, already checked to be of plain names.

    Raises:
        FileNotFoundError: Nothing is published there.
    """
    parts = path.split("/")
    if parts[0] not in ("metadata", "targets", "files") or any(part.startswith(".") for part in parts):
        raise FileNotFoundError(path)
    if parts[:2] == ["targets", "channel"] and parts[3:] == [MANIFEST_NAME]:
        release = read_release(repository, parts[2])
        if release is None:
            raise FileNotFoundError(path)
        parts[3] = f"{release.bundle_digest}.{MANIFEST_NAME}"
    found = repository.joinpath(*parts)
    if not found.is_file() or found.resolve() != repository.resolve().joinpath(*parts):
        raise FileNotFoundError(path)
    return found
