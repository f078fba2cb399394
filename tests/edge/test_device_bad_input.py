"""What people and disks do to a device: one clear line, the right exit code, nothing left behind. One row each."""

import contextlib
import hashlib
import io
import json
import os
import random
import struct
import subprocess
import time
import zlib

import pytest
from device_world import copy_tree, edgeloop, error_line, metadata_folder, publish, root_file

from cloud_train.ingest.server import running_server
from edge.bundle.manifest import KeepPolicy
from edge.bundle.reader import open_bundle
from edge.home import DeviceHome
from edge.outbox.sqlite import WAL_BYTES, SqliteOutbox
from edge.update.slots import Slots

KEEP = KeepPolicy(random_fraction=0.0)
CLOSED = "127.0.0.1:1"


@pytest.fixture(scope="session")
def signed(tmp_path_factory, make_bundle):
    folder = tmp_path_factory.mktemp("bad")
    for number in (1, 2):
        make_bundle(folder / f"v{number}", version=number, flavour=number, keep=KEEP)
    publish(folder / "store", folder / "v1", now=time.time())
    return folder


@pytest.fixture
def store(tmp_path, signed):
    copy_tree(signed / "store", tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture
def pictures(tmp_path, picture_bytes):
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "a-red.png").write_bytes(picture_bytes("red"))
    (folder / "z-grey.png").write_bytes(picture_bytes("grey"))
    return folder


