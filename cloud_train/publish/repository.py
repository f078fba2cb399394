"""The TUF repository that devices trust: bundles in, signed metadata and content-addressed files out.

Published below `<store>/repository`:
    metadata/*.json                                  signed metadata
    targets/channel/<channel>/<digest>.manifest.json the manifests, one file a release
    targets/channel/<channel>/manifest.json          the channel's newest, for servers of plain files
    files/sha256/<digest>                            every file that a manifest names
    files/measurements/<bundle digest>.json          measured latencies, not signed
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from cloud_train.errors import PublishError
from cloud_train.publish import metadata as signed_metadata
from cloud_train.publish.keys import create_signers, load_signers
from cloud_train.store.lock import exclusive
from edge import durable
from edge.bundle.manifest import MANIFEST_NAME, MEASUREMENTS_NAME, FileEntry, Verdict
from edge.errors import BundleError, StorageError, UsageError
from edge.update.types import Release

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner
    from tuf.api.metadata import Targets

    from edge.bundle.reader import Bundle

REPOSITORY_NAME = "repository"
KEYS_NAME = "keys"
_CHANNEL = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_BLOCK_BYTES = 1 << 20


def open_repository(store_folder: Path, *, now: float) -> Repository:
    """Opens the repository of a store; the first time it makes keys and an empty, signed repository.

    Args:
        store_folder: The store; created when missing.
        now: Seconds since the epoch, UTC.

    Raises:
        StorageError: It cannot be written, or keys or metadata are damaged.
    """
    folder = store_folder / REPOSITORY_NAME
    for name in ("metadata", "targets/channel", "files/sha256", "files/measurements"):
        durable.make_folder(folder / name)
    with _locked(store_folder):
        for written in (folder, store_folder / KEYS_NAME):
            _sweep(written)
        if (folder / "metadata" / "1.root.json").exists():
            signers = load_signers(store_folder / KEYS_NAME)
        else:
            signers = create_signers(store_folder / KEYS_NAME)
        if not signed_metadata.exists(folder / "metadata"):
            signed_metadata.create_state(folder / "metadata", signers, now=now)
    return Repository(store_folder, signers)


def read_release(folder: Path, channel: str) -> Release | None:
    """What a channel offers now, by the metadata in the repository `folder`; needs no keys.

    Returns:
        None when nothing was published there, or there is no repository yet.

    Raises:
        StorageError: The metadata are damaged.
    """
    if not signed_metadata.exists(folder / "metadata"):
        return None
    targets = signed_metadata.read_state(folder / "metadata").targets
    return _release(channel, targets) if target_name(channel) in targets.targets else None


def target_name(channel: str) -> str:
    """Name of a channel's manifest in the signed metadata."""
    return f"channel/{channel}/{MANIFEST_NAME}"


def check_publishable(bundle_folder: Path) -> Bundle:
    """Opens a bundle that may be published.

    Raises:
        BundleError: It is damaged.
        PublishError: It is not proven.
    """
    from edge.bundle.reader import open_bundle

    bundle = open_bundle(bundle_folder)
    verdict = bundle.manifest.proof.verdict
    if verdict in (Verdict.FAIL, Verdict.NONE):
        said = "failed its proof" if verdict is Verdict.FAIL else "was never proven"
        raise PublishError(f"bundle {bundle_folder} {said}", hint="publish a bundle that `edgeloop convert` has proven")
    return bundle


