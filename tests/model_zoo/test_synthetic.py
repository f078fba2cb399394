"""Drawn shelf products: the same from the same seed, resumable, different where they must be."""

from __future__ import annotations

import hashlib
import io
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge.errors import StorageError, UsageError
from model_zoo.shelf.packages import DESIGNS, HEIGHT, WIDTH, draw_package
from model_zoo.shelf.scene import SIDE
from model_zoo.shelf.synthetic import CLASSES, UNKNOWN_TO_V1, draw_product, write_dataset

ROOT = Path(__file__).resolve().parents[2]


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "pictures"
    write_dataset(folder, seed=3, per_class=4)
    return folder


def test_twelve_sorted_classes_of_which_three_are_unknown() -> None:
    assert len(CLASSES) == 12
    assert list(CLASSES) == sorted(set(CLASSES))
    assert len(UNKNOWN_TO_V1) == 3
    assert set(UNKNOWN_TO_V1) < set(CLASSES)


def test_a_folder_a_class_of_pictures_that_differ(drawn: Path) -> None:
    digests = _digests(drawn)
    assert len(digests) == len(set(digests.values())) == 48
    assert sorted(path.name for path in drawn.iterdir()) == list(CLASSES)
    for name in digests:
        with Image.open(drawn / name) as picture:
            assert (picture.format, picture.size, picture.mode) == ("JPEG", (SIDE, SIDE), "RGB")


def test_the_same_seed_gives_the_same_bytes_in_another_process(drawn: Path, tmp_path: Path) -> None:
    _process(tmp_path / "again").wait(timeout=60)
    assert _digests(tmp_path / "again") == _digests(drawn)


def test_another_seed_gives_other_pictures(drawn: Path, tmp_path: Path) -> None:
    write_dataset(tmp_path / "other", seed=4, per_class=1)
    assert not set(_digests(tmp_path / "other").values()) & set(_digests(drawn).values())


def test_a_larger_set_begins_with_the_smaller(drawn: Path, tmp_path: Path) -> None:
    write_dataset(tmp_path / "small", seed=3, per_class=2)
    assert _digests(tmp_path / "small").items() <= _digests(drawn).items()


def _process(folder: Path) -> subprocess.Popen[bytes]:
    code = "from model_zoo.shelf.synthetic import *; import sys; write_dataset(Path(sys.argv[1]), seed=3, per_class=4)"
    return subprocess.Popen([sys.executable, "-c", code, str(folder)], cwd=ROOT)


@pytest.mark.parametrize("moment", range(3))
def test_a_killed_run_resumes_to_the_same_bytes(drawn: Path, tmp_path: Path, moment: int) -> None:
    target = tmp_path / "pictures"
    staging = tmp_path / ".pictures-3-4.part"
    process = _process(target)
    while len(list(staging.glob("*/*.jpg"))) < 1 + 15 * moment and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not target.exists()
    (staging / CLASSES[0] / f".{CLASSES[0]}_0002.jpg.77.tmp").write_bytes(b"half a pict")
    write_dataset(target, seed=3, per_class=4)
    assert _digests(target) == _digests(drawn)
    assert os.listdir(tmp_path) == ["pictures"]  # noqa: PTH208 - hidden names too


def test_a_finished_set_is_left_alone(drawn: Path) -> None:
    before = _digests(drawn)
    write_dataset(drawn, seed=99, per_class=1)
    assert _digests(drawn) == before


def test_progress_counts_every_picture(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    write_dataset(tmp_path / "few", seed=1, per_class=1, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(number, 12) for number in range(1, 13)]


def test_none_a_class_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least 1, found 0"):
        write_dataset(tmp_path / "none", seed=1, per_class=0)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write"):
        write_dataset(tmp_path / "file" / "pictures", seed=1, per_class=1)


def _front(name: str) -> np.ndarray:
    design = DESIGNS[CLASSES.index(name)]
    return np.asarray(draw_package(design, random.Random(0)), dtype=np.float64)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("almond_drink", "oat_drink"),
        ("bean_can", "tomato_can"),
        ("lentil_can", "tomato_can"),
        ("sage_tea", "green_tea"),
        ("sage_tea", "mint_tea"),
        ("corn_flakes", "honey_flakes"),
    ],
)
def test_look_alikes_share_their_outline_and_differ_in_detail(one: str, other: str) -> None:
    first, second = _front(one), _front(other)
    assert first.shape == (HEIGHT, WIDTH, 4)
    assert np.array_equal(first[..., 3], second[..., 3])
    difference = np.abs(first - second).mean()
    assert 2 < difference < 30
    assert difference < np.abs(first - _front("coffee_jar")).mean() / 2


def test_pictures_of_one_product_vary(drawn: Path) -> None:
    files = sorted((drawn / "cola").iterdir())
    pictures = [np.asarray(Image.open(io.BytesIO(file.read_bytes())), dtype=np.float64) for file in files]
    assert min(np.abs(one - two).mean() for one in pictures for two in pictures if one is not two) > 15


def test_only_the_generator_decides() -> None:
    random.seed(1)
    one = draw_product(0, random.Random(5)).tobytes()
    random.seed(2)
    assert draw_product(0, random.Random(5)).tobytes() == one
    assert draw_product(0, random.Random(6)).tobytes() != one
