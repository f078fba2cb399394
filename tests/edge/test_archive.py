from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from edge import durable
from edge.bundle.archive import pack, unpack
from edge.bundle.reader import open_bundle
from edge.errors import BundleError, EdgeloopError, FormatError, StorageError


@pytest.fixture
def archive(tiny_bundle: Path, tmp_path: Path) -> Path:
    pack(tiny_bundle, tmp_path / "tiny.edgebundle")
    return tmp_path / "tiny.edgebundle"


def repacked(archive: Path, change: Callable[[dict[str, bytes]], None], **options: object) -> Path:
    """The same archive with other entries."""
    with zipfile.ZipFile(archive) as source:
        entries = {name: source.read(name) for name in source.namelist()}
    change(entries)
    with zipfile.ZipFile(archive, "w", **options) as target:
        for name, data in entries.items():
            target.writestr(name, data)
    return archive


def there_and_back(folder: Path, target: Path, copy: Path) -> None:
    pack(folder, target)
    unpack(target, copy)


def test_round_trip(archive: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = unpack(archive, tmp_path / "deep" / "copy")
    assert bundle.folder == tmp_path / "deep" / "copy"
    assert bundle == open_bundle(bundle.folder)
    assert bundle.digest == open_bundle(tiny_bundle).digest
    assert {path.name: path.read_bytes() for path in bundle.folder.iterdir()} == {
        path.name: path.read_bytes() for path in tiny_bundle.iterdir()
    }
    assert list((tmp_path / "deep").iterdir()) == [bundle.folder]


def test_same_bundle_makes_the_same_bytes(archive: Path, make_bundle: Callable[..., Path], tmp_path: Path) -> None:
    again = make_bundle(tmp_path / "again")
    (again / "measurements.json").write_text('{"created_at": 1}')
    os.utime(again / "proof.json", (0, 0))
    (again / "proof.json").chmod(0o600)
    pack(again, tmp_path / "again.edgebundle")
    assert (tmp_path / "again.edgebundle").read_bytes() == archive.read_bytes()
    with zipfile.ZipFile(archive) as source:
        assert source.namelist()[0] == "manifest.json"
        assert source.testzip() is None


def test_damaged_bundle_is_not_packed(tiny_bundle: Path, tmp_path: Path) -> None:
    (tiny_bundle / "proof.json").write_bytes(b"{}")
    with pytest.raises(BundleError, match=r"proof\.json"):
        pack(tiny_bundle, tmp_path / "bad.edgebundle")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny-bundle"]


def test_unpacking_again_changes_nothing(archive: Path, tmp_path: Path, durable_points: list[str]) -> None:
    first = unpack(archive, tmp_path / "copy")
    points = len(durable_points)
    assert unpack(archive, tmp_path / "copy") == first
    assert len(durable_points) == points


def test_something_else_at_the_target_is_left_alone(
    archive: Path, make_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    other = make_bundle(tmp_path / "other", flavour=1)
    digest = open_bundle(other).digest
    with pytest.raises(BundleError, match="something else is there already"):
        unpack(archive, other)
    assert open_bundle(other).digest == digest
    (tmp_path / "file").write_text("mine")
    with pytest.raises(BundleError, match="something else is there already"):
        unpack(archive, tmp_path / "file")
    (tmp_path / "empty").mkdir()
    assert unpack(archive, tmp_path / "empty").folder == tmp_path / "empty"


def test_leftovers_of_a_killed_unpacking_are_cleared(archive: Path, tmp_path: Path) -> None:
    staging = tmp_path / ".copy.unpacking"
    staging.mkdir()
    (staging / "half.tflite").write_bytes(b"half")
    unpack(archive, tmp_path / "copy")
    assert not staging.exists()
    assert not (tmp_path / "copy" / "half.tflite").exists()


@pytest.mark.parametrize("point", ["bundle.unpack:before", "bundle.pack:before", "bundle.pack:written"])
def test_interrupted_at_a_durable_write_then_again(point: str, tiny_bundle: Path, tmp_path: Path) -> None:
    class PulledPlugError(Exception):
        pass

    def observer(reached: str) -> None:
        if reached == point:
            raise PulledPlugError

    target, copy = tmp_path / "t.edgebundle", tmp_path / "copy"
    durable.observe(observer)
    try:
        with pytest.raises(PulledPlugError):
            there_and_back(tiny_bundle, target, copy)
    finally:
        durable.observe(None)
    assert not copy.exists()
    pack(tiny_bundle, target)
    assert unpack(target, copy).digest == open_bundle(tiny_bundle).digest


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("../outside.txt", "'../outside.txt' is not in the manifest"),
        ("/outside.txt", "is not in the manifest"),
        ("sub/file.txt", "'sub/file.txt' is not in the manifest"),
        ("extra.bin", "'extra.bin' is not in the manifest"),
        ("measurements.json", "'measurements.json' is not in the manifest"),
    ],
)
def test_entry_that_does_not_belong(name: str, expected: str, archive: Path, tmp_path: Path) -> None:
    repacked(archive, lambda entries: entries.update({name: b"evil"}))
    with pytest.raises(BundleError, match=expected):
        unpack(archive, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    assert not (tmp_path / "outside.txt").exists()


def test_entry_missing_changed_resized(archive: Path, tmp_path: Path) -> None:
    original = archive.read_bytes()
    repacked(archive, lambda entries: entries.pop("proof.json"))
    with pytest.raises(BundleError, match=r"'proof\.json' is missing"):
        unpack(archive, tmp_path / "copy")
    archive.write_bytes(original)
    repacked(archive, lambda entries: entries.update({"proof.json": entries["proof.json"] + b" "}))
    with pytest.raises(BundleError, match=r"'proof\.json' has \d+ bytes, not \d+"):
        unpack(archive, tmp_path / "copy")
    archive.write_bytes(original)
    repacked(archive, lambda entries: entries.update({"proof.json": b"x" * len(entries["proof.json"])}))
    with pytest.raises(BundleError, match=r"proof\.json: its SHA-256 is not the manifest's"):
        unpack(archive, tmp_path / "copy")
    archive.write_bytes(original)
    repacked(archive, lambda entries: entries.pop("manifest.json"))
    with pytest.raises(BundleError, match=r"manifest\.json is missing"):
        unpack(archive, tmp_path / "copy")
    archive.write_bytes(original)
    repacked(archive, lambda entries: entries.update({"manifest.json": b"{}"}))
    with pytest.raises(FormatError, match="format_version"):
        unpack(archive, tmp_path / "copy")
    archive.write_bytes(original)
    repacked(archive, lambda entries: entries.update({"manifest.json": b" " * 4_000_001}))
    with pytest.raises(BundleError, match=r"manifest\.json is larger than 4000000 bytes"):
        unpack(archive, tmp_path / "copy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny-bundle", "tiny.edgebundle"]


def test_deflated_is_read_other_compression_is_not(archive: Path, tmp_path: Path) -> None:
    repacked(archive, lambda entries: None, compression=zipfile.ZIP_DEFLATED)
    assert unpack(archive, tmp_path / "copy").manifest.name == "tiny"
    repacked(archive, lambda entries: None, compression=zipfile.ZIP_LZMA)
    with pytest.raises(BundleError, match="compressed in an unknown way"):
        unpack(archive, tmp_path / "other")


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_entry_twice(archive: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(archive, "a") as target:
        target.writestr("proof.json", b"other")
    with pytest.raises(BundleError, match=r"'proof\.json' appears twice"):
        unpack(archive, tmp_path / "copy")


def test_too_many_entries(archive: Path, tmp_path: Path) -> None:
    repacked(archive, lambda entries: entries.update({f"f{number}": b"" for number in range(1000)}))
    with pytest.raises(BundleError, match="more than 1000 files"):
        unpack(archive, tmp_path / "copy")


@pytest.mark.parametrize("data", [b"", b"hello", b"PK\x05\x06" + b"\0" * 18, b"PK\x03\x04" + b"\0" * 100])
def test_file_that_is_no_archive(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "odd.edgebundle"
    path.write_bytes(data)
    with pytest.raises(BundleError, match="not a bundle archive"):
        unpack(path, tmp_path / "copy")


def test_archive_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"gone\.edgebundle: cannot be read: no such file"):
        unpack(tmp_path / "gone.edgebundle", tmp_path / "copy")


def test_every_flipped_byte_is_found_or_harmless(archive: Path, tmp_path: Path) -> None:
    data = archive.read_bytes()
    digest = hashlib.sha256(b"").hexdigest()
    with zipfile.ZipFile(archive) as source:
        digest = hashlib.sha256(source.read("manifest.json")).hexdigest()
    messages: list[str] = []
    for position in range(0, len(data), 61):
        damaged = bytearray(data)
        damaged[position] ^= 0xFF
        archive.write_bytes(damaged)
        copy = tmp_path / "copy"
        try:
            assert unpack(archive, copy).digest == digest
        except EdgeloopError as error:
            messages.append(str(error))
        shutil.rmtree(copy, ignore_errors=True)
        assert not list(tmp_path.glob(".copy*"))
    assert len(messages) > len(data) // 61 // 2
    assert not [message for message in messages if "\n" in message]


def test_truncated_archive(archive: Path, tmp_path: Path) -> None:
    data = archive.read_bytes()
    for length in range(0, len(data), 997):
        archive.write_bytes(data[:length])
        with pytest.raises(BundleError):
            unpack(archive, tmp_path / "copy")


@pytest.mark.faults
def test_full_disk_leaves_nothing_behind(archive: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(small)], check=True)
    try:
        with pytest.raises(StorageError, match="no space left"):
            unpack(archive, small / "copy")
        assert list(small.iterdir()) == []
        with pytest.raises(StorageError, match="no space left"):
            pack(tmp_path / "tiny-bundle", small / "t.edgebundle")
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["/bin/umount", str(small)], check=True)
