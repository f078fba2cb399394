"""Small pictures that carry a number in big blocks, so that it can be read back after any encoding."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

WIDTH, HEIGHT = 128, 96
_BITS = 8


def numbered(number: int) -> npt.NDArray[np.uint8]:
    """uint8 (96, 128, 3), RGB: eight bars of white or black, the last one red or blue for 1 or 0."""
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    width = WIDTH // _BITS
    for bit in range(_BITS):
        is_set = bool(number >> bit & 1)
        colour = (255, 0, 0) if is_set else (0, 0, 255)
        picture[:, bit * width : (bit + 1) * width] = colour if bit == 0 else 255 * is_set
    return picture


def number_of(picture: bytes | npt.NDArray[np.uint8]) -> int:
    """The number, modulo 256; fails where red and blue have changed places."""
    array = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")) if isinstance(picture, bytes) else picture
    assert array.dtype == np.uint8
    assert array.shape == (HEIGHT, WIDTH, 3)
    middles = array[HEIGHT // 2, WIDTH // _BITS // 2 :: WIDTH // _BITS].astype(int)
    assert abs(middles[0, 0] - middles[0, 2]) > 128, "neither red nor blue"
    return sum(1 << bit for bit in range(_BITS) if (middles[bit, 0] if bit == 0 else middles[bit, 1]) > 128)


def jpeg(number: int) -> bytes:
    """One as a baseline JPEG, 4:2:0, with the standard Huffman tables."""
    buffer = io.BytesIO()
    Image.fromarray(numbered(number)).save(buffer, "JPEG", quality=90, subsampling=2)
    return buffer.getvalue()


def write_folder(folder: Path, numbers: Iterable[int]) -> Path:
    """A folder of them as PNG, in order."""
    folder.mkdir(parents=True)
    for position, number in enumerate(numbers):
        Image.fromarray(numbered(number)).save(folder / f"{position:03}.png")
    return folder


def write_video(path: Path, numbers: Iterable[int], *, fps: float = 10.0) -> Path:
    """A Motion JPEG file of them; OpenCV must be there."""
    import cv2

    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (WIDTH, HEIGHT))
    assert writer.isOpened()
    for number in numbers:
        writer.write(cv2.cvtColor(numbered(number), cv2.COLOR_RGB2BGR))
    writer.release()
    return path
