from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from drawn_pictures import encoded, noise, smooth
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from edge.bundle.manifest import CropPolicy, PreprocessSpec
from edge.errors import ImageError
from edge.image.decode import DecodeLimits
from edge.preprocess import open_picture, preprocess, preprocess_crop, preprocess_picture
from edge.types import Box

DETECTOR = PreprocessSpec(width=64, height=64, crop=CropPolicy.LETTERBOX)
EMBEDDER = PreprocessSpec(width=22, height=22)


@pytest.fixture
def decodings(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Size of everything that is decoded."""
    sizes: list[tuple[int, int]] = []

    def recorded(load: Callable[..., object]) -> Callable[..., object]:
        def recording(self: JpegImageFile) -> object:
            if self.tile:
                sizes.append(self.size)
            return load(self)

        return recording

    monkeypatch.setattr(JpegImageFile, "load", recorded(JpegImageFile.load))
    monkeypatch.setattr(PngImageFile, "load", recorded(PngImageFile.load))
    return sizes


def boxes(count: int, width: int, height: int, length: int) -> list[Box]:
    corners = np.random.default_rng(5).uniform(0, (width - length, height - length), (count, 2))
    return [Box(left=x, top=y, right=x + length, bottom=y + length) for x, y in corners.tolist()]


def test_opening_decodes_nothing(decodings: list[tuple[int, int]]) -> None:
    for data in (encoded(smooth(400, 300), "JPEG"), encoded(smooth(400, 300))):
        picture = open_picture(data)
        assert (picture.width, picture.height, picture.size) == (400, 300, (400, 300))
    assert decodings == []


def test_detector_and_its_crops_share_two_decodings(decodings: list[tuple[int, int]]) -> None:
    picture = open_picture(encoded(smooth(192, 108), "JPEG"))
    preprocess_picture(picture, DETECTOR)
    assert decodings == [(96, 54)]
    for box in boxes(10, 192, 108, 20):
        preprocess_crop(picture, box, EMBEDDER)
    assert decodings == [(96, 54), (192, 108)]
    preprocess_picture(picture, DETECTOR)
    assert len(decodings) == 2


def test_large_crops_are_decoded_no_finer_than_they_need(decodings: list[tuple[int, int]]) -> None:
    picture = open_picture(encoded(smooth(400, 400), "JPEG"))
    preprocess_crop(picture, Box(left=10, top=10, right=100, bottom=190), EMBEDDER)
    assert decodings == [(100, 100)]


def test_png_is_decoded_once(decodings: list[tuple[int, int]]) -> None:
    picture = open_picture(encoded(smooth(192, 108)))
    preprocess_picture(picture, DETECTOR)
    for box in boxes(5, 192, 108, 20):
        preprocess_crop(picture, box, EMBEDDER)
    assert decodings == [(192, 108)]


def test_order_of_requests_changes_no_bit() -> None:
    data = encoded(smooth(640, 360), "JPEG")
    near, far = boxes(4, 640, 360, 30), boxes(4, 640, 360, 200)

    def asked(requests: list[Box | None]) -> dict[Box | None, bytes]:
        picture = open_picture(data)
        return {
            box: (preprocess_crop(picture, box, EMBEDDER) if box else preprocess_picture(picture, DETECTOR)).tensor
            for box in requests
        }

    first = asked([None, *near, *far])
    second = asked([*far, *near, None])
    assert all((first[box] == second[box]).all() for box in first)
    assert (first[None] == preprocess(data, DETECTOR).tensor).all()


def test_crops_on_several_threads_are_those_of_one(decodings: list[tuple[int, int]]) -> None:
    data = encoded(noise(300, 200), "JPEG")
    wanted = boxes(40, 300, 200, 25)
    expected = [preprocess_crop(open_picture(data), box, EMBEDDER).tensor for box in wanted]
    decodings.clear()
    picture, results = open_picture(data), {}
    start = threading.Barrier(4)

    def work(worker: int) -> None:
        start.wait()
        for index in range(worker, len(wanted), 4):
            results[index] = preprocess_crop(picture, wanted[index], EMBEDDER).tensor

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert decodings == [(300, 200)]
    assert all((results[index] == expected[index]).all() for index in range(len(wanted)))


def test_damaged_picture_fails_at_every_request_and_names_itself() -> None:
    picture = open_picture(encoded(noise(64, 64), "JPEG")[:2000], name="shelf 7")
    for _ in range(2):
        with pytest.raises(ImageError, match=r"^shelf 7: damaged or truncated picture: "):
            preprocess_picture(picture, DETECTOR)


def test_path_text_and_bytes_agree(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(noise(20, 20)))
    results = [preprocess(image, EMBEDDER).tensor for image in (path, str(path), path.read_bytes())]
    assert all((result == results[0]).all() for result in results)
    with pytest.raises(ImageError, match=r"gone\.png: cannot be read: no such file or directory$"):
        open_picture(str(tmp_path / "gone.png"))


def test_memory_limit_makes_jpegs_coarser_and_refuses_the_rest() -> None:
    limits = DecodeLimits(max_decoded_bytes=4 * 200 * 150)
    jpeg = encoded(smooth(400, 300), "JPEG")
    whole = Box(left=0, top=0, right=400, bottom=300)
    spec = PreprocessSpec(width=400, height=300)
    coarse = preprocess_crop(open_picture(jpeg, limits=limits), whole, spec).tensor
    assert coarse.shape == (1, 300, 400, 3)
    fine = preprocess_crop(open_picture(jpeg), whole, spec).tensor
    assert 0 < np.abs(coarse - fine).mean() < 3
    for data, kind in ((encoded(smooth(400, 300)), "PNG"), (encoded(smooth(400, 300), "WEBP"), "WebP")):
        with pytest.raises(ImageError, match=rf"^x: a {kind} of 400x300 pixels takes \d MB to decode, at most 1 MB"):
            open_picture(data, limits=limits, name="x")


def test_array_is_not_copied_before_it_is_needed_and_never_changed() -> None:
    image = np.asarray(noise(30, 20)).copy()
    before = image.copy()
    picture = open_picture(image)
    tensor = preprocess_picture(picture, PreprocessSpec(width=30, height=20)).tensor
    tensor[:] = 0
    assert (image == before).all()
