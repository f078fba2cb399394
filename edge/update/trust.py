"""What the device believes about releases: TUF, online and offline (https://theupdateframework.github.io/specification/).

Online, `TrustStore.refresh` runs the TUF client workflow: root, timestamp, snapshot, targets, then the channel's
manifest. Offline, `TrustStore.last_verified` reads what the last refresh left behind and checks its signatures again
with the keys of the cached root; it answers what the device may go on believing and never brings anything new.
The root file of the first install is the anchor of both; newer roots are believed only when the older one signs them.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge import durable
from edge.bundle.manifest import BundleManifest
from edge.bundle.reader import MAX_MANIFEST_BYTES, read_manifest
from edge.errors import BundleError, FormatError, MissingExtraError, RoadError, TrustError, UsageError
from edge.sync.base import SyncTransport
from edge.update.types import Release

if TYPE_CHECKING:
    # Where the classes live: `tuf.api.metadata` offers them too, but not in a way that type checkers accept.
    from tuf.api._payload import Root, TargetFile, Targets
    from tuf.api.metadata import Metadata
    from tuf.ngclient.updater import Updater

    from edge.update.fetcher import TransportFetcher

_STAYS = "the device stays on the bundle it has"
_MAX_METADATA_BYTES = 5_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedRelease:
    """A release whose signatures were checked.

    Attributes:
        release: What the channel offers.
        manifest: The bundle's manifest, parsed.
        manifest_bytes: The exact bytes that were signed for.
        expires_at: When the signed targets metadata expires, seconds since the epoch, UTC.
        fetched_bytes: What travelled to learn it.
    """

    release: Release
    manifest: BundleManifest
    manifest_bytes: bytes
    expires_at: float
    fetched_bytes: int = 0


class TrustStore:
    """The TUF client of one device and one channel.

    Args:
        home: The device's home; the store lives in `tuf/`.
        transport: The road, or None where only `last_verified` is needed.
        channel: The update channel to follow.
    """

    def __init__(self, home: Path, transport: SyncTransport | None, *, channel: str) -> None:
        self._folder = home / "tuf"
        self._metadata = self._folder / "metadata"
        self._transport = transport
        self._channel = channel
        self._target = f"channel/{channel}/manifest.json"

    @property
    def has_root(self) -> bool:
        """Whether this home has been given its anchor."""
        return self._root_file.exists()

    def install_root(self, file: Path) -> None:
        """Copies the trusted root of the first install into the home; the same file again changes nothing.

        Raises:
            UsageError: The file cannot be read, is no root, or the home already trusts another one.
            StorageError: The disk failed.
        """
        try:
            data = file.read_bytes()
        except OSError as cause:
            raise UsageError(
                f"cannot read the trusted root {file}: {(cause.strerror or 'no reason given').lower()}",
                hint="take 1.root.json from the server's repository/metadata folder",
            ) from cause
        if self.has_root:
            if self._root_file.read_bytes() != data:
                raise UsageError(
                    f"this device already trusts another root than {file}", hint="leave --root out, or use a new --home"
                )
            return
        try:
            with _as_trust_errors("it"):
                _parse_root(data)
        except TrustError as error:
            raise UsageError(
                f"{file} is not a TUF root: {error.message}", hint="take the server's 1.root.json"
            ) from error
        durable.make_folder(self._folder)
        durable.write_bytes(self._root_file, data, point="trust.root")

    def refresh(self, now: float) -> VerifiedRelease | None:
        """Asks the server what the channel offers and verifies the answer.

        Args:
            now: Seconds since the epoch, UTC; what has expired by then is refused.

        Returns:
            The release, or None while the channel offers nothing.

        Raises:
            RoadError: The server could not be asked.
            TrustError: The answer is not to be trusted.
            StorageError: The disk failed.
        """
        if self._transport is None:
            raise RoadError("no server to ask for a release")
        durable.make_folder(self._metadata)
        with _as_trust_errors(f"the release of channel {self._channel!r}"), self._as_storage_errors():
            client, fetcher = self._client(self._transport, now)
            try:
                client.refresh()
            finally:
                self._make_durable()
            return self._channel_manifest(client, fetcher)

    def last_verified(self) -> VerifiedRelease:
        """What the last refresh found, verified again from the disk, without a network.

        Expiry is told, not judged: a device without a network stays on what it has.

        Raises:
            TrustError: Nothing was ever verified, or what lies here does not verify.
        """
        with _as_trust_errors("the stored release metadata"):
            targets = self._stored_targets(self._stored_root())
            info = targets.signed.targets.get(self._target)
            if info is None:
                raise TrustError(f"channel {self._channel!r} is not in the stored release metadata", hint=_STAYS)
            data = _read(self._manifest_file)
            info.verify_length_and_hashes(data)
            return self._verified(data, targets.signed, fetched_bytes=0)

    @property
    def _root_file(self) -> Path:
        return self._folder / "root.json"

    @property
    def _manifest_file(self) -> Path:
        return self._folder / f"manifest-{self._channel}.json"

    def _client(self, transport: SyncTransport, now: float) -> tuple[Updater, TransportFetcher]:
        try:
            from tuf.ngclient.config import UpdaterConfig
            from tuf.ngclient.updater import Updater

            from edge.update.fetcher import TransportFetcher
        except ImportError as cause:
            raise MissingExtraError("tuf", "update") from cause
        if not self.has_root:
            raise UsageError("this device has no trusted root yet", hint="give --root FILE once, at the first install")
        fetcher = TransportFetcher(transport)
        client = Updater(
            metadata_dir=str(self._metadata),
            metadata_base_url="metadata/",
            target_base_url="targets/",
            fetcher=fetcher,
            config=UpdaterConfig(prefix_targets_with_hash=False),
            bootstrap=self._root_file.read_bytes(),
        )
        # The updater has no argument for the time; this public field of its trusted set is what expiry is measured by.
        client._trusted_set.reference_time = datetime.datetime.fromtimestamp(now, datetime.UTC)
        return client, fetcher

    def _channel_manifest(self, client: Updater, fetcher: TransportFetcher) -> VerifiedRelease | None:
        info = client.get_targetinfo(self._target)
        if info is None:
            return None
        data = _read(self._manifest_file) if self._manifest_file.exists() else b""
        if not _fits(info, data):
            data = _download(fetcher, info)
            info.verify_length_and_hashes(data)
            durable.write_bytes(self._manifest_file, data, point="trust.manifest")
        targets = self._stored_targets(self._stored_root())
        return self._verified(data, targets.signed, fetched_bytes=fetcher.fetched_bytes)

    def _verified(self, data: bytes, targets: Targets, *, fetched_bytes: int) -> VerifiedRelease:
        try:
            manifest = read_manifest(data, where=self._target)
        except (FormatError, BundleError) as cause:
            raise TrustError(
                f"the signed manifest cannot be used: {cause.message}", hint=cause.hint or _STAYS
            ) from cause
        release = Release(
            channel=self._channel,
            bundle_digest=hashlib.sha256(data).hexdigest(),
            name=manifest.name,
            version=manifest.version,
            metadata_version=targets.version,
        )
        expires_at = targets.expires.replace(tzinfo=datetime.UTC).timestamp()
        return VerifiedRelease(
            release=release, manifest=manifest, manifest_bytes=data, expires_at=expires_at, fetched_bytes=fetched_bytes
        )

    def _stored_root(self) -> Root:
        """The newest root that a chain of signatures ties to the anchor."""
        if not self.has_root:
            raise TrustError("this device has no trusted root yet", hint="give --root FILE once, at the first install")
        root = _parse_root(_read(self._root_file)).signed
        while (file := self._metadata / "root_history" / f"{root.version + 1}.root.json").exists():
            newer = _parse_root(_read(file))
            root.verify_delegate("root", newer.signed_bytes, newer.signatures)
            if newer.signed.version != root.version + 1:
                raise TrustError(f"{file.name} holds root version {newer.signed.version}", hint=_STAYS)
            root = newer.signed
        return root

    def _stored_targets(self, root: Root) -> Metadata[Targets]:
        from tuf.api.metadata import Metadata

        file = self._metadata / "targets.json"
        if not file.exists():
            raise TrustError("no release was ever verified on this device", hint="connect it to its server once")
        targets: Metadata[Targets] = Metadata.from_bytes(_read(file))
        if targets.signed.type != "targets":
            raise TrustError(f"{file.name} is {targets.signed.type} metadata", hint=_STAYS)
        root.verify_delegate("targets", targets.signed_bytes, targets.signatures)
        return targets

    def _make_durable(self) -> None:
        """The client renames but does not fsync; a power cut must not leave empty metadata behind."""
        for folder, _, files in os.walk(self._metadata):
            for name in files:
                with contextlib.suppress(FileNotFoundError), Path(folder, name).open("rb") as file:
                    os.fsync(file.fileno())
            durable.fsync_folder(Path(folder))

    @contextlib.contextmanager
    def _as_storage_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as cause:
            raise durable.storage_error(self._metadata, cause) from cause


@contextlib.contextmanager
def _as_trust_errors(what: str) -> Iterator[None]:
    """Says in our words what the TUF client found wrong."""
    try:
        from tuf.api import exceptions
    except ImportError as cause:
        raise MissingExtraError("tuf", "update") from cause
    try:
        yield
    except exceptions.ExpiredMetadataError as cause:
        raise TrustError(f"{what} has expired: {cause}", hint=f"renew it on the server; until then {_STAYS}") from cause
    except exceptions.UnsignedMetadataError as cause:
        raise TrustError(f"{what} is not signed by the keys this device trusts: {cause}", hint=_STAYS) from cause
    except exceptions.BadVersionNumberError as cause:
        raise TrustError(f"{what} was rolled back or mixed up: {cause}", hint=_STAYS) from cause
    except (exceptions.LengthOrHashMismatchError, exceptions.DownloadLengthMismatchError) as cause:
        raise TrustError(f"{what} was tampered with: {cause}", hint=_STAYS) from cause
    except exceptions.DownloadHTTPError as cause:
        raise RoadError(f"the server has no complete release yet: {cause}", hint="publish a bundle") from cause
    except exceptions.DownloadError as cause:
        raise _road_error(cause) from cause
    except (exceptions.RepositoryError, ValueError) as cause:
        raise TrustError(f"{what} is not valid: {cause}", hint=_STAYS) from cause


def _download(fetcher: TransportFetcher, info: TargetFile) -> bytes:
    """Prefers the name with the digest in it, which stays the same file while a newer release is being published."""
    from tuf.api.exceptions import DownloadHTTPError

    folder, _, name = info.path.rpartition("/")
    limit = min(info.length, MAX_MANIFEST_BYTES)
    try:
        return fetcher.download_bytes(f"targets/{folder}/{info.hashes['sha256']}.{name}", limit)
    except (DownloadHTTPError, KeyError):
        return fetcher.download_bytes(f"targets/{info.path}", limit)


def _road_error(cause: BaseException) -> RoadError:
    """The transport's own words, which the client wraps."""
    inner = cause.__cause__
    return inner if isinstance(inner, RoadError) else RoadError(f"the download failed: {inner or cause}")


def _parse_root(data: bytes) -> Metadata[Root]:
    from tuf.api.metadata import Metadata

    root: Metadata[Root] = Metadata.from_bytes(data)
    if root.signed.type != "root":
        raise TrustError(f"it is {root.signed.type} metadata")
    root.signed.verify_delegate("root", root.signed_bytes, root.signatures)
    return root


def _fits(info: TargetFile, data: bytes) -> bool:
    from tuf.api.exceptions import LengthOrHashMismatchError

    try:
        info.verify_length_and_hashes(data)
    except LengthOrHashMismatchError:
        return False
    return True


def _read(file: Path) -> bytes:
    """A file of the store, size-limited.

    Raises:
        TrustError: It cannot be read or is larger than any metadata.
    """
    try:
        with file.open("rb") as opened:
            data = opened.read(_MAX_METADATA_BYTES + 1)
    except OSError as cause:
        raise TrustError(
            f"cannot read {file.name}: {(cause.strerror or 'no reason given').lower()}", hint=_STAYS
        ) from cause
    if len(data) > _MAX_METADATA_BYTES:
        raise TrustError(f"{file.name} is larger than {_MAX_METADATA_BYTES} bytes", hint=_STAYS)
    return data
