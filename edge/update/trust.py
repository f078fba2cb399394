"""What the device believes about releases: TUF, online and offline (https://theupdateframework.github.io/specification/).

Online, `TrustStore.look` runs the TUF client workflow: root, timestamp, snapshot, targets; `TrustStore.bring` then
fetches the manifest of one bundle that they name. Offline, `TrustStore.last_verified` reads what the last look left
behind and checks its signatures again with the keys of the cached root; it answers what the device may go on believing
and never brings anything new.
The root file of the first install is the anchor of both; newer roots are believed only when the older one signs them.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edge import durable
from edge.bundle.manifest import BundleManifest
from edge.bundle.reader import MAX_MANIFEST_BYTES, read_manifest
from edge.errors import BundleError, FormatError, MissingExtraError, RoadError, TrustError, UsageError
from edge.update.offers import SIGNED_AT, offer_digest, offer_name, offered_from, settled_name
from edge.update.published import PublishedFiles
from edge.update.tuf_words import STAYS, as_trust_errors, day
from edge.update.types import Offered, Release, SignedChannel, TrustMark

if TYPE_CHECKING:
    # Where the classes live: `tuf.api.metadata` offers them too, but not in a way that type checkers accept.
    from tuf.api._payload import Root, TargetFile, Targets
    from tuf.api.metadata import Metadata
    from tuf.ngclient.updater import Updater

    from edge.update.fetcher import TransportFetcher

_MAX_METADATA_BYTES = 5_000_000
_CLOCK_SLACK_S = 86_400.0


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
    """The TUF client of one device, for one channel at a time.

    Args:
        home: The device's home; the store lives in `tuf/`.
        transport: The road, or None where only `last_verified` is needed.
        channel: The update channel to follow.
    """

    def __init__(self, home: Path, transport: PublishedFiles | None, *, channel: str) -> None:
        self._folder = home / "tuf"
        self._metadata = self._folder / "metadata"
        self._transport = transport
        self._channel = channel

    def follow(self, channel: str) -> None:
        """Asks for another channel from now on; what was verified of the one before stays."""
        self._channel = channel

    @property
    def _target(self) -> str:
        return settled_name(self._channel)

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
            with as_trust_errors("it"):
                _parse_root(data)
        except TrustError as error:
            raise UsageError(
                f"{file} is not a TUF root: {error.message}", hint="take the server's 1.root.json"
            ) from error
        durable.make_folder(self._folder)
        durable.write_bytes(self._root_file, data, point="trust.root")

    def look(self, now: float) -> SignedChannel:
        """Asks the server what is signed for the channel and verifies the answer.

        Args:
            now: Seconds since the epoch, UTC; what has expired by then is refused.

        Raises:
            RoadError: The server could not be asked.
            TrustError: The answer is not to be trusted, or the clock is behind it.
            StorageError: The disk failed.
        """
        if self._transport is None:
            raise RoadError("no server to ask for a release")
        durable.make_folder(self._metadata)
        with as_trust_errors(f"the release of channel {self._channel!r}", now=now), self._as_storage_errors():
            self._sweep()
            client, fetcher = self._client(self._transport, now)
            try:
                client.refresh()
            finally:
                self._make_durable()
            _check_clock(client._trusted_set.timestamp.unrecognized_fields.get(SIGNED_AT), now)
            root = self._stored_root()
            targets = self._stored_targets(root).signed
            return self._signed_channel(root, targets, fetched_bytes=fetcher.fetched_bytes)

    def bring(self, offered: Offered, *, near: Sequence[Path] = ()) -> VerifiedRelease:
        """The manifest of a bundle that `look` has found, from the disk or the server.

        Args:
            offered: From the channel that was looked at.
            near: Files that may hold the same bytes, as the manifests in the slots.

        Raises:
            RoadError: The server could not be asked.
            TrustError: The answer is not what was signed, or `offered` is not signed any more.
            StorageError: The disk failed.
        """
        if self._transport is None:
            raise RoadError("no server to ask for a release")
        with as_trust_errors(f"the release of channel {self._channel!r}"), self._as_storage_errors():
            targets = self._stored_targets(self._stored_root()).signed
            info, file = self._target_of(targets, offered.digest)
            data = next((found for path in (file, *near) if _fits(info, found := _read_or_nothing(path))), None)
            fetched = 0
            if data is None:
                data, fetched = self._fetch_manifest(self._transport, info)
            if _read_or_nothing(file) != data:
                durable.write_bytes(file, data, point="trust.manifest")
            return self._verified(data, targets, fetched_bytes=fetched)

    def refresh(self, now: float) -> VerifiedRelease | None:
        """Asks the server for the channel's settled release and verifies the answer: `look`, then `bring`.

        Args:
            now: Seconds since the epoch, UTC; what has expired by then is refused.

        Returns:
            The release, or None while the channel offers nothing.

        Raises:
            RoadError: The server could not be asked.
            TrustError: The answer is not to be trusted.
            StorageError: The disk failed.
        """
        channel = self.look(now)
        if channel.settled is None:
            return None
        found = self.bring(channel.settled)
        return replace(found, fetched_bytes=channel.fetched_bytes + found.fetched_bytes)

    def last_verified(self) -> VerifiedRelease:
        """What the last look found, verified again from the disk, without a network.

        Expiry is told, not judged: a device without a network stays on what it has.

        Returns:
            The settled release; or the candidate that was brought last, where the settled one never was.

        Raises:
            TrustError: Nothing was ever verified, or what lies here does not verify.
        """
        with as_trust_errors("the stored release metadata"):
            targets = self._stored_targets(self._stored_root()).signed
            names = [name for name in targets.targets if offer_digest(self._channel, name)]
            if self._target not in targets.targets and not names:
                raise TrustError(f"channel {self._channel!r} is not in the stored release metadata", hint=STAYS)
            brought = _read_or_nothing(self._offer_file)
            settled = targets.targets.get(self._target)
            for name in names:
                if not self._manifest_file.exists() and _fits(targets.targets[name], brought):
                    return self._verified(brought, targets, fetched_bytes=0)
            if settled is None:
                raise TrustError("no release was ever brought to this device", hint="connect it to its server once")
            data = _read(self._manifest_file)
            settled.verify_length_and_hashes(data)
            return self._verified(data, targets, fetched_bytes=0)

    def _signed_channel(self, root: Root, targets: Targets, *, fetched_bytes: int) -> SignedChannel:
        settled = targets.targets.get(self._target)
        names = sorted(name for name in targets.targets if offer_digest(self._channel, name))
        return SignedChannel(
            channel=self._channel,
            settled=_offered(settled) if settled is not None else None,
            offers=tuple(_offered(targets.targets[name]) for name in names),
            mark=TrustMark(
                metadata_version=targets.version, root_version=root.version, signers=_signers(root, targets.type)
            ),
            expires_at=targets.expires.replace(tzinfo=datetime.UTC).timestamp(),
            fetched_bytes=fetched_bytes,
        )

    def _target_of(self, targets: Targets, digest: str) -> tuple[TargetFile, Path]:
        """The signed entry of a bundle, and the file that keeps its manifest."""
        settled = targets.targets.get(self._target)
        if settled is not None and settled.hashes.get("sha256") == digest:
            return settled, self._manifest_file
        offer = targets.targets.get(offer_name(self._channel, digest))
        if offer is None:
            raise TrustError(f"bundle {digest[:12]} is not signed for channel {self._channel!r}", hint=STAYS)
        return offer, self._offer_file

    def _fetch_manifest(self, transport: PublishedFiles, info: TargetFile) -> tuple[bytes, int]:
        from edge.update.fetcher import TransportFetcher

        fetcher = TransportFetcher(transport)
        data = _download(fetcher, info)
        info.verify_length_and_hashes(data)
        return data, fetcher.fetched_bytes

    @property
    def _root_file(self) -> Path:
        return self._folder / "root.json"

    @property
    def _manifest_file(self) -> Path:
        return self._folder / f"manifest-{self._channel}.json"

    @property
    def _offer_file(self) -> Path:
        return self._folder / f"offer-{self._channel}.json"

    def _client(self, transport: PublishedFiles, now: float) -> tuple[Updater, TransportFetcher]:
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

    def _verified(self, data: bytes, targets: Targets, *, fetched_bytes: int) -> VerifiedRelease:
        try:
            manifest = read_manifest(data, where=self._target)
        except (FormatError, BundleError) as cause:
            raise TrustError(
                f"the signed manifest cannot be used: {cause.message}", hint=cause.hint or STAYS
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
                raise TrustError(f"{file.name} holds root version {newer.signed.version}", hint=STAYS)
            root = newer.signed
        return root

    def _stored_targets(self, root: Root) -> Metadata[Targets]:
        from tuf.api.metadata import Metadata

        file = self._metadata / "targets.json"
        if not file.exists():
            raise TrustError("no release was ever verified on this device", hint="connect it to its server once")
        targets: Metadata[Targets] = Metadata.from_bytes(_read(file))
        if targets.signed.type != "targets":
            raise TrustError(f"{file.name} is {targets.signed.type} metadata", hint=STAYS)
        root.verify_delegate("targets", targets.signed_bytes, targets.signatures)
        return targets

    def _sweep(self) -> None:
        """Removes what a killed refresh of the client left behind."""
        for path in self._metadata.glob("tmp*"):
            path.unlink(missing_ok=True)

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


def _download(fetcher: TransportFetcher, info: TargetFile) -> bytes:
    """Prefers the name with the digest in it, which stays the same file while a newer release is being published."""
    from tuf.api.exceptions import DownloadHTTPError

    folder, _, name = info.path.rpartition("/")
    limit = min(info.length, MAX_MANIFEST_BYTES)
    try:
        return fetcher.download_bytes(f"targets/{folder}/{info.hashes['sha256']}.{name}", limit)
    except (DownloadHTTPError, KeyError):
        return fetcher.download_bytes(f"targets/{info.path}", limit)


def _check_clock(signed_at: object, now: float) -> None:
    """What is signed tells when; a clock that is before that would also take what has long expired.

    Raises:
        TrustError: The clock is more than a day behind.
    """
    if isinstance(signed_at, (int, float)) and now < signed_at - _CLOCK_SLACK_S:
        raise TrustError(
            f"the release was signed on {day(signed_at)}, but this device's clock says {day(now)}",
            hint=f"set the clock; until then {STAYS}",
        )


def _offered(info: TargetFile) -> Offered:
    try:
        return offered_from(info.hashes["sha256"], info.custom, where=info.path)
    except (FormatError, KeyError) as cause:
        raise TrustError(f"the signed target {info.path} makes no sense: {cause}", hint=STAYS) from cause


def _signers(root: Root, role: str) -> str:
    """Digest of the keys of a role and how many must sign."""
    entry = root.roles[role]
    return hashlib.sha256(" ".join([str(entry.threshold), *sorted(entry.keyids)]).encode()).hexdigest()


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


def _read_or_nothing(file: Path) -> bytes:
    try:
        return _read(file)
    except TrustError:
        return b""


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
            f"cannot read {file.name}: {(cause.strerror or 'no reason given').lower()}", hint=STAYS
        ) from cause
    if len(data) > _MAX_METADATA_BYTES:
        raise TrustError(f"{file.name} is larger than {_MAX_METADATA_BYTES} bytes", hint=STAYS)
    return data
