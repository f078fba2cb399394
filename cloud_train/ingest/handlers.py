"""What the calls do, as plain functions of values; blocking, called on worker threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

from cloud_train.ingest.intake import Intake
from cloud_train.ingest.picture import size_fault
from cloud_train.publish.repository import read_release
from cloud_train.settings import ServeSettings
from cloud_train.store.blobs import BlobStore
from cloud_train.store.meta import MetaStore
from cloud_train.store.published import PublishedFiles, PublishedFolder
from edge.bundle.manifest import MANIFEST_NAME
from edge.sync.types import OfferReply, SampleOffer

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
        together=True,
    )


def known_samples(digests: tuple[str, ...], *, meta: MetaStore, blobs: BlobStore) -> frozenset[str]:
    """Those whose record and picture are both there: as good as a receipt."""
    return frozenset(digest for digest in meta.known(digests) if blobs.has(digest))


def published_path(path: str, *, settled: Callable[[str], str]) -> str:
    """Where a published file lies.

    A channel's `manifest.json` is looked up through the signed metadata, so that it changes at the same moment as they.

    Args:
        path: Relative, already checked to be of plain names.
        settled: Channel to the digest of what it offers to everybody, empty for nothing.

    Raises:
        FileNotFoundError: Nothing can be published there.
    """
    parts = path.split("/")
    if parts[0] not in ("metadata", "targets", "files") or any(part.startswith(".") for part in parts):
        raise FileNotFoundError(path)
    if parts[:2] == ["targets", "channel"] and parts[3:] == [MANIFEST_NAME]:
        digest = settled(parts[2])
        if not digest:
            raise FileNotFoundError(path)
        parts[3] = f"{digest}.{MANIFEST_NAME}"
    return "/".join(parts)


def published_file(repository: Path, path: str) -> Path:
    """The file behind a published path, of a repository in a folder.

    Args:
        repository: The repository folder.
        path: Relative, already checked to be of plain names.

    Raises:
        FileNotFoundError: Nothing is published there.
    """

    def settled(channel: str) -> str:
        release = read_release(repository, channel)
        return release.bundle_digest if release else ""

    found = repository / published_path(path, settled=settled)
    if not found.is_file() or leaves_folder(repository, path):
        raise FileNotFoundError(path)
    return found


def open_published(
    published: PublishedFiles, path: str, offset: int, *, settled: Callable[[str], str]
) -> Iterator[bytes]:
    """The bytes of a published file from an offset on, in pieces; the first one is read already.

    Raises:
        FileNotFoundError: Nothing is published there.
        StorageError: The place fails.
    """
    place = published_path(path, settled=settled)
    if isinstance(published, PublishedFolder) and leaves_folder(published.folder, place):
        raise FileNotFoundError(path)
    blocks = published.read(place, offset)
    return chain((next(blocks, b""),), blocks)


def leaves_folder(folder: Path, path: str) -> bool:
    """Whether a path inside a folder leads out of it, over a link."""
    return (folder / path).resolve() != folder.resolve() / path
