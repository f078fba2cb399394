"""The picture around a package: shelf and clutter, pose, things in front, light, lens and sensor."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from model_zoo.shelf.packages import HEIGHT, WIDTH, Colour

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

SIDE = 144  # of the finished picture, in pixels


def compose(package: Image.Image, rng: random.Random) -> Image.Image:
    """Takes a picture of one package.

    Args:
        package: RGBA, as `draw_package` makes it.
        rng: Of everything that differs between two pictures.

    Returns:
        RGB, `SIDE` by `SIDE`.
    """
    picture = _background(rng)
    posed = _posed(package, rng)
    free_x, free_y = SIDE - posed.width, SIDE - posed.height
    at = (round(free_x / 2 + rng.uniform(-16, 16)), round(free_y / 2 + rng.uniform(-12, 12)))
    _drop_shadow(picture, posed, at, rng)
    picture.paste(posed, at, posed)
    if rng.random() < 0.7:
        _occlude(picture, rng)
    return _photographed(picture, rng)


def _any_colour(rng: random.Random, low: int = 20, high: int = 235) -> Colour:
    """Any hue, seldom a glaring one."""
    grey, strength = rng.uniform(low, high), rng.uniform(0.15, 0.8)
    red, green, blue = (round(grey + strength * (rng.uniform(low, high) - grey)) for _ in range(3))
    return red, green, blue


def _cloud(rng: random.Random, cells: int, low: int, high: int) -> Image.Image:
    """Smooth random grey, from `cells` by `cells` random levels."""
    from PIL import Image

    levels = bytes(rng.randint(low, high) for _ in range(cells * cells))
    smooth = Image.frombytes("L", (cells, cells), levels).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return Image.merge("RGB", (smooth, smooth, smooth))


def _background(rng: random.Random) -> Image.Image:
    """A wall or the depth of a shelf, boards, other goods, price tags."""
    from PIL import Image, ImageDraw

    base = Image.new("RGB", (SIDE, SIDE), _any_colour(rng, 40, 215))
    picture = Image.blend(base, _cloud(rng, rng.randint(2, 9), 10, 245), rng.uniform(0.15, 0.5))
    draw = ImageDraw.Draw(picture)
    for _ in range(rng.randint(2, 8)):
        _draw_clutter(draw, rng)
    if rng.random() < 0.7:
        _draw_board(draw, rng)
    return picture


def _draw_clutter(draw: ImageDraw.ImageDraw, rng: random.Random) -> None:
    """Something of another brand: an outline with a label and a line or two on it."""
    left, top = rng.uniform(-30, SIDE - 10), rng.uniform(-20, SIDE - 40)
    width, height = rng.uniform(16, 60), rng.uniform(24, 90)
    box = (left, top, left + width, top + height)
    if rng.random() < 0.3:
        draw.ellipse(box, fill=_any_colour(rng))
    else:
        draw.rounded_rectangle(box, rng.randint(0, 8), fill=_any_colour(rng))
    inner = (left + 0.15 * width, top + 0.3 * height, left + 0.85 * width, top + 0.8 * height)
    draw.rectangle(inner, fill=_any_colour(rng))
    for row in range(rng.randint(0, 3)):
        y = inner[1] + 6 + 8 * row
        draw.line((inner[0] + 3, y, inner[2] - 3, y), fill=_any_colour(rng), width=rng.randint(1, 4))


def _draw_board(draw: ImageDraw.ImageDraw, rng: random.Random) -> None:
    top = rng.uniform(0.72, 0.97) * SIDE
    draw.rectangle((0, top, SIDE, top + rng.uniform(6, 18)), fill=_any_colour(rng, 70, 220))
    for _ in range(rng.randint(0, 3)):
        left = rng.uniform(0, SIDE)
        draw.rectangle((left, top + 2, left + rng.uniform(12, 26), top + 12), fill=_any_colour(rng, 180, 250))


def _posed(package: Image.Image, rng: random.Random) -> Image.Image:
    """Seen from a little aside, tilted, nearer or farther."""
    from PIL import Image

    lean, narrow = rng.uniform(-0.09, 0.09) * WIDTH, rng.uniform(0.0, 0.12) * WIDTH
    corners = (-lean, 0, -narrow, HEIGHT, WIDTH + narrow, HEIGHT, WIDTH + lean, 0)
    seen = package.transform((WIDTH, HEIGHT), Image.Transform.QUAD, corners, Image.Resampling.BILINEAR)
    height = rng.uniform(0.5, 0.96) * SIDE
    width = height * WIDTH / HEIGHT * rng.uniform(0.84, 1.08)
    small = seen.resize((round(width), round(height)), Image.Resampling.BILINEAR, reducing_gap=2.0)
    tilt = rng.gauss(0, 9) if rng.random() < 0.85 else rng.uniform(-35, 35)
    return small.rotate(tilt, Image.Resampling.BILINEAR, expand=True)


def _drop_shadow(picture: Image.Image, posed: Image.Image, at: tuple[int, int], rng: random.Random) -> None:
    from PIL import ImageFilter

    strength = rng.uniform(0.1, 0.5)
    shadow = posed.getchannel("A").filter(ImageFilter.BoxBlur(3)).point(lambda level: int(level * strength))
    picture.paste((12, 12, 16), (at[0] + rng.randint(-6, 6), at[1] + rng.randint(1, 5)), shadow)


def _occlude(picture: Image.Image, rng: random.Random) -> None:
    """A neighbour, a tag or a rail in front of part of the package."""
    from PIL import ImageDraw

    draw = ImageDraw.Draw(picture)
    match rng.randrange(4):
        case 0:
            width = rng.uniform(0.12, 0.34) * SIDE
            left = 0 if rng.random() < 0.5 else SIDE - width
            draw.rectangle((left, rng.uniform(0, 40), left + width, SIDE), fill=_any_colour(rng))
        case 1:
            left, top = rng.uniform(20, SIDE - 50), rng.uniform(20, SIDE - 30)
            draw.rectangle(
                (left, top, left + rng.uniform(18, 40), top + rng.uniform(12, 24)), fill=_any_colour(rng, 120, 250)
            )
        case 2:
            top = rng.uniform(0.55, 0.85) * SIDE
            draw.rectangle((0, top, SIDE, top + rng.uniform(8, 22)), fill=_any_colour(rng, 60, 230))
        case _:
            x, y, radius = rng.uniform(0, SIDE), rng.uniform(0, SIDE), rng.uniform(14, 34)
            draw.ellipse((x - radius, y - radius, x + radius, y + 1.6 * radius), fill=_any_colour(rng))


def _photographed(picture: Image.Image, rng: random.Random) -> Image.Image:
    lit = _lit(picture, rng)
    if rng.random() < 0.25:
        _glare(lit, rng)
    return _sensed(_blurred(lit, rng), rng)


def _lit(picture: Image.Image, rng: random.Random) -> Image.Image:
    """Uneven, tinted light; too little or too much of it."""
    from PIL import Image, ImageChops

    uneven = ImageChops.multiply(picture, _cloud(rng, rng.randint(2, 3), rng.randint(110, 200), 255))
    gain = rng.uniform(0.6, 1.5)
    tint = [gain * rng.uniform(0.85, 1.15) for _ in range(3)]
    lift = rng.uniform(-14, 22)
    table = [min(255, max(0, round(level * factor + lift))) for factor in tint for level in range(256)]
    lit = uneven.point(table)
    grey = lit.convert("L").convert("RGB")
    return Image.blend(lit, grey, rng.uniform(0.0, 0.6))


def _glare(picture: Image.Image, rng: random.Random) -> None:
    from PIL import Image, ImageDraw, ImageFilter

    veil = Image.new("L", (SIDE // 4, SIDE // 4), 0)
    x, y = rng.uniform(6, 30), rng.uniform(4, 28)
    ImageDraw.Draw(veil).ellipse((x - 5, y - 3, x + 5, y + 8), fill=rng.randint(120, 230))
    picture.paste((255, 255, 250), (0, 0), veil.filter(ImageFilter.GaussianBlur(2)).resize((SIDE, SIDE)))


def _blurred(picture: Image.Image, rng: random.Random) -> Image.Image:
    """Out of focus, or moved sideways."""
    from PIL import Image, ImageFilter

    kind = rng.random()
    if kind < 0.55:
        return picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.0, 2.6)))
    if kind < 0.75:
        narrow = max(16, round(SIDE / rng.uniform(1.5, 5.0)))
        return picture.resize((narrow, SIDE), Image.Resampling.BOX).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return picture


def _sensed(picture: Image.Image, rng: random.Random) -> Image.Image:
    """The sensor's noise."""
    from PIL import Image

    noise = Image.frombytes("RGB", (SIDE, SIDE), rng.randbytes(3 * SIDE * SIDE))
    return Image.blend(picture, noise, rng.uniform(0.0, 0.12))
