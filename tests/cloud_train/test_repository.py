"""The signed repository: what devices find there, when it expires, who may publish what."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tuf.api.exceptions import DownloadHTTPError, ExpiredMetadataError, RepositoryError
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from cloud_train.errors import PublishError
from cloud_train.ingest.handlers import published_file
from cloud_train.publish.repository import Repository, open_repository
from edge.bundle.manifest import Verdict
from edge.bundle.reader import bundle_digest, open_bundle
from edge.errors import BundleError, StorageError, UsageError

NOW = 1_800_000_000.0
DAY = 86_400.0


class FolderFetcher(FetcherInterface):
    """Fetches what a server would publish."""

    def __init__(self, repository: Path) -> None:
        self._repository = repository

    def _fetch(self, url: str) -> Iterator[bytes]:
        try:
            yield published_file(self._repository, url).read_bytes()
        except FileNotFoundError as cause:
            raise DownloadHTTPError(url, 404) from cause


class Client:
    """A TUF client with a memory, as python-tuf ships it."""

    def __init__(self, folder: Path, repository: Path, *, prefixed: bool = False) -> None:
        folder.mkdir(exist_ok=True)
        self._folder, self._repository, self._prefixed = folder, repository, prefixed
        self._root = (repository / "metadata" / "1.root.json").read_bytes()

    def manifest(self, *, now: float = NOW, channel: str = "stable") -> dict | None:
        client = Updater(
            metadata_dir=str(self._folder),
            metadata_base_url="metadata/",
            target_dir=str(self._folder),
            target_base_url="targets/",
            fetcher=FolderFetcher(self._repository),
            config=UpdaterConfig(prefix_targets_with_hash=self._prefixed),
            bootstrap=self._root,
        )
        client._trusted_set.reference_time = datetime.fromtimestamp(now, UTC)
        client.refresh()
        info = client.get_targetinfo(f"channel/{channel}/manifest.json")
        return None if info is None else json.loads(Path(client.download_target(info)).read_bytes())


@pytest.fixture
def repository(store: Path) -> Repository:
    return open_repository(store, now=NOW)


@pytest.fixture
def client(tmp_path: Path, repository: Repository) -> Client:
    return Client(tmp_path / "client", repository.folder)


@pytest.fixture
def bundles(tmp_path: Path, make_bundle: Callable[..., Path]) -> list[Path]:
    return [make_bundle(tmp_path / f"bundle-{number}", version=number, flavour=number) for number in (1, 2, 3)]


def test_a_new_repository_is_signed_and_empty(repository: Repository, client: Client) -> None:
    assert repository.current("stable") is None
    assert client.manifest() is None


def test_a_published_bundle_is_what_a_client_finds(repository: Repository, client: Client, bundles: list[Path]) -> None:
    release = repository.publish(bundles[0], channel="stable", now=NOW)
    bundle = open_bundle(bundles[0])
    assert (release.bundle_digest, release.name, release.version, release.channel) == (
        bundle_digest(bundle.manifest),
        "tiny",
        1,
        "stable",
    )
    assert release == repository.current("stable")
    assert client.manifest() == json.loads((bundles[0] / "manifest.json").read_bytes())
    for entry in bundle.manifest.files:
        assert published_file(repository.folder, f"files/sha256/{entry.sha256}").read_bytes() == bundle.read(entry.name)


def test_clients_with_hashed_names_are_served_as_well(
    repository: Repository, tmp_path: Path, bundles: list[Path]
) -> None:
    client = Client(tmp_path / "prefixed", repository.folder, prefixed=True)
    for number, bundle in enumerate(bundles, start=1):
        repository.publish(bundle, channel="stable", now=NOW)
        assert client.manifest()["version"] == number


def test_measured_latencies_travel_beside_the_signed_files(repository: Repository, bundles: list[Path]) -> None:
    (bundles[0] / "measurements.json").write_bytes(b'{"latency": 1}')
    release = repository.publish(bundles[0], channel="stable", now=NOW)
    path = published_file(repository.folder, f"files/measurements/{release.bundle_digest}.json")
    assert path.read_bytes() == b'{"latency": 1}'


def test_publishing_the_same_again_changes_nothing(repository: Repository, bundles: list[Path], store: Path) -> None:
    first = repository.publish(bundles[0], channel="stable", now=NOW)
    before = {path: path.stat().st_mtime_ns for path in repository.folder.rglob("*")}
    assert repository.publish(bundles[0], channel="stable", now=NOW + DAY) == first
    assert open_repository(store, now=NOW + DAY).publish(bundles[0], channel="stable", now=NOW + DAY) == first
    assert {path: path.stat().st_mtime_ns for path in repository.folder.rglob("*")} == before


def test_the_next_version_takes_over_and_an_older_one_is_refused(
    repository: Repository, client: Client, bundles: list[Path]
) -> None:
    versions = [repository.publish(bundle, channel="stable", now=NOW).metadata_version for bundle in bundles]
    assert versions == sorted(set(versions))
    assert client.manifest()["version"] == 3
    with pytest.raises(PublishError, match="version 2 is not above version 3, which channel stable offers"):
        repository.publish(bundles[1], channel="stable", now=NOW)
    assert client.manifest()["version"] == 3


def test_another_bundle_of_the_same_version_is_refused(
    repository: Repository, bundles: list[Path], tmp_path: Path, make_bundle: Callable[..., Path]
) -> None:
    repository.publish(bundles[0], channel="stable", now=NOW)
    with pytest.raises(PublishError, match="version 1 is not above version 1"):
        repository.publish(make_bundle(tmp_path / "other", version=1, flavour=9), channel="stable", now=NOW)


def test_channels_do_not_touch_each_other(repository: Repository, client: Client, bundles: list[Path]) -> None:
    repository.publish(bundles[1], channel="stable", now=NOW)
    repository.publish(bundles[0], channel="beta", now=NOW)
    assert client.manifest(channel="stable")["version"] == 2
    assert client.manifest(channel="beta")["version"] == 1


@pytest.mark.parametrize("channel", ["", "../x", "Stable", "a/b", "x" * 41, "-x"])
def test_a_channel_needs_a_plain_name(repository: Repository, bundles: list[Path], channel: str) -> None:
    with pytest.raises(UsageError, match="is not a channel name"):
        repository.publish(bundles[0], channel=channel, now=NOW)


@pytest.mark.parametrize(("verdict", "words"), [(Verdict.FAIL, "failed its proof"), (Verdict.NONE, "was never proven")])
def test_an_unproven_bundle_is_refused(
    repository: Repository, tmp_path: Path, make_bundle: Callable[..., Path], verdict: Verdict, words: str
) -> None:
    from edge.bundle.manifest import Origin

    origin = Origin.IMPORTED if verdict is Verdict.NONE else Origin.TRAINED
    before = sorted(repository.folder.rglob("*"))
    with pytest.raises(PublishError, match=words):
        repository.publish(make_bundle(tmp_path / "b", verdict=verdict, origin=origin), channel="stable", now=NOW)
    assert sorted(repository.folder.rglob("*")) == before


def test_a_flipped_byte_is_refused(repository: Repository, client: Client, bundles: list[Path]) -> None:
    repository.publish(bundles[0], channel="stable", now=NOW)
    before = sorted(repository.folder.rglob("*"))
    # A flipped byte in the manifest makes another bundle, which may be as good.
    for file in sorted(path for path in bundles[1].iterdir() if path.name != "manifest.json"):
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        kept = file.read_bytes()
        file.write_bytes(data)
        with pytest.raises(BundleError):
            repository.publish(bundles[1], channel="stable", now=NOW)
        file.write_bytes(kept)
    assert sorted(repository.folder.rglob("*")) == before
    assert client.manifest()["version"] == 1


def test_a_file_that_changes_while_it_is_copied_is_refused(repository: Repository, bundles: list[Path]) -> None:
    from edge import durable

    def change(point: str) -> None:
        if point == "publish.file:before":
            for entry in bundles[0].glob("*.tflite"):
                entry.write_bytes(b"x" * entry.stat().st_size)

    durable.observe(change)
    try:
        with pytest.raises(BundleError, match="changed while it was published"):
            repository.publish(bundles[0], channel="stable", now=NOW)
    finally:
        durable.observe(None)
    assert repository.current("stable") is None


@pytest.mark.parametrize(("role", "days"), [("timestamp", 7), ("snapshot", 30), ("targets", 90), ("root", 365)])
def test_every_role_expires_in_its_time(repository: Repository, role: str, days: int) -> None:
    name = "timestamp.json" if role == "timestamp" else f"1.{role}.json"
    signed = json.loads((repository.folder / "metadata" / name).read_bytes())["signed"]
    expires = datetime.fromisoformat(signed["expires"])
    assert expires - datetime.fromtimestamp(NOW, UTC) == timedelta(days=days)


def test_what_has_expired_is_refused_until_it_is_renewed(
    repository: Repository, client: Client, bundles: list[Path]
) -> None:
    repository.publish(bundles[0], channel="stable", now=NOW)
    assert client.manifest(now=NOW + 6 * DAY)["version"] == 1
    with pytest.raises(ExpiredMetadataError):
        client.manifest(now=NOW + 8 * DAY)
    assert repository.renew(NOW + 8 * DAY) == ("timestamp",)
    assert client.manifest(now=NOW + 8 * DAY)["version"] == 1


def test_renewing_weekly_keeps_a_repository_alive_for_more_than_a_year(
    repository: Repository, client: Client, bundles: list[Path]
) -> None:
    repository.publish(bundles[0], channel="stable", now=NOW)
    renewed = set()
    for week in range(60):
        renewed |= set(repository.renew(NOW + week * 7 * DAY))
        assert client.manifest(now=NOW + (week * 7 + 6) * DAY)["version"] == 1
    assert renewed == {"root", "targets", "snapshot", "timestamp"}


def test_publishing_signs_everything_that_changed_anew(
    repository: Repository, client: Client, bundles: list[Path]
) -> None:
    repository.publish(bundles[0], channel="stable", now=NOW)
    repository.publish(bundles[1], channel="stable", now=NOW + 60 * DAY)
    assert client.manifest(now=NOW + 60 * DAY)["version"] == 2


def test_keys_are_for_their_owner_only(repository: Repository, store: Path) -> None:
    assert stat.S_IMODE((store / "keys").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (store / "keys").iterdir()} == {0o600}
    assert sorted(path.name for path in (store / "keys").iterdir()) == [
        "root.pem",
        "snapshot.pem",
        "targets.pem",
        "timestamp.pem",
    ]
    published = b"".join(path.read_bytes() for path in repository.folder.rglob("*") if path.is_file())
    assert b"PRIVATE KEY" not in published


def test_another_stores_signature_is_not_believed(
    repository: Repository, client: Client, bundles: list[Path], tmp_path: Path
) -> None:
    stranger = open_repository(tmp_path / "stranger", now=NOW)
    stranger.publish(bundles[0], channel="stable", now=NOW)
    shutil.rmtree(repository.folder)
    shutil.copytree(stranger.folder, repository.folder)
    with pytest.raises(RepositoryError):
        client.manifest()


def test_opening_again_uses_the_same_keys(store: Path, client: Client, bundles: list[Path]) -> None:
    open_repository(store, now=NOW + DAY).publish(bundles[0], channel="stable", now=NOW)
    assert client.manifest()["version"] == 1


@pytest.mark.parametrize("damage", ["missing", "garbage", "another kind"])
def test_a_lost_key_is_told_and_never_replaced(repository: Repository, store: Path, damage: str) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = store / "keys" / "targets.pem"
    if damage == "missing":
        key.unlink()
    elif damage == "garbage":
        key.write_bytes(b"garbage")
    else:
        other = Ed448PrivateKey.generate()
        key.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(StorageError, match=r"signing key .*targets\.pem.*restore the keys folder from a backup"):
        open_repository(store, now=NOW)


@pytest.mark.parametrize("name", ["timestamp.json", "1.snapshot.json", "1.targets.json", "1.root.json"])
def test_damaged_metadata_is_told(repository: Repository, bundles: list[Path], name: str) -> None:
    path = repository.folder / "metadata" / name
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(StorageError, match=rf"{name} is damaged \(restore"):
        repository.publish(bundles[0], channel="stable", now=NOW)
    if name != "timestamp.json":
        path.unlink()
        with pytest.raises(StorageError, match=rf"cannot read .*{name}"):
            repository.publish(bundles[0], channel="stable", now=NOW)
