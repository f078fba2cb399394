"""Models encrypted at rest: published, fetched, checked without the key, opened in memory, never plain on a disk."""

import hashlib
import json
import shutil

import pytest
from device_world import RepositoryRoad, edgeloop, error_line, root_file
from published_files import UpdatedDevice

from cloud_train.errors import PublishError
from cloud_train.publish.export import export_release
from cloud_train.publish.repository import open_repository
from cloud_train.publish.sealing import fleet_key_text, make_fleet_key
from edge.bundle.archive import pack, unpack
from edge.bundle.encryption import OVERHEAD_BYTES, key_id, read_keys, seal, unseal
from edge.bundle.reader import open_bundle
from edge.bundle.sealed import SealedFile, parse_sealed, sealed_bytes
from edge.engine import open_engine
from edge.errors import BundleError, FormatError
from edge.update.encryption import decrypt, install_key, key_file, load_key
from edge.update.stick import Stick
from edge.update.types import UpdateOutcome

NOW = 1_700_000_000.0
KEY, OTHER, NONCE = b"k" * 32, b"o" * 32, b"n" * 12
PLAIN = b"a model" * 100
DIGEST = hashlib.sha256(PLAIN).hexdigest()
MODELS = ("tiny_fp32.onnx", "tiny_fp32.tflite")


def keys_of(*keys):
    return {key_id(key): key for key in keys}


def test_what_was_sealed_opens_again():
    sealed = seal(PLAIN, KEY, nonce=NONCE, digest=DIGEST)
    assert len(sealed) == len(PLAIN) + OVERHEAD_BYTES
    assert PLAIN[:20] not in sealed
    assert unseal(sealed, keys_of(KEY), digest=DIGEST, name="m") == PLAIN
    assert decrypt(sealed, keys_of(OTHER, KEY), DIGEST) == PLAIN


