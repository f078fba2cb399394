"""Boxes with labels on a picture: lines that show on any ground, labels that do not cover each other if they can."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge.drawing.lettering import Lettering
from edge.types import Outcome

if TYPE_CHECKING:
    from PIL import ImageDraw

Rgb = tuple[int, int, int]
Area = tuple[float, float, float, float]

BLACK: Rgb = (0, 0, 0)
WHITE: Rgb = (255, 255, 255)
NEUTRAL: Rgb = (190, 190, 190)
# Pixels drawn and left out, in widths of the line.
_DASHES: dict[Outcome, tuple[int, int]] = {Outcome.CONFIRM: (5, 3), Outcome.UNKNOWN: (1, 2)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One thing in a picture.

    Attributes:
        area: Left, top, right, bottom in pixels of the drawing.
        label: What it is.
        score: How sure, as text; stays where the label is cut.
        colour: Of the line, and of the ground of the label.
        outcome: ACCEPT has a solid line, CONFIRM a dashed one, UNKNOWN a dotted one.
    """

    area: Area
    label: str
    score: str
    colour: Rgb
    outcome: Outcome


def ink_on(ground: Rgb) -> Rgb:
    """Black or white, whichever stands out more (relative luminance, WCAG 2.1)."""
    red, green, blue = (_linear(level / 255) for level in ground)
    return BLACK if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 else WHITE


def draw_marks(
    draw: ImageDraw.ImageDraw,
    marks: Sequence[Mark],
    letters: Lettering,
    size: tuple[int, int],
    *,
    crowded: bool = False,
) -> None:
    """Draws boxes, then their labels over all of them.

    Args:
        draw: Of the picture.
        marks: The most important ones last.
        letters: For the labels.
        size: Width and height of the room for boxes and labels.
        crowded: Whether labels are cut to the width of their boxes, so that each stays with its own.
    """
    line = max(2, letters.height // 8)
    for mark in marks:
        _draw_box(draw, mark, line)
    taken: list[Area] = []
    for mark in reversed(marks):
        room = mark.area[2] - mark.area[0] - 2 * line if crowded else size[0]
        text = _fitted(mark, letters, max(5 * letters.height, round(room)))
        area = _label_area(mark, letters.width(text) + 2 * line, letters.height, size, taken)
        taken.append(area)
        draw.rectangle(area, fill=mark.colour, outline=BLACK)
        draw.text((area[0] + line, area[1] + line / 2), text, fill=ink_on(mark.colour), font=letters.font)


def _draw_box(draw: ImageDraw.ImageDraw, mark: Mark, line: int) -> None:
    """A coloured line between two thin black ones."""
    left, top, right, bottom = mark.area
    draw.rectangle((left - 1, top - 1, max(left, right) + 1, max(top, bottom) + 1), outline=BLACK, width=line + 2)
    if mark.outcome not in _DASHES:
        draw.rectangle((left, top, max(left, right), max(top, bottom)), outline=mark.colour, width=line)
        return
    for x1, y1, x2, y2 in _dashes(mark.area, line, *_DASHES[mark.outcome]):
        draw.rectangle((x1, y1, max(x1, x2), max(y1, y2)), fill=mark.colour)


def _dashes(area: Area, line: int, drawn: int, left_out: int) -> Iterator[Area]:
    """Small rectangles along the four sides."""
    left, top, right, bottom = area
    step, length = (drawn + left_out) * line, drawn * line
    for y in (top, max(top, bottom - line)):
        for start in range(round(left), round(right), step):
            yield start, y, min(start + length, right), y + line - 1
    for x in (left, max(left, right - line)):
        for start in range(round(top), round(bottom), step):
            yield x, start, x + line - 1, min(start + length, bottom)


def _label_area(mark: Mark, width: int, height: int, size: tuple[int, int], taken: Sequence[Area]) -> Area:
    """Above the box, below it, or inside at its top or bottom: where it covers the fewest other labels."""
    left = max(0.0, min(mark.area[0], size[0] - width - 1))
    tops = (mark.area[1] - height, mark.area[1], mark.area[3], mark.area[3] - height)
    places = [(left, max(0.0, min(top, size[1] - height - 1))) for top in tops]
    areas = [(x, y, x + width, y + height) for x, y in places]
    return min(areas, key=lambda area: sum(_overlap(area, other) for other in taken))


def _fitted(mark: Mark, letters: Lettering, room: int) -> str:
    score = f" {mark.score}" if mark.score else ""
    return f"{letters.fitted(mark.label, room - letters.width(score))}{score}"


def _overlap(one: Area, other: Area) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, width) * max(0.0, height)


def _linear(level: float) -> float:
    return level / 12.92 if level <= 0.04045 else float(((level + 0.055) / 1.055) ** 2.4)
