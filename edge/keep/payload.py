"""What a kept picture becomes before it waits for the road: a smaller JPEG, or the bytes as they came.

A policy is a function from a picture to encoded bytes. Privacy comes before it: a policy sees only what may be kept.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from edge.errors import UsageError
from edge.image.decode import DEFAULT_LIMITS, DecodeLimits
from edge.image.orientation import turned
from edge.image.picture import open_picture

if TYPE_CHECKING:
    from PIL import Image as PilImage

    from edge.types import ByteArray

    PayloadPolicy: TypeAlias = Callable[[bytes | ByteArray], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadOptions:
    """How payloads are made.

    Attributes:
        quality: Of a JPEG, 1 to 95 as Pillow counts.
        max_side: Longer side in pixels at most; 0 for no limit. Pictures are never enlarged.
        limits: What decoding may cost.
    """

    quality: int = 90
    max_side: int = 1600
    limits: DecodeLimits = DEFAULT_LIMITS

    def __post_init__(self) -> None:
        """Refuses qualities that Pillow advises against, and sides that show nothing."""
        if not 1 <= self.quality <= 95:
            raise ValueError(f"quality must be 1 to 95, found {self.quality}")
        if self.max_side != 0 and self.max_side < 32:
            raise ValueError(f"max_side must be 0 or at least 32 pixels, found {self.max_side}")


def jpeg(options: PayloadOptions) -> PayloadPolicy:
    """Every picture as a JPEG, upright, no larger than `max_side`, without metadata (place, camera, thumbnail).

    The same picture gives the same bytes with the same Pillow, so that a picture kept twice has one digest.
    """

    def policy(picture: bytes | ByteArray) -> bytes:
        opened = open_picture(picture, limits=options.limits)
        size = _fitted(opened.size, options.max_side)
        room = max(opened.size) / max(size)
        pixels = turned(opened.pixels(room)[0], opened.turn)
        return _jpeg_bytes(_resized(pixels, size), options.quality)

    return policy


# None keeps encoded bytes as they came, and pixels that came without a file as a lossless PNG of their full size.
POLICIES: dict[str, Callable[[PayloadOptions], PayloadPolicy] | None] = {"jpeg": jpeg, "original": None}


def payload_policy(name: str, options: PayloadOptions) -> PayloadPolicy | None:
    """The policy of a name; None for the one that leaves pictures as they are.

    Raises:
        UsageError: There is none.
    """
    if name not in POLICIES:
        raise UsageError(f"payload {name!r} is not one of {', '.join(POLICIES)}")
    make = POLICIES[name]
    return make(options) if make is not None else None


def lossless(pixels: ByteArray, *, limits: DecodeLimits = DEFAULT_LIMITS) -> bytes:
    """An array as a PNG, quickly rather than small.

    Args:
        pixels: uint8 (height, width, 3) RGB or (height, width) grey.
        limits: What the picture may cost.

    Raises:
        ImageError: It is no picture.
    """
    file = io.BytesIO()
    open_picture(pixels, limits=limits).pixels(1.0)[0].save(file, "PNG", compress_level=1)
    return file.getvalue()


def _fitted(size: tuple[int, int], max_side: int) -> tuple[int, int]:
    """Width and height with the longer one at most `max_side`."""
    longer = max(size)
    if max_side == 0 or longer <= max_side:
        return size
    width, height = (max(1, round(side * max_side / longer)) for side in size)
    return width, height


def _resized(pixels: PilImage.Image, size: tuple[int, int]) -> PilImage.Image:
    from PIL.Image import Resampling

    return pixels if pixels.size == size else pixels.resize(size, Resampling.LANCZOS)


def _jpeg_bytes(pixels: PilImage.Image, quality: int) -> bytes:
    pixels.info = {}  # Pillow writes a profile or a comment that it finds here
    file = io.BytesIO()
    pixels.save(file, "JPEG", quality=quality)
    return file.getvalue()
