"""Pictures that a conversion rests on, with what is known of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge.types import Box


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture file.

    Attributes:
        digest: SHA-256 of the file, hex.
        path: Where it lies.
    """

    digest: str
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueBox:
    """One thing that is in a picture.

    Attributes:
        index: Position of its class in the labels.
        box: Where, in pixels of the upright picture.
        difficult: Whether its authors mark it as too hard to count, as Pascal VOC does.
    """

    index: int
    box: Box
    difficult: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledPicture:
    """A picture file whose right answer is known.

    Attributes:
        digest: SHA-256 of the file, hex.
        path: Where it lies.
        label: Its class, one of the job's labels or of the gallery's; for a reader of text, the text. Empty for others.
        boxes: What is in it, for a detector.
        attributes: Class of each head by name, for a network with several.
    """

    digest: str
    path: Path
    label: str = ""
    boxes: tuple[TrueBox, ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()
