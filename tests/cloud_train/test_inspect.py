from __future__ import annotations

import os
from pathlib import Path

import pytest
from picture_folders import BAD_FILES, patterned, sha256, write_folder

from cloud_train.datasets.inspect import inspect_folder
from edge.errors import UsageError
from edge.image.decode import DecodeLimits


def test_counts_hashes_and_sizes(tmp_path: Path) -> None:
    write_folder(tmp_path, {"b": 2, "a": 3})
    seen: list[tuple[int, int]] = []
    found = inspect_folder(tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert found.classes == {"a": 3, "b": 2}
    assert [one.path for one in found.pictures] == ["a/000.png", "a/001.png", "a/002.png", "b/000.png", "b/001.png"]
    first = found.pictures[0]
    data = (tmp_path / "a/000.png").read_bytes()
    assert (first.digest, first.size_bytes, first.width, first.height) == (sha256(data), len(data), 64, 64)
    assert (found.skipped, found.conflicts, found.num_duplicates, found.num_files) == ((), (), 0, 5)
    assert seen == [(number, 5) for number in range(1, 6)]


def test_nested_pictures_belong_to_the_first_folder(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 1, "b": 1})
    write_folder(tmp_path / "a", {"shelf 3/left": 2}, prefix="deep")
    found = inspect_folder(tmp_path)
    assert found.classes == {"a": 3, "b": 1}
    assert "a/shelf 3/left/deep000.png" in {one.path for one in found.pictures}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_named_and_skipped(tmp_path: Path, name: str) -> None:
    write_folder(tmp_path, {"a": 2, "b": 2})
    data, reason = BAD_FILES[name]
    (tmp_path / "a" / name).write_bytes(data)
    found = inspect_folder(tmp_path)
    assert len(found.pictures) == 4
    assert len(found.skipped) == 1
    assert found.skipped[0].startswith(f"a/{name}: ")
    assert reason in found.skipped[0]
    assert str(tmp_path) not in found.skipped[0]


def test_the_same_bad_bytes_are_skipped_each_by_its_own_name(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 2, "b": 2})
    for name in ("x.jpg", "y.jpg"):
        (tmp_path / "a" / name).write_bytes(b"words")
    assert inspect_folder(tmp_path).skipped == (
        "a/x.jpg: not a JPEG, PNG or WebP picture",
        "a/y.jpg: not a JPEG, PNG or WebP picture",
    )


def test_what_is_no_regular_file_in_a_class_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 2, "b": 2})
    (tmp_path / "readme.txt").write_text("hello")
    (tmp_path / "a/nowhere.png").symlink_to(tmp_path / "missing")
    (tmp_path / "a/loop").symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(tmp_path / "a/pipe.png")
    (tmp_path / "b" / os.fsdecode(b"caf\xe9.png")).write_bytes(patterned("latin"))
    (tmp_path / "b/two\nlines.png").write_bytes(patterned("lines"))
    found = inspect_folder(tmp_path)
    assert len(found.pictures) == 4
    assert found.skipped == (
        "a/loop: a link to a folder is not followed",
        "a/nowhere.png: a link that leads nowhere",
        "a/pipe.png: not a regular file",
        "b/caf\\udce9.png: the name holds characters that are not printable text; rename it",
        "b/two\\nlines.png: the name holds characters that are not printable text; rename it",
        "readme.txt: not in a class folder",
    )


def test_limits_are_held(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 2, "b": 2})
    (tmp_path / "a/large.png").write_bytes(patterned("large", size=(300, 300)))
    found = inspect_folder(tmp_path, limits=DecodeLimits(max_pixels=64 * 64))
    assert found.skipped == ("a/large.png: 300x300 pixels, at most 4096 in all are decoded",)


def test_exact_duplicates_keep_the_first_path(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 2, "b": 2})
    again = (tmp_path / "a/001.png").read_bytes()
    for name in ("000-copy.png", "zzz.png"):
        (tmp_path / "a" / name).write_bytes(again)
    found = inspect_folder(tmp_path)
    assert found.num_duplicates == 2
    assert [one.path for one in found.pictures] == ["a/000-copy.png", "a/000.png", "b/000.png", "b/001.png"]


def test_a_picture_in_two_classes_is_left_out_of_both(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 2, "b": 2})
    same = patterned("both")
    (tmp_path / "a/x.png").write_bytes(same)
    (tmp_path / "a/y.png").write_bytes(same)
    (tmp_path / "b/z.png").write_bytes(same)
    found = inspect_folder(tmp_path)
    assert [(one.labels, one.paths) for one in found.conflicts] == [(("a", "b"), ("a/x.png", "a/y.png", "b/z.png"))]
    assert found.classes == {"a": 2, "b": 2}
    assert found.num_duplicates == 0


def test_a_conflict_is_found_across_file_formats(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 2, "b": 2})
    (tmp_path / "a/x.png").write_bytes(patterned("both"))
    (tmp_path / "b/x.webp").write_bytes(patterned("both", kind="WEBP", lossless=True, quality=100))
    assert inspect_folder(tmp_path).conflicts[0].paths == ("a/x.png", "b/x.webp")


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({}, "the folder is empty"),
        ({"a": 3}, "all pictures are of one class, 'a'"),
        ({"a": 0, "b": 0}, "the folder is empty"),
        ({"train/a": 2, "train/b": 2, "test/a": 1}, "holds the folders test, train, not classes"),
    ],
)
def test_what_cannot_teach_is_refused(tmp_path: Path, counts: dict[str, int], message: str) -> None:
    write_folder(tmp_path, counts)
    with pytest.raises(UsageError, match=message) as caught:
        inspect_folder(tmp_path)
    assert "\n" not in str(caught.value)
    assert caught.value.hint


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        inspect_folder(tmp_path / "nothing")


def test_only_bad_files_says_how_many_and_which_first(tmp_path: Path) -> None:
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "x.jpg").write_bytes(b"words")
    with pytest.raises(
        UsageError, match=r"no usable picture \(2 of its files cannot be used, the first: a/x.jpg: not a JPEG"
    ):
        inspect_folder(tmp_path)


def test_classes_named_train_are_fine_when_they_hold_pictures(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train": 2, "test": 2})
    assert inspect_folder(tmp_path).classes == {"test": 2, "train": 2}
