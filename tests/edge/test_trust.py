import hashlib
import json
import shutil

import pytest
from device_world import RepositoryRoad, copy_tree, metadata_folder, publish, root_file

from cloud_train.publish.repository import open_repository
from edge.errors import RoadError, TrustError, UsageError
from edge.update.trust import TrustStore

NOW = 1_700_000_000.0  # far from the machine's own clock: only the given time may count
DAY = 86_400.0


@pytest.fixture(scope="session")
def signed(tmp_path_factory, make_bundle):
    """Two bundles and a store that offers the first; made once and copied, for making keys takes its time."""
    folder = tmp_path_factory.mktemp("signed")
    make_bundle(folder / "v1")
    make_bundle(folder / "v2", version=2, flavour=1)
    publish(folder / "store", folder / "v1", now=NOW)
    return folder


@pytest.fixture
def bundle(signed):
    return signed / "v1"


@pytest.fixture
def second(signed):
    return signed / "v2"


@pytest.fixture
def store(tmp_path, signed):
    copy_tree(signed / "store", tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture
def trust(tmp_path, store):
    made = TrustStore(tmp_path / "home", RepositoryRoad(store), channel="stable")
    made.install_root(root_file(store))
    return made


def offline(tmp_path):
    return TrustStore(tmp_path / "home", None, channel="stable")


def change(path, edit):
    value = json.loads(path.read_bytes())
    edit(value)
    path.write_bytes(json.dumps(value).encode())


def test_refresh_brings_the_signed_manifest(trust, bundle):
    found = trust.refresh(NOW + 60)
    data = (bundle / "manifest.json").read_bytes()
    assert found.manifest_bytes == data
    assert found.release.bundle_digest == hashlib.sha256(data).hexdigest()
    assert (found.release.name, found.release.version, found.release.metadata_version) == ("tiny", 1, 2)
    assert found.expires_at == NOW + 90 * DAY
    assert found.fetched_bytes > len(data)


def test_nothing_new_travels_twice(trust, store, tmp_path):
    trust.refresh(NOW)
    road = RepositoryRoad(store)
    again = TrustStore(tmp_path / "home", road, channel="stable").refresh(NOW)
    assert [path for path, _ in road.fetched] == ["metadata/2.root.json", "metadata/timestamp.json"] or [
        path for path, _ in road.fetched
    ] == ["metadata/timestamp.json"]
    assert again.fetched_bytes == road.fetched_bytes < 1000


def test_a_new_release_is_noticed(trust, store, second):
    trust.refresh(NOW)
    publish(store, second, now=NOW + 5)
    assert trust.refresh(NOW + 10).release.version == 2


def test_offline_believes_what_it_verified_and_nothing_more(trust, store, second, tmp_path):
    verified = trust.refresh(NOW)
    publish(store, second, now=NOW + 5)
    stored = offline(tmp_path).last_verified()
    assert stored.release == verified.release
    assert (stored.manifest_bytes, stored.expires_at) == (verified.manifest_bytes, verified.expires_at)
    with pytest.raises(RoadError):
        offline(tmp_path).refresh(NOW)


def test_a_channel_without_a_release(tmp_path, store):
    trust = TrustStore(tmp_path / "home", RepositoryRoad(store), channel="beta")
    trust.install_root(root_file(store))
    assert trust.refresh(NOW) is None
    with pytest.raises(TrustError, match="channel 'beta' is not in the stored release metadata"):
        trust.last_verified()


def test_two_channels_do_not_mix(tmp_path, trust, store, second):
    open_repository(store, now=NOW).publish(second, channel="beta", now=NOW)
    beta = TrustStore(tmp_path / "home", RepositoryRoad(store), channel="beta")
    assert (trust.refresh(NOW).release.version, beta.refresh(NOW).release.version) == (1, 2)
    assert (trust.last_verified().release.version, beta.last_verified().release.version) == (1, 2)


# Attacks and accidents. Each one is refused and leaves the device believing what it believed before.


def expired(store, second):
    return NOW + 8 * DAY


def targets_expired(store, second):
    repository = open_repository(store, now=NOW)
    state_folder = metadata_folder(store)
    before = (state_folder / "timestamp.json").read_bytes()
    repository.renew(NOW + 8 * DAY)  # signs a new timestamp; everything else is still good
    assert (state_folder / "timestamp.json").read_bytes() != before
    return NOW + 16 * DAY


def unsigned(store, second):
    publish(store, second, now=NOW)
    change(metadata_folder(store) / "timestamp.json", lambda value: value.update(signatures=[]))


def forged_signature(store, second):
    publish(store, second, now=NOW)
    change(metadata_folder(store) / "timestamp.json", lambda value: value["signatures"][0].update(sig="ab" * 64))


def forged_content(store, second):
    publish(store, second, now=NOW)
    change(metadata_folder(store) / "3.targets.json", lambda value: value["signed"].update(version=3, x_extra="evil"))


def other_keys(store, second):
    shutil.rmtree(store)
    publish(store, second, now=NOW)


def rolled_back(store, second):
    copy_tree(store.parent / "store-before", store)


def mixed_up(store, second):
    publish(store, second, now=NOW)
    folder = metadata_folder(store)
    shutil.copyfile(folder / "2.targets.json", folder / "3.targets.json")


def tampered_manifest(store, second):
    publish(store, second, now=NOW)
    for path in (store / "repository" / "targets" / "channel" / "stable").glob("*.json"):
        path.write_bytes(path.read_bytes().replace(b'"version":2', b'"version":9'))


def endless_metadata(store, second):
    (metadata_folder(store) / "timestamp.json").write_bytes(b" " * 100_000)


def not_json(store, second):
    (metadata_folder(store) / "timestamp.json").write_bytes(b"<html>")


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (expired, "has expired: timestamp.json is expired"),
        (targets_expired, "has expired"),
        (unsigned, "is not signed by the keys this device trusts"),
        (forged_signature, "is not signed by the keys this device trusts"),
        (forged_content, "is not signed by the keys this device trusts"),
        (other_keys, "is not signed by the keys this device trusts"),
        (rolled_back, "was rolled back or mixed up"),
        (mixed_up, "was rolled back or mixed up"),
        (tampered_manifest, "was tampered with"),
        (endless_metadata, "was tampered with"),
        (not_json, "is not valid"),
    ],
)
def test_what_is_not_to_be_trusted(trust, store, second, tmp_path, make_bundle, attack, message):
    copy_tree(store, tmp_path / "store-before")
    if attack is rolled_back:
        publish(store, make_bundle(tmp_path / "newer", version=2, flavour=5), now=NOW)
    before = trust.refresh(NOW)
    now = attack(store, second) or NOW
    with pytest.raises(TrustError) as caught:
        trust.refresh(now)
    assert message in caught.value.message
    assert "channel 'stable'" in caught.value.message
    assert "the device stays on the bundle it has" in caught.value.hint
    assert "\n" not in str(caught.value)
    if attack not in (tampered_manifest, mixed_up):  # there the newest targets are verified, only their file is not
        assert offline(tmp_path).last_verified().release == before.release


