"""The TUF repository that devices trust: bundles in, signed metadata and content-addressed files out.

Published below `<store>/repository`:
    metadata/*.json                                  signed metadata
    targets/channel/<channel>/<digest>.manifest.json the manifests, one file a release
    targets/channel/<channel>/manifest.json          the channel's settled one, for servers of plain files
    targets/channel/<channel>/offers/…json           manifests of candidates, by digest, with and without hash prefix
    files/sha256/<digest>                            every file that a manifest names
    files/measurements/<bundle digest>.json          measured latencies, not signed

A bundle's files are there before its name is signed, and the settled manifest changes last. Changing root is the work
of `cloud_train.publish.root`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cloud_train.errors import PublishError
from cloud_train.publish import metadata as signed_metadata
from cloud_train.publish.keys import ROLES, Ask, Signers, create_first_keys, load_signers, read_keys
from cloud_train.publish.offers import (
    check_offer,
    find_offer,
    live_offers,
    mark_withdrawn,
    put_offer,
    put_settled,
    read_offers,
    read_settled,
    settled_of,
)
from cloud_train.publish.sealing import seal_models
from cloud_train.store.lock import exclusive
from edge import durable
from edge.bundle.manifest import MANIFEST_NAME, MEASUREMENTS_NAME, FileEntry, Verdict
from edge.bundle.sealed import SealedFile, lying_files
from edge.errors import BundleError, StorageError, UsageError
from edge.update.offers import MAX_ROLLBACK, settled_name
from edge.update.types import Offered, Release

if TYPE_CHECKING:
    from tuf.api.metadata import Targets

    from edge.bundle.reader import Bundle

REPOSITORY_NAME = "repository"
KEYS_NAME = "keys"
_CHANNEL = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_BLOCK_BYTES = 1 << 20


def open_repository(store_folder: Path, *, now: float, ask: Ask | None = None) -> Repository:
    """Opens the repository of a store; the first time it makes one key a role and an empty, signed repository.

    Args:
        store_folder: The store; created when missing.
        now: Seconds since the epoch, UTC.
        ask: Gives the passphrases of encrypted keys; None for the environment.

    Raises:
        StorageError: It cannot be written, or keys or metadata are damaged.
        UsageError: A key is encrypted, and its passphrase is missing or wrong.
    """
    folder = store_folder / REPOSITORY_NAME
    for name in ("metadata", "targets/channel", "files/sha256", "files/measurements"):
        durable.make_folder(folder / name)
    with locked(store_folder):
        for written in (folder, store_folder / KEYS_NAME):
            _sweep(written)
        signers = _signers(store_folder, ask)
        if not signed_metadata.exists(folder / "metadata"):
            signed_metadata.create_state(folder / "metadata", signers, now=now)
        else:
            state = signed_metadata.read_state(folder / "metadata")
            signed_metadata.sign_for_root(folder / "metadata", state, signers, now=now)
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
    return _release(channel, targets) if settled_name(channel) in targets.targets else None


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
        signers: Role to signers.
    """

    def __init__(self, store_folder: Path, signers: Signers) -> None:
        self._store = store_folder
        self._signers = signers
        self.folder = store_folder / REPOSITORY_NAME
        self._metadata = self.folder / "metadata"

    def current(self, channel: str) -> Release | None:
        """The settled bundle of a channel."""
        return read_release(self.folder, channel)

    def offers(self, channel: str) -> tuple[Offered, ...]:
        """The candidates of a channel, lowest version first; without the settled one and what was withdrawn."""
        return read_offers(self.folder, channel)

    def publish(
        self, bundle_folder: Path, *, channel: str, now: float, downgrade: bool = False, encrypt: bool = False
    ) -> Release:
        """Makes a bundle the settled one of a channel. Doing it again with the same bundle changes nothing.

        A process that is killed on the way leaves the channel as it was, and the same call finishes the work.

        Args:
            bundle_folder: A finished, proven bundle.
            channel: Lower-case name of the channel; it comes into being with its first release.
            now: Seconds since the epoch, UTC.
            downgrade: Sign that devices may take it over a higher version.
            encrypt: Encrypt its models to the fleet's key.

        Raises:
            BundleError: The bundle is damaged.
            PublishError: It is not proven, or not newer than what the channel offers.
            StorageError: The disk is full or failing; the channel is as it was.
            UsageError: The channel's name is none.
        """
        bundle = _checked(bundle_folder, channel)
        with locked(self._store):
            settled = read_settled(self.folder, channel)
            if settled is None or settled.digest != bundle.digest:
                _require_newer(bundle, settled, downgrade=downgrade, channel=channel)
                offered = _as_offered(bundle, downgrade=downgrade, sealed=self._take_files(bundle, encrypt))
                manifest = self._write_manifest(bundle, channel)
                self._sign(now, lambda targets: put_settled(targets, channel, offered, manifest))
            else:
                _require_same_sealing(settled, encrypt)
            self._expose(channel, bundle.digest)
            return _release(channel, signed_metadata.read_state(self._metadata).targets)

    def offer(
        self,
        bundle_folder: Path,
        channel: str,
        *,
        now: float,
        rollback_to: tuple[str, ...] | None = None,
        downgrade: bool = False,
        encrypt: bool = False,
        after_rollout: int = 0,
    ) -> Offered:
        """Puts a candidate beside the settled bundle of a channel; doing it again changes nothing.

        Args:
            bundle_folder: A finished, proven bundle.
            channel: Lower-case name of the channel.
            now: Seconds since the epoch, UTC.
            rollback_to: Digests that devices may go back to from it; None for the settled one.
            downgrade: Sign that devices may take it over a higher version.
            encrypt: Encrypt its models to the fleet's key.
            after_rollout: Rollout of this bundle that has been rolled back and shall not withdraw it again.

        Raises:
            BundleError: The bundle is damaged.
            PublishError: It is not proven, its version does not fit, or there are too many candidates.
            StorageError: The disk is full or failing; the channel is as it was.
            UsageError: The channel's name is none.
        """
        bundle = _checked(bundle_folder, channel)
        with locked(self._store):
            targets = signed_metadata.read_state(self._metadata).targets
            settled, live = settled_of(targets, channel), live_offers(targets, channel)
            before = next((other for other in live if other.digest == bundle.digest), None)
            back = rollback_to if rollback_to is not None else _joined(settled, before.rollback_to if before else ())
            after = max(after_rollout, before.after_rollout if before else 0)
            offered = replace(_as_offered(bundle, downgrade=downgrade, rollback_to=back), after_rollout=after)
            check_offer(offered, settled, live)
            offered = replace(offered, sealed=self._take_files(bundle, encrypt))
            if offered not in live:
                manifest = self._write_manifest(bundle, channel)
                self._sign(now, lambda targets: put_offer(targets, channel, offered, manifest))
            return offered

    def promote(self, channel: str, digest: str, *, now: float) -> Release:
        """Makes a candidate the settled bundle of its channel; doing it again changes nothing.

        Raises:
            PublishError: The channel has no such candidate, or has settled on a higher version since.
            StorageError: The disk is full or failing; the channel is as it was.
        """
        with locked(self._store):
            release = self.current(channel)
            if release is None or release.bundle_digest != digest:
                targets = signed_metadata.read_state(self._metadata).targets
                offered = find_offer(targets, channel, digest)
                _require_above(offered, settled_of(targets, channel), channel)
                manifest = (self._targets(channel) / f"{digest}.{MANIFEST_NAME}").read_bytes()
                self._sign(now, lambda targets: put_settled(targets, channel, offered, manifest))
            self._expose(channel, digest)
            return _release(channel, signed_metadata.read_state(self._metadata).targets)

    def allow_back(self, channel: str, digest: str, to: str, *, now: float, after_rollout: int = 0) -> None:
        """Signs that devices may go back from a candidate to another bundle; doing it again changes nothing.

        Args:
            channel: Lower-case name of the channel.
            digest: The candidate.
            to: What may be gone back to.
            now: Seconds since the epoch, UTC.
            after_rollout: As for `offer`; replaces the number that was signed before.

        Raises:
            PublishError: The channel has no such candidate.
            StorageError: The disk is full or failing; the channel is as it was.
        """
        with locked(self._store):
            offered = find_offer(signed_metadata.read_state(self._metadata).targets, channel, digest)
            back = () if to in offered.rollback_to else (to,)
            rollback_to = (*back, *offered.rollback_to)[:MAX_ROLLBACK]
            wider = replace(offered, rollback_to=rollback_to, after_rollout=after_rollout)
            if wider != offered:
                manifest = (self._targets(channel) / f"{digest}.{MANIFEST_NAME}").read_bytes()
                self._sign(now, lambda targets: put_offer(targets, channel, wider, manifest))

    def withdraw(self, channel: str, digest: str, *, now: float, rollout_id: int = 0) -> None:
        """Takes a candidate back: no device takes it any more, and those that run it may go back.

        Args:
            channel: Lower-case name of the channel.
            digest: The candidate.
            now: Seconds since the epoch, UTC.
            rollout_id: The rollout whose rollback asks for it, 0 for a person; what was offered after it stands.

        Raises:
            PublishError: The channel has no such candidate; the settled bundle cannot be withdrawn.
            StorageError: The disk is full or failing; the channel is as it was.
        """
        with locked(self._store):
            targets = signed_metadata.read_state(self._metadata).targets
            mark_withdrawn(targets, channel, digest)
            found = next((offered for offered in self.offers(channel) if offered.digest == digest), None)
            if found is not None and not 0 < rollout_id <= found.after_rollout:
                self._sign(now, lambda targets: mark_withdrawn(targets, channel, digest))

    def renew(self, now: float) -> tuple[str, ...]:
        """Signs the timestamp anew, and every other role that has used up half of its lifetime.

        Root too, where enough of its keys lie here; see `root_wants_keys`.

        Returns:
            The roles that were signed.
        """
        with locked(self._store):
            state = signed_metadata.read_state(self._metadata)
            return signed_metadata.renew_state(self._metadata, state, self._signers, now=now)

    def root_wants_keys(self, now: float) -> str:
        """What to tell people when root will expire and its keys are elsewhere; empty when all is well."""
        root = signed_metadata.read_state(self._metadata).root
        if not signed_metadata.is_due(root, now):
            return ""
        return (
            f"root version {root.version} expires on {root.expires:%Y-%m-%d} and its keys are not here: bring them and"
            " run `edgeloop publish keys renew --root-keys DIR`"
        )

    def _take_files(self, bundle: Bundle, encrypt: bool) -> dict[str, SealedFile]:
        sealed = seal_models(bundle, self._store / KEYS_NAME, self.folder / "files" / "sha256") if encrypt else {}
        for entry in lying_files(bundle.manifest, sealed):
            target = self.folder / "files" / "sha256" / entry.sha256
            if entry.name not in sealed and not (target.exists() and target.stat().st_size == entry.size_bytes):
                durable.write_chunks(target, _checked_blocks(bundle.path(entry.name), entry), point="publish.file")
        measurements = bundle.folder / MEASUREMENTS_NAME
        if measurements.is_file():
            target = self.folder / "files" / "measurements" / f"{bundle.digest}.json"
            durable.write_bytes(target, measurements.read_bytes(), point="publish.measurements")
        return sealed

    def _write_manifest(self, bundle: Bundle, channel: str) -> bytes:
        """Under every name that a client may ask for; the settled one's plain name comes last, with `_expose`."""
        data = (bundle.folder / MANIFEST_NAME).read_bytes()
        if hashlib.sha256(data).hexdigest() != bundle.digest:
            raise BundleError(f"{bundle.folder / MANIFEST_NAME} changed while it was published", hint="publish again")
        offers = self._targets(channel) / "offers"
        durable.make_folder(offers)
        for file in (
            self._targets(channel) / f"{bundle.digest}.{MANIFEST_NAME}",
            offers / f"{bundle.digest}.json",
            offers / f"{bundle.digest}.{bundle.digest}.json",
        ):
            durable.write_bytes(file, data, point="publish.manifest")
        return data

    def _sign(self, now: float, change: Callable[[Targets], None]) -> None:
        state = signed_metadata.read_state(self._metadata)
        change(state.targets)
        signed_metadata.write_next(self._metadata, state, self._signers, now=now)

    def _expose(self, channel: str, digest: str) -> None:
        newest, plain = self._targets(channel) / f"{digest}.{MANIFEST_NAME}", self._targets(channel) / MANIFEST_NAME
        data = newest.read_bytes()
        if not plain.exists() or plain.read_bytes() != data:
            durable.write_bytes(plain, data, point="publish.plain_manifest")

    def _targets(self, channel: str) -> Path:
        return self.folder / "targets" / "channel" / channel


