"""One picture whose header is read and whose pixels are decoded when they are first needed.

A JPEG is decoded at a half, a quarter or an eighth where that still is at least the size that is wanted (the decoder's
own scaling, several times faster). The scale follows from the request alone, never from what was asked before, so that
the same request gives the same bits in any order and on any thread. Each scale is decoded once: a detector at 640 reads
a 1080p picture at a half, all the crops it finds share one full decoding, and where it finds none there is none.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from edge.errors import ImageError
from edge.image.decode import (
    DEFAULT_LIMITS,
    DecodeLimits,
    allowed_scales,
    check_pixels,
    decode,
    read_header,
    read_picture,
)
from edge.image.orientation import UPRIGHT, is_sideways

if TYPE_CHECKING:
    from PIL import Image as PilImage

    from edge.types import ByteArray, Image


class Picture:
    """A picture that several models may read, whole or in crops, on several threads.

    Args:
        name: What errors call it.
        stored: Width and height as stored, before turning.
        turn: EXIF orientation, 1 to 8.
        scales: Divisors at which it can be decoded, largest first.
        decode: Gives the stored picture at 1/divisor, RGB.
        cost: Bytes that decoding at 1/divisor takes.
    """

    def __init__(
        self,
        *,
        name: str,
        stored: tuple[int, int],
        turn: int,
        scales: tuple[int, ...],
        decode: Callable[[int], PilImage.Image],
        cost: Callable[[int], int],
    ) -> None:
        self.name = name
        self.stored = stored
        self.turn = turn
        self.width, self.height = stored[::-1] if is_sideways(turn) else stored
        self._scales = scales
        self._decode = decode
        self._cost = cost
        self._decoded: dict[int, PilImage.Image] = {}
        self._lock = threading.Lock()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the upright picture in pixels."""
        return self.width, self.height

    def pixels(self, room: float) -> tuple[PilImage.Image, int]:
        """The stored picture, decoded as coarsely as a request allows.

        Args:
            room: Picture pixels for each pixel that is wanted.

        Returns:
            RGB pixels, not turned, not to be changed; and the divisor they are decoded at: the largest up to `room`,
            or the smallest that the memory limit allows.

        Raises:
            ImageError: The data is truncated or damaged.
        """
        scale = self._scale(room)
        with self._lock:
            if scale not in self._decoded:
                self._decoded[scale] = self._decode(scale)
            return self._decoded[scale], scale

    def decoded_bytes(self, room: float) -> int:
        """Memory that `pixels` takes for this request; nothing is decoded."""
        return self._cost(self._scale(room))

    def forget(self) -> None:
        """Lets go of what was decoded; it is decoded anew when it is asked for again."""
        with self._lock:
            self._decoded.clear()

    def _scale(self, room: float) -> int:
        return next((scale for scale in self._scales if scale <= room), self._scales[-1])


def open_picture(image: Image, *, limits: DecodeLimits = DEFAULT_LIMITS, name: str = "") -> Picture:
    """Reads the header of a picture; decodes nothing.

    Args:
        image: Encoded JPEG, PNG or WebP bytes, the path of such a file, or uint8 (H, W, 3) RGB or (H, W) grey.
        limits: What the picture may cost.
        name: What errors call it; by default the path.

    Raises:
        ImageError: The picture cannot be used; one line that names the file.
    """
    if isinstance(image, str):
        image = Path(image)
    if isinstance(image, Path):
        return _encoded(read_picture(image, limits=limits), limits, name or str(image))
    if isinstance(image, bytes):
        return _encoded(image, limits, name or "picture")
    return _array(image, limits, name or "picture")


def _encoded(data: bytes, limits: DecodeLimits, name: str) -> Picture:
    header = read_header(data, name=name, limits=limits)
    return Picture(
        name=name,
        stored=header.size,
        turn=header.turn,
        scales=allowed_scales(header, name=name, limits=limits),
        decode=partial(decode, data, header, name=name),
        cost=header.decoded_bytes,
    )


def _array(array: ByteArray, limits: DecodeLimits, name: str) -> Picture:
    import numpy as np

    if not isinstance(array, np.ndarray):
        raise ImageError(f"{name}: expected bytes, a path or a uint8 array, found {type(array).__name__}")
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)):
        raise ImageError(f"{name}: expected an array of uint8 (H, W, 3) or (H, W), found {array.dtype} {array.shape}")
    height, width = array.shape[:2]
    check_pixels((width, height), name=name, limits=limits)
    return Picture(
        name=name,
        stored=(width, height),
        turn=UPRIGHT,
        scales=(1,),
        decode=lambda scale: _from_array(array),
        cost=lambda scale: 4 * width * height,
    )


def _from_array(array: ByteArray) -> PilImage.Image:
    import numpy as np
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(array))
    return image if image.mode == "RGB" else image.convert("RGB")