class Repository:
    """A repository and its keys. Made by `open_repository`.

    Args:
        store_folder: The store.
        signers: Role to signer.
    """

    def __init__(self, store_folder: Path, signers: dict[str, CryptoSigner]) -> None:
        self._store = store_folder
        self._signers = signers
        self.folder = store_folder / REPOSITORY_NAME

    def current(self, channel: str) -> Release | None:
        """What a channel offers now."""
        return read_release(self.folder, channel)

    def publish(self, bundle_folder: Path, *, channel: str, now: float) -> Release:
        """Makes a bundle the one that a channel offers. Doing it again with the same bundle changes nothing.

        A process that is killed on the way leaves the channel as it was, and the same call finishes the work.

        Args:
            bundle_folder: A finished, proven bundle.
            channel: Lower-case name of the channel; it comes into being with its first release.
            now: Seconds since the epoch, UTC.

        Raises:
            BundleError: The bundle is damaged.
            PublishError: It is not proven, or not newer than what the channel offers.
            StorageError: The disk is full or failing; the channel is as it was.
            UsageError: The channel's name is none.
        """
        if not _CHANNEL.fullmatch(channel):
            raise UsageError(f"{channel!r} is not a channel name", hint="use lower-case letters, digits, '_' and '-'")
        bundle = check_publishable(bundle_folder)
        with _locked(self._store):
            release = self.current(channel)
            if release is None or release.bundle_digest != bundle.digest:
                _require_newer(bundle, release)
                self._copy_files(bundle)
                release = self._switch(bundle, channel, now)
            self._expose(bundle, channel)
        return release

    def renew(self, now: float) -> tuple[str, ...]:
        """Signs the timestamp anew, and every other role that has used up half of its lifetime.

        Returns:
            The roles that were signed.
        """
        with _locked(self._store):
            state = signed_metadata.read_state(self.folder / "metadata")
            return signed_metadata.renew_state(self.folder / "metadata", state, self._signers, now=now)

    def _copy_files(self, bundle: Bundle) -> None:
        for entry in bundle.manifest.files:
            target = self.folder / "files" / "sha256" / entry.sha256
            if not target.exists() or target.stat().st_size != entry.size_bytes:
                durable.write_chunks(target, _checked_blocks(bundle.path(entry.name), entry), point="publish.file")
        measurements = bundle.folder / MEASUREMENTS_NAME
        if measurements.is_file():
            target = self.folder / "files" / "measurements" / f"{bundle.digest}.json"
            durable.write_bytes(target, measurements.read_bytes(), point="publish.measurements")

    def _switch(self, bundle: Bundle, channel: str, now: float) -> Release:
        from tuf.api.metadata import TargetFile

        name, manifest = target_name(channel), bundle.manifest
        data = (bundle.folder / MANIFEST_NAME).read_bytes()
        if hashlib.sha256(data).hexdigest() != bundle.digest:
            raise BundleError(f"{bundle.folder / MANIFEST_NAME} changed while it was published", hint="publish again")
        durable.make_folder(self._targets(channel))
        durable.write_bytes(self._targets(channel) / f"{bundle.digest}.{MANIFEST_NAME}", data, point="publish.manifest")
        state = signed_metadata.read_state(self.folder / "metadata")
        state.targets.targets[name] = TargetFile.from_data(name, data, ["sha256"])
        state.targets.targets[name].unrecognized_fields["custom"] = {
            "name": manifest.name,
            "version": manifest.version,
        }
        signed_metadata.write_next(self.folder / "metadata", state, self._signers, now=now)
        return _release(channel, state.targets)

    def _expose(self, bundle: Bundle, channel: str) -> None:
        newest, plain = (
            self._targets(channel) / f"{bundle.digest}.{MANIFEST_NAME}",
            self._targets(channel) / MANIFEST_NAME,
        )
        data = newest.read_bytes()
        if not plain.exists() or plain.read_bytes() != data:
            durable.write_bytes(plain, data, point="publish.plain_manifest")

    def _targets(self, channel: str) -> Path:
        return self.folder / "targets" / "channel" / channel


def _release(channel: str, targets: Targets) -> Release:
    target = targets.targets[target_name(channel)]
    return Release(
        channel=channel,
        bundle_digest=target.hashes["sha256"],
        name=target.custom["name"],
        version=target.custom["version"],
        metadata_version=targets.version,
    )


def _sweep(folder: Path) -> None:
    """Removes what a killed process left unfinished; nobody else writes here while the lock is held."""
    for inner in (folder, *folder.rglob("*/")):
        durable.sweep(inner)


def _locked(store_folder: Path) -> AbstractContextManager[None]:
    return exclusive(store_folder / "publish.lock")


def _require_newer(bundle: Bundle, current: Release | None) -> None:
    version = bundle.manifest.version
    if current is not None and version <= current.version:
        raise PublishError(
            f"bundle version {version} is not above version {current.version}, which channel {current.channel} offers",
            hint="convert it again with a higher version",
        )


def _checked_blocks(path: Path, entry: FileEntry) -> Iterator[bytes]:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
                yield block
    except OSError as cause:
        raise StorageError(f"cannot read {path}", hint="check the disk") from cause
    if digest.hexdigest() != entry.sha256:
        raise BundleError(f"{path} changed while it was published", hint="publish again")
