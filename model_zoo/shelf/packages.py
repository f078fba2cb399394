"""The products on the shelf: twelve package designs as data, and how one is drawn from the front.

Five pairs look alike on purpose: the same shape and nearly the same colours, told apart by a band, a cap, an emblem
and the word on the label.
"""

from __future__ import annotations

import enum
import functools
import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

Colour: TypeAlias = tuple[int, int, int]
Box: TypeAlias = tuple[float, float, float, float]

WIDTH, HEIGHT = 176, 240  # of the sheet that a package is drawn on, in pixels


class Shape(enum.Enum):
    """Outline of a package."""

    BOX = "box"
    CAN = "can"
    CARTON = "carton"
    BOTTLE = "bottle"
    JAR = "jar"


class Emblem(enum.Enum):
    """The picture on a label."""

    DISC = "disc"
    RING = "ring"
    LEAF = "leaf"
    STAR = "star"
    HEXAGON = "hexagon"
    DROP = "drop"
    WAVES = "waves"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageDesign:
    """What a product looks like.

    Attributes:
        name: Class name.
        shape: Outline.
        body: Colour of the package.
        label: Colour of the label.
        band: Colour of the stripe across the label.
        cap: Colour of cap, lid or top.
        text: The word on the label.
        ink: Colour of the word and of the emblem.
        emblem: The picture on the label.
    """

    name: str
    shape: Shape
    body: Colour
    label: Colour
    band: Colour
    cap: Colour
    text: str
    ink: Colour
    emblem: Emblem


CREAM, WHITE, BLACK = (240, 232, 214), (246, 246, 244), (26, 24, 26)

DESIGNS = (
    PackageDesign(
        name="almond_drink",
        shape=Shape.CARTON,
        body=WHITE,
        label=(214, 226, 240),
        band=(46, 84, 168),
        cap=(46, 84, 168),
        text="ALMOND",
        ink=(44, 60, 120),
        emblem=Emblem.DROP,
    ),
    PackageDesign(
        name="bean_can",
        shape=Shape.CAN,
        body=(186, 40, 36),
        label=CREAM,
        band=(214, 156, 40),
        cap=(176, 178, 182),
        text="BEANS",
        ink=(120, 48, 30),
        emblem=Emblem.RING,
    ),
    PackageDesign(
        name="coffee_jar",
        shape=Shape.JAR,
        body=(66, 40, 26),
        label=(206, 166, 74),
        band=(150, 30, 34),
        cap=BLACK,
        text="COFFEE",
        ink=(58, 30, 16),
        emblem=Emblem.DROP,
    ),
    PackageDesign(
        name="cola",
        shape=Shape.BOTTLE,
        body=(52, 26, 24),
        label=(200, 28, 36),
        band=WHITE,
        cap=(200, 28, 36),
        text="COLA",
        ink=WHITE,
        emblem=Emblem.WAVES,
    ),
    PackageDesign(
        name="corn_flakes",
        shape=Shape.BOX,
        body=(240, 200, 56),
        label=WHITE,
        band=(58, 140, 64),
        cap=(214, 170, 40),
        text="CORN",
        ink=(196, 60, 30),
        emblem=Emblem.DISC,
    ),
    PackageDesign(
        name="green_tea",
        shape=Shape.BOX,
        body=(66, 134, 70),
        label=(222, 232, 200),
        band=(30, 84, 44),
        cap=(48, 106, 54),
        text="GREEN",
        ink=(34, 92, 46),
        emblem=Emblem.LEAF,
    ),
    PackageDesign(
        name="honey_flakes",
        shape=Shape.BOX,
        body=(238, 190, 60),
        label=CREAM,
        band=(132, 76, 28),
        cap=(206, 154, 44),
        text="HONEY",
        ink=(150, 84, 24),
        emblem=Emblem.HEXAGON,
    ),
    PackageDesign(
        name="lentil_can",
        shape=Shape.CAN,
        body=(188, 40, 35),
        label=CREAM,
        band=(150, 140, 50),
        cap=(176, 178, 182),
        text="LENTIL",
        ink=(156, 46, 32),
        emblem=Emblem.DISC,
    ),
    PackageDesign(
        name="mint_tea",
        shape=Shape.BOX,
        body=(58, 136, 94),
        label=(220, 234, 216),
        band=(120, 200, 190),
        cap=(42, 108, 74),
        text="MINT",
        ink=(24, 96, 84),
        emblem=Emblem.STAR,
    ),
    PackageDesign(
        name="oat_drink",
        shape=Shape.CARTON,
        body=WHITE,
        label=(232, 226, 208),
        band=(46, 112, 160),
        cap=(206, 158, 70),
        text="OAT",
        ink=(74, 74, 104),
        emblem=Emblem.LEAF,
    ),
    PackageDesign(
        name="sage_tea",
        shape=Shape.BOX,
        body=(62, 135, 82),
        label=(221, 233, 208),
        band=(84, 148, 124),
        cap=(45, 107, 64),
        text="SAGE",
        ink=(30, 94, 64),
        emblem=Emblem.LEAF,
    ),
    PackageDesign(
        name="tomato_can",
        shape=Shape.CAN,
        body=(190, 38, 34),
        label=CREAM,
        band=(70, 128, 58),
        cap=(176, 178, 182),
        text="TOMATO",
        ink=(188, 40, 34),
        emblem=Emblem.DISC,
    ),
)