def test_the_format_is_what_its_page_says():
    """docs/formats/encryption.md, byte by byte, with the library's AES-GCM alone."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    header = b"edgeseal\x01" + hashlib.sha256(b"edgeloop fleet key\x00" + KEY).digest()[:8]
    body = AESGCM(KEY).encrypt(NONCE, PLAIN, header + bytes.fromhex(DIGEST))
    assert seal(PLAIN, KEY, nonce=NONCE, digest=DIGEST) == header + NONCE + body


@pytest.mark.parametrize("position", [0, 8, 9, 17, 29, 200, -1])
def test_a_flipped_bit_is_found(position):
    sealed = bytearray(seal(PLAIN, KEY, nonce=NONCE, digest=DIGEST))
    sealed[position] ^= 1
    with pytest.raises(BundleError):
        unseal(bytes(sealed), keys_of(KEY), digest=DIGEST, name="m")


@pytest.mark.parametrize("length", [0, 8, 17, 44, 45, 300])
def test_a_cut_file_is_found(length):
    sealed = seal(PLAIN, KEY, nonce=NONCE, digest=DIGEST)[:length]
    with pytest.raises(BundleError):
        unseal(sealed, keys_of(KEY), digest=DIGEST, name="m")


def test_no_file_can_take_anothers_place():
    sealed = seal(PLAIN, KEY, nonce=NONCE, digest=DIGEST)
    with pytest.raises(BundleError, match="damaged or another one"):
        unseal(sealed, keys_of(KEY), digest="0" * 64, name="m")


def test_another_key():
    sealed = seal(PLAIN, KEY, nonce=NONCE, digest=DIGEST)
    with pytest.raises(BundleError, match="encrypted to a key that this device does not have"):
        unseal(sealed, keys_of(OTHER), digest=DIGEST, name="m")
    with pytest.raises(BundleError, match="no fleet key"):
        decrypt(sealed, None, DIGEST)


def test_the_key_of_a_device(tmp_path):
    assert load_key(tmp_path) is None
    install_key(tmp_path, f"{KEY.hex()}\n{OTHER.hex()}\n")
    assert load_key(tmp_path) == keys_of(KEY, OTHER)
    assert key_file(tmp_path).stat().st_mode & 0o777 == 0o600
    for text in ("", "x", KEY.hex()[:-1], "g" * 64):
        with pytest.raises(BundleError, match="holds no fleet key") as caught:
            install_key(tmp_path, text)
        assert KEY.hex()[:10] not in str(caught.value)
    with pytest.raises(BundleError, match="this device has no fleet key"):
        read_keys(tmp_path / "nowhere")


@pytest.fixture(scope="module")
def sealed_store(tmp_path_factory, make_bundle):
    folder = tmp_path_factory.mktemp("sealed")
    make_bundle(folder / "v1", version=1, flavour=1)
    make_bundle(folder / "v2", version=2, flavour=1)
    make_bundle(folder / "v3", version=3, flavour=3)
    open_repository(folder / "store", now=NOW).publish(folder / "v1", channel="stable", now=NOW, encrypt=True)
    return folder


class Fleet:
    def __init__(self, folder, made):
        self.made = made
        self.store = folder / "store"
        shutil.copytree(made / "store", self.store)
        self.device = UpdatedDevice(folder / "home")
        self.device.trust_root(root_file(self.store))
        self.road = RepositoryRoad(self.store)

    def give_key(self):
        install_key(self.device.home, fleet_key_text(self.store / "keys"))

    def publish(self, number, **options):
        repository = open_repository(self.store, now=NOW)
        return repository.publish(self.made / f"v{number}", channel="stable", now=NOW, **options)

    def update(self):
        return self.device.update(self.road, NOW)


@pytest.fixture
def fleet(tmp_path, sealed_store):
    return Fleet(tmp_path, sealed_store)


def plain_models(folder):
    return [(folder / name).read_bytes() for name in MODELS]


def test_nothing_plain_is_published_or_lies_on_the_device(fleet, tmp_path):
    fleet.give_key()
    assert fleet.update().outcome is UpdateOutcome.ACTIVATED
    models = plain_models(fleet.made / "v1")
    for folder in (fleet.store / "repository", fleet.device.home):
        for path in folder.rglob("*"):
            assert not path.is_file() or path.read_bytes() not in models
    assert (fleet.store / "keys" / "fleet.key").stat().st_mode & 0o777 == 0o600
    text = fleet_key_text(fleet.store / "keys").strip()
    assert not [path for path in (fleet.store / "repository").rglob("*") if path.is_file() and text in str(path)]


def test_a_sealed_bundle_is_the_same_bundle_and_answers_the_same(fleet, picture_bytes):
    fleet.give_key()
    fleet.update()
    sealed, plain = fleet.device.slots.open_active(), open_bundle(fleet.made / "v1")
    assert (sealed.digest, set(sealed.sealed)) == (plain.digest, set(MODELS))
    for artifact in ("tflite", "onnx"):
        answers = []
        for bundle in (sealed, plain):
            with open_engine(bundle, artifact=artifact) as engine:
                found = engine.infer(picture_bytes("red"))
                answers.append((found.prediction, found.decision))
        assert answers[0] == answers[1]


def test_several_copies_of_a_model_open_it_once(fleet):
    from edge.bundle.manifest import ArtifactFormat
    from edge.loading import _shared_content

    fleet.give_key()
    fleet.update()
    bundle = fleet.device.slots.open_active()
    by_format = {artifact.format: artifact for artifact in bundle.manifest.stages[0].artifacts}
    content = _shared_content(bundle, by_format[ArtifactFormat.TFLITE])
    assert content() is content()
    assert content() == plain_models(fleet.made / "v1")[1]
    assert _shared_content(open_bundle(fleet.made / "v1"), by_format[ArtifactFormat.TFLITE]) is None


def test_without_the_key_nothing_travels(fleet):
    result = fleet.update()
    assert result.outcome is UpdateOutcome.REJECTED
    assert "is encrypted, and this device has no fleet key" in result.reason
    assert [path for path, _ in fleet.road.fetched if path.startswith("files/")] == []
    fleet.give_key()
    assert fleet.update().outcome is UpdateOutcome.ACTIVATED


def test_another_fleets_key_is_told_and_the_bundle_not_held_to_have_failed(fleet):
    install_key(fleet.device.home, OTHER.hex())
    result = fleet.update()
    assert (result.outcome, "a key that this device does not have" in result.reason) == (UpdateOutcome.REJECTED, True)
    assert fleet.device.slots.state.rejected == ()
    travelled = fleet.road.fetched_bytes
    fleet.give_key()
    assert fleet.update().outcome is UpdateOutcome.ACTIVATED
    assert fleet.road.fetched_bytes - travelled < 1500  # what came is not fetched again


def test_the_disk_is_checked_without_the_key(fleet):
    fleet.give_key()
    fleet.update()
    fleet.device.slots.confirm()
    key_file(fleet.device.home).unlink()
    bundle = fleet.device.slots.open_active()
    assert bundle.manifest.version == 1
    model = bundle.folder / MODELS[0]
    model.write_bytes(model.read_bytes()[:-1] + b"X")
    assert fleet.device.slots.open_active() is None


def test_a_model_that_did_not_change_travels_once(fleet):
    fleet.give_key()
    fleet.update()
    fleet.device.slots.confirm()
    before = fleet.road.fetched_bytes
    fleet.publish(2, encrypt=True)
    assert fleet.update().outcome is UpdateOutcome.ACTIVATED
    sizes = [len(data) for data in plain_models(fleet.made / "v2")]
    files = [path for path, _ in fleet.road.fetched if path.startswith("files/")]
    assert fleet.road.fetched_bytes - before < sum(sizes) + 6000
    assert len(files) == len(set(files))


def test_after_a_change_of_keys_both_open(fleet):
    fleet.give_key()
    fleet.update()
    fleet.device.slots.confirm()
    make_fleet_key(fleet.store / "keys")
    fleet.publish(3, encrypt=True)
    result = fleet.update()
    assert "a key that this device does not have" in result.reason
    assert fleet.device.runs() == 1
    fleet.give_key()
    assert fleet.update().outcome is UpdateOutcome.ACTIVATED
    assert (fleet.device.runs(), len(fleet_key_text(fleet.store / "keys").split())) == (3, 2)
    fleet.device.slots.roll_back()
    assert fleet.device.slots.open_active().read(MODELS[0]) == plain_models(fleet.made / "v1")[0]


def test_from_plain_to_sealed_and_back(fleet):
    fleet.give_key()
    fleet.update()
    fleet.device.slots.confirm()
    fleet.publish(2)
    assert fleet.update().outcome is UpdateOutcome.ACTIVATED
    fleet.device.slots.confirm()
    assert fleet.device.slots.open_active().sealed == {}
    fleet.publish(3, encrypt=True)
    assert fleet.update().outcome is UpdateOutcome.ACTIVATED
    assert set(fleet.device.slots.open_active().sealed) == set(MODELS)


def test_what_is_public_already_cannot_be_encrypted(fleet):
    fleet.publish(2)
    with pytest.raises(PublishError, match="was published unencrypted already"):
        fleet.publish(2, encrypt=True)


def test_a_sealed_bundle_on_a_stick_and_in_an_archive(fleet, tmp_path):
    archive = export_release(fleet.store / "repository", "stable", tmp_path / "stick")
    fleet.give_key()
    road = Stick(tmp_path / "stick")
    assert fleet.device.update(road, NOW).outcome is UpdateOutcome.ACTIVATED
    road.close()
    assert unpack(archive, tmp_path / "home2" / "bundles" / "a").sealed == fleet.device.slots.open_active().sealed
    pack(fleet.device.slots.folder("a"), tmp_path / "again.edgebundle")
    assert (tmp_path / "again.edgebundle").read_bytes() == archive.read_bytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{}", "format version is not known"),
        (b'{"format_version": 2, "files": {}}', "format version is not known"),
        (b'{"format_version": 1, "files": {"m": {"sha256": "x", "size_bytes": 1}}}', "64 hex digits"),
        (b'{"format_version": 1, "files": {"m": {"size_bytes": 1}}}', "sha256"),
        (b"[", "not valid JSON"),
    ],
)
def test_a_damaged_list_of_what_is_sealed(content, message):
    with pytest.raises((BundleError, FormatError), match=message):
        parse_sealed(content)


def test_a_list_that_names_a_stranger(fleet):
    fleet.give_key()
    fleet.update()
    folder = fleet.device.slots.folder("a")
    (folder / "sealed.json").write_bytes(sealed_bytes({"../x": SealedFile(sha256="0" * 64, size_bytes=1)}))
    with pytest.raises(FormatError, match="is not in the manifest"):
        open_bundle(folder)


def test_the_commands(tmp_path, make_bundle, picture_bytes):
    bundle, store, stick, home = make_bundle(tmp_path / "b"), tmp_path / "s", tmp_path / "stick", tmp_path / "home"
    assert edgeloop("publish", bundle, "--store", store, "--encrypt").returncode == 0
    assert edgeloop("publish", "export", "--store", store, "--out", stick).returncode == 0
    install = ("device", "update", "--home", home, "--from", stick, "--root", stick / "metadata" / "1.root.json")
    assert "this device has no fleet key" in error_line(edgeloop(*install))
    (home / "identity").mkdir(parents=True)
    shutil.copyfile(store / "keys" / "fleet.key", home / "identity" / "fleet.key")
    done = edgeloop(*install)
    assert done.returncode == 0, done.stderr
    (tmp_path / "p.png").write_bytes(picture_bytes("red"))
    done = edgeloop("device", "predict", tmp_path / "p.png", "--home", home, "--json")
    assert json.loads(done.stdout)["predicted_class"] == "red", done.stderr
    (home / "identity" / "fleet.key").unlink()
    alone = edgeloop("device", "predict", tmp_path / "p.png", "--home", home)
    assert "this device has no fleet key" in error_line(alone)
