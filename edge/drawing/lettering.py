"""Text on pictures: a font that has the letters, in a size that can be read, cut to the width there is.

Pillow carries a font of its own, so text can be drawn on any device, but it has hardly more than ASCII. Where a label
needs more, the font of the system that has most of the letters is used; what it lacks loses its accents or becomes `?`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from PIL import ImageFont

    Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont

SYSTEM_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "FreeSans.ttf",
    "NotoSansThai-Regular.ttf",
    "Garuda.ttf",
    "NotoSansCJK-Regular.ttc",
    "wqy-microhei.ttc",
    "arial.ttf",
    "Arial Unicode.ttf",
)
_NO_CHARACTER = "\uffff"
# Letters that Unicode does not take apart.
_PLAIN = {
    **{"\u00df": "ss", "\u00e6": "ae", "\u00c6": "AE", "\u0153": "oe", "\u0152": "OE", "\u00f8": "o", "\u00d8": "O"},
    **{"\u0142": "l", "\u0141": "L", "\u0111": "d", "\u0110": "D", "\u0131": "i", "\u2013": "-", "\u2014": "-"},
    **{"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u00d7": "x"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lettering:
    """One font in one size.

    Attributes:
        font: Pillow's font.
        height: Of a line with its gap, in pixels.
    """

    font: Font
    height: int

    def width(self, text: str) -> int:
        """Pixels that a text takes."""
        return round(self.font.getlength(drawable(text, self.font)))

    def fitted(self, text: str, width: int) -> str:
        """The text as it can be drawn, cut at the end with `...` where it is wider than `width` pixels."""
        whole = drawable(text, self.font)
        if self.width(whole) <= width:
            return whole
        low, high = 0, len(whole)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.width(f"{whole[:middle].rstrip()}...") <= width else (low, middle - 1)
        return f"{whole[:low].rstrip()}..." if low else ""


def lettering(size: int, texts: Iterable[str], *, system_fonts: tuple[str, ...] = SYSTEM_FONTS) -> Lettering:
    """The font that has the most characters of some texts: Pillow's own, unless one of the system has more.

    Args:
        size: Height of the letters in pixels.
        texts: What will be drawn.
        system_fonts: File names that are tried in turn.
    """
    from PIL import ImageFont

    characters = sorted({character for text in texts for character in text})
    font: Font = ImageFont.load_default(size)
    missing = _num_missing(font, characters)
    for name in system_fonts if missing else ():
        other = _system_font(name, size)
        if other is not None and (num := _num_missing(other, characters)) < missing:
            font, missing = other, num
    return Lettering(font=font, height=round(size * 1.35))


def drawable(text: str, font: Font) -> str:
    """The text with every character that the font lacks replaced: by its plain letter, else by `?`."""
    missing = {character for character in set(text) if not _has(font, character)}
    if not missing:
        return text
    return "".join(_plain(character, font) if character in missing else character for character in text)


def _plain(character: str, font: Font) -> str:
    decomposed = _PLAIN.get(character) or unicodedata.normalize("NFKD", character)
    kept = "".join(part for part in decomposed if not unicodedata.combining(part) and _has(font, part))
    return kept or "?"


def _num_missing(font: Font, characters: Iterable[str]) -> int:
    return sum(not _has(font, character) for character in characters)


def _has(font: Font, character: str) -> bool:
    """Whether a font has a character; what it lacks is drawn as the same box as what no font has."""
    if character == " ":
        return True
    try:
        plain = _unshaped(font)
        return bytes(plain.getmask(character)) != bytes(plain.getmask(_NO_CHARACTER))
    except UnicodeError:  # the bitmap font of a Pillow without FreeType knows Latin-1 only
        return character.isascii()


@lru_cache(maxsize=64)
def _unshaped(font: Font) -> Font:
    """The same font without text shaping, which would draw a missing accent in other ways than a missing letter."""
    from PIL import ImageFont

    return font.font_variant(layout_engine=ImageFont.Layout.BASIC) if isinstance(font, ImageFont.FreeTypeFont) else font


def _system_font(name: str, size: int) -> ImageFont.FreeTypeFont | None:
    from PIL import ImageFont

    try:
        return ImageFont.truetype(name, size)
    except (OSError, ImportError):
        return None