def test_expiry_does_not_end_what_was_believed(trust, tmp_path):
    trust.refresh(NOW)
    stored = offline(tmp_path).last_verified()
    assert stored.expires_at < NOW + 1000 * DAY


def test_a_new_root_is_believed_when_the_old_one_signed_it(trust, store, tmp_path):
    trust.refresh(NOW)
    open_repository(store, now=NOW).renew(NOW + 200 * DAY)
    assert (metadata_folder(store) / "2.root.json").exists()
    found = trust.refresh(NOW + 201 * DAY)
    assert offline(tmp_path).last_verified().release == found.release
    assert (tmp_path / "home/tuf/metadata/root_history/2.root.json").exists()


def test_a_new_root_that_nobody_signed_is_refused_online_and_offline(trust, store, tmp_path, bundle):
    trust.refresh(NOW)
    publish(tmp_path / "evil", bundle, now=NOW)
    evil = root_file(tmp_path / "evil")
    change(evil, lambda value: value["signed"].update(version=2))
    shutil.copyfile(evil, metadata_folder(store) / "2.root.json")
    with pytest.raises(TrustError, match="is not signed by the keys"):
        trust.refresh(NOW)
    shutil.copyfile(evil, tmp_path / "home/tuf/metadata/root_history/2.root.json")
    with pytest.raises(TrustError, match="stored release metadata is not signed"):
        offline(tmp_path).last_verified()