def _checked(bundle_folder: Path, channel: str) -> Bundle:
    if not _CHANNEL.fullmatch(channel):
        raise UsageError(f"{channel!r} is not a channel name", hint="use lower-case letters, digits, '_' and '-'")
    return check_publishable(bundle_folder)


def _as_offered(
    bundle: Bundle, *, downgrade: bool, rollback_to: tuple[str, ...] = (), sealed: dict[str, SealedFile] | None = None
) -> Offered:
    return Offered(
        digest=bundle.digest,
        name=bundle.manifest.name,
        version=bundle.manifest.version,
        rollback_to=rollback_to,
        downgrade=downgrade,
        sealed=sealed or {},
    )


def _release(channel: str, targets: Targets) -> Release:
    settled = settled_of(targets, channel)
    assert settled is not None  # noqa: S101 - whoever calls has just signed it, or looked
    return Release(
        channel=channel,
        bundle_digest=settled.digest,
        name=settled.name,
        version=settled.version,
        metadata_version=targets.version,
    )


def _signers(store_folder: Path, ask: Ask | None) -> Signers:
    """The keys that root names; before there is a root, new ones."""
    keys, metadata = store_folder / KEYS_NAME, store_folder / REPOSITORY_NAME / "metadata"
    if (metadata / "1.root.json").exists():
        return load_signers(keys, signed_metadata.newest_root(metadata), ask=ask)
    create_first_keys(keys, ROLES)
    return {role: read_keys(keys, role, ask=ask) for role in ROLES}


