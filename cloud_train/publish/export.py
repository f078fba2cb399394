"""A channel's release on a stick, for devices without a network: signed metadata and one `.edgebundle`.

    metadata/<n>.root.json …                   every root from the first, so that any device can follow
    metadata/{timestamp,<n>.snapshot,<n>.targets}.json
    targets/channel/<channel>/<digest>.manifest.json
    <name>-<version>.edgebundle                the files of the bundle

`edgeloop device update --from FOLDER` reads it (`edge.update.stick`). The timestamp is written last: a folder that was
pulled out in the middle holds no release. Metadata expire on a stick as they do anywhere.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from cloud_train.errors import PublishError
from cloud_train.publish import metadata as signed_metadata
from cloud_train.publish.offers import settled_of
from edge import durable
from edge.bundle.archive import ARCHIVE_SUFFIX, pack_files
from edge.bundle.manifest import MANIFEST_NAME, FileEntry
from edge.bundle.reader import read_manifest
from edge.bundle.sealed import lying_files
from edge.errors import StorageError

_BLOCK_BYTES = 1 << 20


def export_release(repository: Path, channel: str, out: Path) -> Path:
    """Writes what a device needs to take a channel's settled bundle without a network.

    Args:
        repository: The repository folder; no keys are needed.
        channel: Whose bundle.
        out: A folder, for instance of a mounted stick; created when missing.

    Returns:
        The `.edgebundle` file.

    Raises:
        PublishError: Nothing is published on the channel.
        StorageError: The repository is damaged, or the stick is full or failing.
    """
    metadata = repository / "metadata"
    if not signed_metadata.exists(metadata):
        raise PublishError(f"nothing was ever published in {repository.parent}", hint="publish a bundle first")
    state = signed_metadata.read_state(metadata)
    settled = settled_of(state.targets, channel)
    if settled is None:
        raise PublishError(f"channel {channel} has no bundle", hint="publish one on it first")
    name = f"{settled.digest}.{MANIFEST_NAME}"
    target = f"targets/channel/{channel}/{name}"
    manifest = _read(repository / target)
    files = lying_files(read_manifest(manifest, where=name), settled.sealed)
    place = {entry.name: repository / "files" / "sha256" / entry.sha256 for entry in files}
    for entry in files:
        _check(place[entry.name], entry)
    archive = out / f"{settled.name}-{settled.version}{ARCHIVE_SUFFIX}"
    durable.make_folder(out)
    pack_files(archive, manifest, files, place=lambda entry: place[entry.name], sealed=settled.sealed)
    _copy(repository, out, [target, *_metadata_files(metadata, state)])
    return archive


def good_until(repository: Path) -> tuple[str, float]:
    """Until when a stick of today is good, and by which role: the first of timestamp, snapshot and targets to expire.

    Returns:
        The role, and seconds since the epoch, UTC.
    """
    state = signed_metadata.read_state(repository / "metadata")
    first = min((state.timestamp, state.snapshot, state.targets, state.root), key=lambda signed: signed.expires)
    return first.type, first.expires.timestamp()


def _metadata_files(metadata: Path, state: signed_metadata.SignedState) -> list[str]:
    """In the order they are written: what names another comes after it."""
    roots = [f"{version}.root.json" for version in range(1, state.root.version + 1)]
    others = [signed_metadata.file_of(metadata, one).name for one in (state.targets, state.snapshot, state.timestamp)]
    return [f"metadata/{name}" for name in (*roots, *others)]


def _copy(repository: Path, out: Path, names: list[str]) -> None:
    for name in names:
        durable.make_folder((out / name).parent)
        durable.write_bytes(out / name, _read(repository / name), point="publish.export")


def _check(path: Path, entry: FileEntry) -> None:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    except OSError as cause:
        raise StorageError(f"cannot read {path}", hint="publish the bundle again") from cause
    if digest.hexdigest() != entry.sha256:
        raise StorageError(f"{path} is damaged", hint="publish the bundle again")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as cause:
        raise StorageError(f"cannot read {path}", hint="restore the repository folder from a backup") from cause