def bomb():
    """A PNG of a few hundred bytes that says it is 60,000 pixels wide and high."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(b"\0" * 10_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


def home_with(tmp_path, bundle):
    """A home where a bundle runs."""
    from edge.update.selftest import hardware_fingerprint, self_test
    from edge.update.trust import TrustStore
    from edge.update.updater import Updater

    home = tmp_path / "home"
    trust = TrustStore(home, None, channel="stable")
    Updater(Slots(home), trust, None, self_test=self_test, fingerprint=hardware_fingerprint).sideload(bundle)
    Slots(home).confirm()
    return home


def fingerprint(folder):
    """Every file of a folder and its content."""
    return {
        path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "agent.lock"
    }


# Pictures.


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (lambda good: good[: len(good) // 2], "truncated picture"),
        (lambda good: b"", "the file is empty"),
        (lambda good: bomb(), "60000x60000 pixels"),
        (lambda good: b"<html>not a picture</html>", "not a JPEG, PNG or WebP picture"),
        (lambda good: None, "not a regular file"),
        (lambda good: "dangling", "cannot be read: no such file"),
    ],
    ids=["truncated", "zero-byte", "bomb", "non-image", "fifo", "dangling-link"],
)
def test_a_bad_picture_is_named_skipped_and_counted(tmp_path, signed, pictures, content, reason):
    bad, made = pictures / "m-bad.png", content((pictures / "a-red.png").read_bytes())
    if made is None:
        os.mkfifo(bad)
    elif made == "dangling":
        bad.symlink_to(tmp_path / "nowhere")
    else:
        bad.write_bytes(made)
    home = home_with(tmp_path, signed / "v1")
    done = edgeloop("device", "run", "--home", home, "--source", pictures, "--passes", 2)
    assert done.returncode == 0, done.stderr
    skipped = [line for line in done.stderr.splitlines() if "skipped" in line]
    assert len(skipped) == 1
    assert skipped[0].startswith("edgeloop: skipped m-bad.png: ")
    assert reason in skipped[0]
    assert done.stdout.startswith("4 frames answered, 2 unreadable, 0 dropped;")
    assert "Traceback" not in done.stderr
    kept = json.loads(edgeloop("device", "status", "--home", home, "--json").stdout)
    assert (kept["kept"], kept["outbox_pending"], kept["frames_unreadable"]) == (1, 1, 2)
    if made is not None and made != "dangling":
        alone = edgeloop("device", "predict", bad, "--home", home)
        assert alone.returncode == 1
        assert f"{bad}: " in error_line(alone)
        assert reason in error_line(alone)
        assert alone.stdout == ""


def test_only_bad_pictures(tmp_path, signed):
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"x")
    (folder / "b.png").write_bytes(b"")
    done = edgeloop("device", "predict", folder, "--bundle", signed / "v1")
    assert done.returncode == 1
    assert f"none of the 2 files in {folder} is a usable picture" in error_line(done)


@pytest.mark.parametrize(
    ("words", "message", "code"),
    [
        (["run", "--source", "{empty}"], "no pictures in {empty}", 2),
        (["run", "--source", "{missing}"], "no folder, video or camera {missing}", 2),
        (["run"], "no pictures to watch", 2),
        (["predict", "{empty}", "--bundle", "{bundle}"], "no pictures in {empty}", 2),
        (["predict", "{missing}", "--bundle", "{bundle}"], "no picture {missing}", 2),
        (["predict", "{empty}", "--bundle", "{missing}"], "no pictures in {empty}", 2),
        (["predict", "{picture}", "--bundle", "{missing}"], "no bundle {missing}", 2),
        (["predict", "{picture}", "--bundle", "{empty}"], "{empty}: not a bundle", 1),
        (["predict", "{picture}", "--bundle", "{picture}"], "a-red.png", 1),
        (["predict", "{picture}"], "which bundle?", 2),
        (["predict", "{picture}", "--home", "{missing}"], "there is no bundle in {missing}", 2),
        (["predict", "{picture}", "--bundle", "{bundle}", "--artifact", "coreml"], "has no artifact 'coreml'", 2),
        (["run", "--source", "{pictures}", "--passes", "1"], "there is no bundle on this device", 2),
        (["run", "--source", "{pictures}", "--passes", "x"], "'x' is not a valid integer", 2),
        (["run", "--source", "{pictures}", "--fps", "-1"], "setting 'fps' must be 0 or more", 2),
        (["run", "--source", "{pictures}", "--exit-when-drained"], "exit_when_drained needs an end", 2),
        (["run", "--source", "{pictures}", "--server", "nonsense"], "'nonsense' is not a server address", 2),
        (
            ["run", "--source", "{pictures}", "--server", "example.com:1"],
            "plaintext is spoken with this machine only",
            2,
        ),
        (["run", "--source", "{pictures}", "--server", CLOSED], "this device has no trusted root yet", 2),
        (
            ["run", "--source", "{pictures}", "--server", CLOSED, "--root", "{missing}"],
            "cannot read the trusted root",
            2,
        ),
        (["run", "--source", "{pictures}", "--server", CLOSED, "--root", "{picture}"], "is not a TUF root", 2),
        (["run", "--source", "{pictures}", "--config", "{missing}"], "cannot read {missing}", 2),
        (["run", "--source", "{pictures}", "--config", "{picture}"], "is not TOML", 2),
        (["sync", "--server", CLOSED], "there is no outbox in", 2),
        (["update", "--server", CLOSED], "this device has no trusted root yet", 2),
        (["update"], "no server named", 2),
        (["status"], "no device lives in", 2),
        (["fly"], "No such command 'fly'", 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage(tmp_path, signed, pictures, words, message, code):
    (tmp_path / "empty").mkdir()
    places = {
        "empty": tmp_path / "empty",
        "missing": tmp_path / "missing",
        "pictures": pictures,
        "picture": pictures / "a-red.png",
        "bundle": signed / "v1",
    }
    words = [word.format(**places) for word in words]
    home = [] if words[0] in ("predict", "fly") else ["--home", tmp_path / "home"]
    done = edgeloop("device", *words, *home)
    assert done.returncode == code, done.stderr
    assert message.format(**places) in error_line(done)
    assert done.stdout == ""
    assert not (tmp_path / "missing").exists()
    assert list((tmp_path / "empty").iterdir()) == []
    if home:
        assert not (tmp_path / "home" / "bundles").exists()


# Bundles and releases.


@pytest.mark.parametrize("name", ["tiny_fp32.tflite", "tiny_fp32.onnx", "golden.json", "golden-0.png", "proof.json"])
def test_a_bundle_with_a_flipped_byte(tmp_path, signed, pictures, name):
    copy_tree(signed / "v1", tmp_path / "bundle")
    path = tmp_path / "bundle" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    predict = edgeloop("device", "predict", pictures / "a-red.png", "--bundle", tmp_path / "bundle")
    run = edgeloop(
        "device", "run", "--home", tmp_path / "home", "--source", pictures, "--passes", 1,
        "--bundle", tmp_path / "bundle", "--allow-unsigned",
    )  # fmt: skip
    for done in (predict, run):
        assert done.returncode == 1
        line = error_line(done)
        assert f"{name}: its SHA-256 is not the manifest's" in line
        assert "fetch or convert it again" in line
    assert not (tmp_path / "home" / "bundles").exists()
    assert not (tmp_path / "home" / "slots.json").exists()


def expired(store, signed):
    publish(store, signed / "v2", now=time.time() - 300 * 86_400)


def unsigned(store, signed):
    publish(store, signed / "v2", now=time.time())
    path = metadata_folder(store) / "timestamp.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"signatures": []}))


def flipped_file(store, signed):
    publish(store, signed / "v2", now=time.time())
    digest = hashlib.sha256((signed / "v2" / "tiny_fp32.onnx").read_bytes()).hexdigest()
    path = store / "repository" / "files" / "sha256" / digest
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (expired, "the release of channel 'stable' has expired"),
        (unsigned, "the release of channel 'stable' is not signed by the keys this device trusts"),
        (flipped_file, "the server's copy of tiny_fp32.onnx is not the file that was signed for"),
    ],
)
def test_a_release_that_is_not_to_be_trusted(tmp_path, signed, store, pictures, spoil, message):
    home = home_with(tmp_path, signed / "v1")
    before = fingerprint(home / "bundles")
    spoil(store, signed)
    with running_server(store) as server:
        link = ["--home", home, "--server", server.target, "--root", root_file(store)]
        update = edgeloop("device", "update", *link)
        run = edgeloop(
            "device", "run", *link, "--source", pictures, "--passes", 1, "--exit-when-drained", EDGELOOP_FPS="8"
        )
    assert update.returncode == 1
    assert message in error_line(update)
    assert "the device stays on the bundle it has" in error_line(update)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("2 frames answered")
    assert message in run.stderr
    kept = {path: data for path, data in fingerprint(home / "bundles").items() if ".staging" not in str(path)}
    assert kept == before
    assert Slots(home).open_active().digest == open_bundle(signed / "v1").digest
    assert not list((home / "bundles").glob(".staging-*/manifest.json"))


# The road.


def test_a_server_that_cannot_be_reached(tmp_path, signed, store, pictures):
    home = home_with(tmp_path, signed / "v1")
    offline = edgeloop("device", "run", "--home", home, "--source", pictures, "--passes", 1)
    assert offline.returncode == 0
    before = entries(home)
    assert len(before) == 1
    link = ["--home", home, "--server", CLOSED]
    for words in (["sync", *link], ["update", *link, "--root", root_file(store)]):
        done = edgeloop("device", *words)
        assert done.returncode == 1
        assert f"{CLOSED}: unavailable" in error_line(done)
    assert [(entry.digest, entry.state) for entry in entries(home)] == [(item.digest, item.state) for item in before]
    running = edgeloop("device", "run", *link, "--source", pictures, "--passes", 1, EDGELOOP_FPS="4")
    assert running.returncode == 0
    assert running.stdout.startswith("2 frames answered")
    assert f"{CLOSED}: unavailable" in running.stderr


def entries(home):
    with contextlib.closing(SqliteOutbox(home / "outbox.sqlite")) as outbox:
        return outbox.entries()


def test_a_second_agent_on_the_same_home(tmp_path, signed, pictures, store):
    home = home_with(tmp_path, signed / "v1")
    edgeloop("device", "run", "--home", home, "--source", pictures, "--passes", 1)
    before = fingerprint(home)
    with DeviceHome(folder=home).hold():
        for words in (
            ["run", "--source", pictures],
            ["sync", "--server", CLOSED],
            ["update", "--server", CLOSED, "--root", root_file(store)],
            ["run", "--source", pictures, "--bundle", signed / "v2", "--allow-unsigned"],
        ):
            done = edgeloop("device", *words, "--home", home)
            assert done.returncode == 2
            line = error_line(done)
            assert f"another edgeloop process works in {home} (process {os.getpid()})" in line
            assert "give this one another --home" in line
        assert json.loads(edgeloop("device", "status", "--home", home, "--json").stdout)["running"] is True
    assert fingerprint(home) == before


# A full disk.


def noise_picture(number, side=200):
    from PIL import Image

    buffer = io.BytesIO()
    grey = random.Random(number).randbytes(side * side)
    Image.merge("RGB", [Image.frombytes("L", (side, side), grey)] * 3).save(buffer, "PNG")
    return buffer.getvalue()


def fill(folder, leave):
    """Fills a small disk but for about `leave` bytes."""
    ballast = folder / "ballast"
    statistics = os.statvfs(folder)
    ballast.write_bytes(b"\0" * max(0, statistics.f_bavail * statistics.f_frsize - leave))
    return ballast


@pytest.fixture
def small_disk(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    folder = tmp_path / "small"
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", "size=12m"]
    if subprocess.run(["/bin/mount", *options, "tmpfs", str(folder)], capture_output=True).returncode:
        pytest.skip("no tmpfs can be mounted here")
    yield folder
    subprocess.run(["/bin/umount", "-l", str(folder)], check=True)


@pytest.mark.faults
def test_a_full_disk_while_a_release_comes(small_disk, signed, store, pictures, tmp_path):
    home = home_with(small_disk, signed / "v1")
    publish(store, signed / "v2", now=time.time())
    with running_server(store) as server:
        link = ["--home", home, "--server", server.target, "--root", root_file(store)]
        ballast = fill(small_disk, leave=24_000)
        update = edgeloop("device", "update", *link)
        assert update.returncode == 1
        line = error_line(update)
        assert "free some space" in line
        assert ("are free" in line) or ("no space left on device" in line)
        assert Slots(home).open_active().digest == open_bundle(signed / "v1").digest
        assert not list((home / "bundles").glob(".staging*"))
        assert edgeloop("device", "predict", pictures / "a-red.png", "--home", home).returncode == 0
        ballast.unlink()
        assert edgeloop("device", "update", *link).stdout.startswith("activated")


@pytest.mark.faults
def test_a_full_disk_while_samples_are_kept(small_disk, signed, pictures):
    home = home_with(small_disk, signed / "v1")
    expected = noise(pictures, 12)
    run = ["device", "run", "--home", home, "--source", pictures, "--passes", 1]
    first = edgeloop("device", "run", "--home", home, "--source", one_of(pictures), "--passes", 1)
    assert first.returncode == 0, first.stderr
    before = {entry.digest for entry in entries(home)}
    ballast = fill(small_disk, leave=WAL_BYTES + 300_000)
    full = edgeloop(*run)
    assert full.returncode == 1
    line = error_line(full)
    assert "samples could not be kept" in line
    assert "free some space and run the same command again; what was kept before is safe" in line
    kept = {entry.digest for entry in entries(home)}
    assert before <= kept
    assert len(kept) < len(expected)
    ballast.unlink()
    done = edgeloop(*run)
    assert done.returncode == 0, done.stderr
    assert_kept(home, expected)


def test_a_disk_that_takes_no_more_while_samples_are_kept(tmp_path, signed, pictures):
    """The same without root: no file may grow beyond a limit."""
    home = home_with(tmp_path, signed / "v1")
    expected = noise(pictures, 12)
    run = ["device", "run", "--home", home, "--source", pictures, "--passes", 1]
    full = edgeloop(*run, FILE_LIMIT="250000")
    assert full.returncode == 1
    assert "samples could not be kept" in error_line(full)
    assert len((home / "predictions.jsonl").read_text().splitlines()) == len(list(pictures.iterdir()))
    assert 0 < len(entries(home)) < len(expected)
    done = edgeloop(*run)
    assert done.returncode == 0, done.stderr
    assert_kept(home, expected)


def test_a_disk_that_takes_no_more_while_a_release_comes(tmp_path, signed, store, pictures):
    home = home_with(tmp_path, signed / "v1")
    publish(store, signed / "v2", now=time.time())
    limit = max(path.stat().st_size for path in (signed / "v2").iterdir()) - 10
    with running_server(store) as server:
        link = ["--home", home, "--server", server.target, "--root", root_file(store)]
        update = edgeloop("device", "update", *link, FILE_LIMIT=str(limit))
        assert update.returncode == 1
        assert "cannot write " in error_line(update)
        assert Slots(home).open_active().digest == open_bundle(signed / "v1").digest
        assert not list((home / "bundles").glob(".staging*"))
        assert edgeloop("device", "update", *link).stdout.startswith("activated")


def test_a_disk_that_takes_nothing_at_all(tmp_path, signed, pictures):
    done = edgeloop(
        "device", "run", "--home", tmp_path / "home", "--source", pictures, "--passes", 1,
        "--bundle", signed / "v1", "--allow-unsigned", FILE_LIMIT="1",
    )  # fmt: skip
    assert done.returncode == 1
    assert "cannot write " in error_line(done)
    assert Slots(tmp_path / "home").open_active() is None


def one_of(pictures):
    folder = pictures.parent / "one"
    folder.mkdir()
    (folder / "first.png").write_bytes((pictures / "z-grey.png").read_bytes())
    return folder


def noise(pictures, number):
    """Adds grey noise, which no class resembles; returns all that must be kept, by digest."""
    for index in range(number):
        (pictures / f"noise-{index:02d}.png").write_bytes(noise_picture(index))
    grey = [path.read_bytes() for path in pictures.iterdir() if not path.name.startswith("a-red")]
    return {hashlib.sha256(data).hexdigest(): data for data in grey}


def assert_kept(home, expected):
    with contextlib.closing(SqliteOutbox(home / "outbox.sqlite")) as outbox:
        assert {entry.digest: outbox.payload(entry.digest) for entry in outbox.entries()} == expected