_ROUND = (Shape.CAN, Shape.BOTTLE, Shape.JAR)
_LABELS: dict[Shape, Box] = {
    Shape.BOX: (16, 34, 144, 200),
    Shape.CAN: (14, 70, 162, 200),
    Shape.CARTON: (30, 92, 146, 214),
    Shape.BOTTLE: (46, 104, 130, 194),
    Shape.JAR: (20, 96, 156, 202),
}


def draw_package(design: PackageDesign, rng: random.Random) -> Image.Image:
    """One package from the front.

    Args:
        design: What it looks like.
        rng: Turns round packages a little and chooses the print's small shifts.

    Returns:
        RGBA, `WIDTH` by `HEIGHT`, transparent around the package.
    """
    from PIL import Image, ImageDraw

    sheet = Image.new("RGBA", (WIDTH, HEIGHT), (0, 0, 0, 0))
    _draw_body(ImageDraw.Draw(sheet), design)
    outline = sheet.getchannel("A").copy()
    left, top, right, bottom = _LABELS[design.shape]
    turn = rng.uniform(-0.22, 0.22) * (right - left) if design.shape in _ROUND else 0.0
    print_layer = sheet.copy()
    _draw_label(ImageDraw.Draw(print_layer), design, (left, top, right, bottom), turn)
    sheet.paste(print_layer, (0, 0), outline)
    shaded = _shaded(sheet.convert("RGB"), round_body=design.shape in _ROUND)
    shaded.putalpha(outline)
    return shaded


def _draw_body(draw: ImageDraw.ImageDraw, design: PackageDesign) -> None:
    body, cap = design.body, design.cap
    match design.shape:
        case Shape.BOX:
            draw.polygon([(152, 24), (172, 12), (172, 206), (152, 222)], fill=_darker(body, 0.6))
            draw.polygon([(6, 24), (28, 12), (172, 12), (152, 24)], fill=cap)
            draw.rectangle((6, 24, 152, 222), fill=body)
        case Shape.CAN:
            draw.ellipse((10, 206, 166, 234), fill=_darker(cap, 0.8))
            draw.rectangle((10, 34, 166, 220), fill=body)
            draw.ellipse((10, 18, 166, 50), fill=cap)
            draw.ellipse((20, 23, 156, 45), fill=_darker(cap, 0.85))
        case Shape.CARTON:
            draw.polygon([(22, 78), (50, 34), (126, 34), (154, 78)], fill=_darker(body, 0.88))
            draw.rectangle((50, 14, 126, 36), fill=_darker(body, 0.95))
            draw.rectangle((22, 78, 154, 232), fill=body)
            draw.ellipse((98, 44, 126, 72), fill=cap)
        case Shape.BOTTLE:
            draw.polygon(
                [(72, 34), (104, 34), (108, 66), (132, 98), (132, 234), (44, 234), (44, 98), (68, 66)], fill=body
            )
            draw.rounded_rectangle((68, 10, 108, 36), 5, fill=cap)
        case Shape.JAR:
            draw.rounded_rectangle((16, 60, 160, 232), 22, fill=body)
            draw.rounded_rectangle((26, 28, 150, 64), 7, fill=cap)