@pytest.mark.parametrize(
    ("name", "edit", "message"),
    [
        ("manifest-stable.json", lambda data: data.replace(b'"version":1', b'"version":7'), "tampered with"),
        ("manifest-stable.json", lambda data: b"", "tampered with"),
        ("metadata/targets.json", lambda data: data.replace(b"tiny", b"evil"), "is not signed"),
        ("metadata/targets.json", lambda data: data[:-5], "is not valid"),
        ("root.json", lambda data: data[:-5], "is not valid"),
        ("root.json", lambda data: data.replace(b"2024", b"2034"), "is not signed"),
    ],
)
def test_damage_on_the_disk_is_noticed_offline(trust, tmp_path, name, edit, message):
    trust.refresh(NOW)
    path = tmp_path / "home" / "tuf" / name
    before = path.read_bytes()
    path.write_bytes(edit(before))
    assert path.read_bytes() != before
    with pytest.raises(TrustError, match=message):
        offline(tmp_path).last_verified()


def test_nothing_verified_yet(trust, tmp_path):
    with pytest.raises(TrustError, match="no release was ever verified"):
        offline(tmp_path).last_verified()


def test_damaged_cache_is_fetched_anew(trust, tmp_path):
    verified = trust.refresh(NOW)
    for name in ("manifest-stable.json", "metadata/targets.json", "metadata/snapshot.json", "metadata/timestamp.json"):
        (tmp_path / "home" / "tuf" / name).write_bytes(b"")
    assert trust.refresh(NOW).release == verified.release


def test_a_bad_road_is_no_matter_of_trust(tmp_path, store):
    road = RepositoryRoad(store, down=True)
    trust = TrustStore(tmp_path / "home", road, channel="stable")
    trust.install_root(root_file(store))
    with pytest.raises(RoadError, match="the server does not answer"):
        trust.refresh(NOW)


def test_a_server_without_a_repository(tmp_path, store):
    (metadata_folder(store) / "timestamp.json").unlink()
    trust = TrustStore(tmp_path / "home", RepositoryRoad(store), channel="stable")
    trust.install_root(root_file(store))
    with pytest.raises(RoadError, match="no complete release yet"):
        trust.refresh(NOW)


def test_the_root_is_given_once(tmp_path, trust, store, bundle):
    trust.install_root(root_file(store))
    publish(tmp_path / "other", bundle, now=NOW)
    with pytest.raises(UsageError, match="already trusts another root"):
        trust.install_root(root_file(tmp_path / "other"))


@pytest.mark.parametrize(
    ("content", "message"), [(b"{}", "is not a TUF root"), (b"nonsense", "is not a TUF root"), (None, "cannot read")]
)
def test_a_root_that_is_none(tmp_path, content, message):
    file = tmp_path / "root.json"
    if content is not None:
        file.write_bytes(content)
    trust = offline(tmp_path)
    with pytest.raises(UsageError, match=message):
        trust.install_root(file)
    assert not trust.has_root


def test_other_metadata_is_no_root(tmp_path, store):
    with pytest.raises(UsageError, match=r"is not a TUF root: .*timestamp"):
        offline(tmp_path).install_root(metadata_folder(store) / "timestamp.json")


def test_without_a_root_nothing_is_asked(tmp_path, store):
    road = RepositoryRoad(store)
    with pytest.raises(UsageError, match="no trusted root yet"):
        TrustStore(tmp_path / "home", road, channel="stable").refresh(NOW)
    assert road.fetched == []
