from __future__ import annotations

import io
import random
import tracemalloc
from pathlib import Path

import pytest
from picture_folders import patterned
from PIL import Image, ImageEnhance

from cloud_train.datasets.duplicates import (
    Fingerprint,
    fingerprint,
    group_digests,
    group_near_duplicates,
    near_duplicate_pairs,
)
from edge.errors import ImageError


def _encoded(picture: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    target = io.BytesIO()
    picture.save(target, kind, **options)
    return target.getvalue()


def _photo(name: str) -> Image.Image:
    return Image.open(io.BytesIO(patterned(name, size=(240, 200)))).convert("RGB")


CHANGES = {
    "jpeg 85": lambda picture: _encoded(picture, quality=85),
    "jpeg 30": lambda picture: _encoded(picture, quality=30),
    "webp": lambda picture: _encoded(picture, "WEBP", quality=60),
    "half": lambda picture: _encoded(picture.resize((120, 100)), quality=85),
    "brighter": lambda picture: _encoded(ImageEnhance.Brightness(picture).enhance(1.15), "PNG"),
    "flatter": lambda picture: _encoded(ImageEnhance.Contrast(picture).enhance(0.85), "PNG"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found_among_others(change: str) -> None:
    others = [fingerprint(patterned(f"other {number}", size=(240, 200))) for number in range(20)]
    photo = _photo("one")
    prints = [*others, fingerprint(_encoded(photo, "PNG")), fingerprint(CHANGES[change](photo))]
    assert list(near_duplicate_pairs(prints)) == [(20, 21)]
    assert group_near_duplicates(prints) == (*range(20), 20, 20)


def test_groups_are_transitive() -> None:
    first, last = _photo("one"), _photo("other")
    prints = [fingerprint(_encoded(Image.blend(first, last, step / 10), "PNG")) for step in range(11)]
    pairs = set(near_duplicate_pairs(prints))
    assert {(step, step + 1) for step in range(10)} <= pairs
    assert (0, 10) not in pairs
    assert group_near_duplicates(prints) == (0,) * 11


def test_flat_pictures_are_only_matched_by_their_pixels() -> None:
    colours = [(200, 0, 0), (200, 0, 4), (0, 0, 200), (200, 0, 0)]
    prints = [fingerprint(_encoded(Image.new("RGB", (40, 40), colour), "PNG")) for colour in colours]
    assert group_near_duplicates(prints) == (0, 1, 2, 0)


def test_the_same_layout_in_other_colours_is_another_picture() -> None:
    def pack(colour: tuple[int, int, int]) -> Fingerprint:
        picture = Image.new("RGB", (160, 160), "white")
        picture.paste(colour, (40, 20, 120, 140))
        return fingerprint(_encoded(picture, "PNG"))

    assert group_near_duplicates([pack((220, 30, 30)), pack((30, 60, 220)), pack((225, 32, 30))]) == (0, 1, 0)


def test_blocks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"p{number % 40}" for number in range(120)]
    prints = [
        fingerprint(patterned(name, kind="JPEG", quality=60 + 10 * (number // 40))) for number, name in enumerate(names)
    ]
    whole = group_near_duplicates(prints)
    assert whole == tuple(number % 40 for number in range(120))
    monkeypatch.setattr("cloud_train.datasets.duplicates._BLOCK", 7)
    monkeypatch.setattr("cloud_train.datasets.duplicates._PAIRS_AT_ONCE", 3)
    assert group_near_duplicates(prints) == whole


def test_five_thousand_pictures_fit_in_little_memory() -> None:
    rng = random.Random(3)
    prints = [
        Fingerprint(
            width=1, height=1, pixels=str(number), dhash=rng.randbytes(32), thumbnail=rng.randbytes(17 * 16 * 3)
        )
        for number in range(5000)
    ]
    tracemalloc.start()
    groups = group_near_duplicates([*prints, prints[17]])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert groups == (*range(5000), 17)
    assert peak < 400e6


def test_nothing_and_one() -> None:
    assert group_near_duplicates([]) == ()
    assert group_near_duplicates([fingerprint(patterned("one"))]) == (0,)


def test_group_digests_takes_the_smallest() -> None:
    assert group_digests(["c", "a", "b"], [0, 0, 2]) == {"c": "a", "a": "a", "b": "b"}


def test_no_picture_is_an_image_error() -> None:
    with pytest.raises(ImageError):
        fingerprint(b"words")


@pytest.mark.data
@pytest.mark.parametrize(
    ("folder", "pictures", "duplicates", "conflicts", "groups", "largest"),
    [
        ("coins/train", 1291, 0, 0, 1276, 3),
        ("coins/test", 1539, 0, 0, 1523, 2),
        ("grocery/train", 2640, 0, 0, 2636, 2),
        ("leaf_money_plant", 277, 1577, 1, 260, 3),
        ("chest_xray", 796, 4, 0, 789, 2),
    ],
)
def test_real_data_sets(
    data_root: Path, folder: str, pictures: int, duplicates: int, conflicts: int, groups: int, largest: int
) -> None:
    """The figures of docs/formats/snapshot.md."""
    from collections import Counter

    from cloud_train.datasets.inspect import inspect_folder

    found = inspect_folder(data_root / folder)
    sizes = Counter(group_near_duplicates([one.fingerprint for one in found.pictures]))
    measured = (len(found.pictures), found.num_duplicates, len(found.conflicts), len(sizes), max(sizes.values()))
    assert measured == (pictures, duplicates, conflicts, groups, largest)