def _draw_label(draw: ImageDraw.ImageDraw, design: PackageDesign, box: Box, turn: float) -> None:
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    draw.rectangle(box, fill=design.label)
    band_top = bottom - 0.2 * height
    draw.rectangle((left, band_top, right, bottom), fill=design.band)
    middle = (left + right) / 2 + turn
    draw.text(
        (middle, top + 0.2 * height),
        design.text,
        font=_fitted_font(design.text, 0.92 * width),
        fill=design.ink,
        anchor="mm",
    )
    _draw_emblem(draw, design.emblem, (middle, top + 0.57 * height), 0.19 * min(width, height), design.ink)


def _draw_emblem(
    draw: ImageDraw.ImageDraw, emblem: Emblem, at: tuple[float, float], radius: float, ink: Colour
) -> None:
    x, y = at
    around = (x - radius, y - radius, x + radius, y + radius)
    match emblem:
        case Emblem.DISC:
            draw.ellipse(around, fill=ink)
        case Emblem.RING:
            draw.ellipse(around, outline=ink, width=max(2, round(0.35 * radius)))
        case Emblem.LEAF:
            draw.chord((x - 1.6 * radius, y - 0.4 * radius, x + 1.2 * radius, y + 2.4 * radius), 215, 325, fill=ink)
            draw.chord((x - 1.2 * radius, y - 2.4 * radius, x + 1.6 * radius, y + 0.4 * radius), 35, 145, fill=ink)
        case Emblem.STAR:
            draw.polygon(_star(at, radius), fill=ink)
        case Emblem.HEXAGON:
            draw.regular_polygon((x, y, radius), 6, fill=ink)
        case Emblem.DROP:
            draw.polygon([(x, y - 1.4 * radius), (x - 0.75 * radius, y), (x + 0.75 * radius, y)], fill=ink)
            draw.ellipse((x - 0.8 * radius, y - 0.5 * radius, x + 0.8 * radius, y + 1.1 * radius), fill=ink)
        case Emblem.WAVES:
            for row in (-0.5, 0.5):
                draw.arc(
                    (x - 1.6 * radius, y + (row - 0.5) * radius, x, y + (row + 0.5) * radius),
                    180,
                    360,
                    fill=ink,
                    width=4,
                )
                draw.arc(
                    (x, y + (row - 0.5) * radius, x + 1.6 * radius, y + (row + 0.5) * radius), 0, 180, fill=ink, width=4
                )


def _star(at: tuple[float, float], radius: float) -> list[tuple[float, float]]:
    corners = []
    for step in range(10):
        reach = radius * (1.25 if step % 2 == 0 else 0.52)
        angle = math.pi * (step / 5 - 0.5)
        corners.append((at[0] + reach * math.cos(angle), at[1] + reach * math.sin(angle)))
    return corners


def _darker(colour: Colour, factor: float) -> Colour:
    red, green, blue = (int(channel * factor) for channel in colour)
    return red, green, blue


@functools.lru_cache(maxsize=64)
def _fitted_font(text: str, width: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font, as large as the label allows."""
    from PIL import ImageFont

    size = 40
    while size > 10 and ImageFont.load_default(size).getlength(text) > width:
        size -= 2
    return ImageFont.load_default(size)


@functools.lru_cache(maxsize=2)
def _light_across(round_body: bool) -> Image.Image:
    """How much light each column gets: a flat front, or a cylinder lit from the upper left."""
    from PIL import Image

    row = bytearray()
    for column in range(WIDTH):
        across = (column / WIDTH - 0.4) * 2
        row.append(int(255 * (1 - 0.55 * min(1.0, abs(across)) ** 2)) if round_body else 250)
    strip = Image.frombytes("L", (WIDTH, 1), bytes(row)).resize((WIDTH, HEIGHT))
    return Image.merge("RGB", (strip, strip, strip))


def _shaded(picture: Image.Image, *, round_body: bool) -> Image.Image:
    from PIL import ImageChops

    return ImageChops.multiply(picture, _light_across(round_body))