def _sweep(folder: Path) -> None:
    """Removes what a killed process left unfinished; nobody else writes here while the lock is held."""
    for inner in (folder, *folder.rglob("*/")):
        durable.sweep(inner)


def locked(store_folder: Path) -> AbstractContextManager[None]:
    """Keeps every other publisher out of a store for the length of the block."""
    return exclusive(store_folder / "publish.lock")


def _joined(settled: Offered | None, before: tuple[str, ...]) -> tuple[str, ...]:
    """Ways back: to the settled bundle, and to what was signed for an earlier offer of the same one."""
    first = (settled.digest,) if settled is not None else ()
    return (*first, *(digest for digest in before if digest not in first))[:MAX_ROLLBACK]


def _require_above(offered: Offered, settled: Offered | None, channel: str) -> None:
    """Something may have been published since the candidate was offered."""
    if settled is not None and offered.version <= settled.version and not offered.downgrade:
        raise PublishError(
            f"bundle version {offered.version} is not above version {settled.version}, which channel {channel} offers",
            hint="offer it again with --downgrade",
        )


def _require_newer(bundle: Bundle, current: Offered | None, *, downgrade: bool, channel: str) -> None:
    version = bundle.manifest.version
    if current is not None and version <= current.version and not downgrade:
        raise PublishError(
            f"bundle version {version} is not above version {current.version}, which channel {channel} offers",
            hint="convert it again with a higher version, or publish it with --downgrade",
        )


def _require_same_sealing(settled: Offered, encrypt: bool) -> None:
    if encrypt and not settled.sealed:
        raise PublishError(
            f"bundle {settled.digest[:12]} was published unencrypted already: everybody may have it",
            hint="convert it with a higher version and publish that with --encrypt",
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
