"""Draws an answer onto its picture, for people: boxes with labels and scores, the decision, a legend of counts.

Nothing is told by colour alone: every box carries its label, decisions are written out, and the boxes of things to be
confirmed are dashed, those of unknown things dotted. Small pictures are enlarged and large ones reduced, so that the
writing is legible at any size.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

from edge.drawing.lettering import SYSTEM_FONTS, lettering
from edge.drawing.marks import NEUTRAL, Mark, Rgb, draw_marks
from edge.drawing.strip import GROUND, Strip, StripText
from edge.errors import UsageError
from edge.image.decode import DEFAULT_LIMITS, DecodeLimits
from edge.image.orientation import turned
from edge.image.picture import open_picture
from edge.types import Box, Counts, DecisionReason, Detections, Inference, Outcome
from edge.wording import UNKNOWN, counted, crop_label, crop_score, details, percent, summary

if TYPE_CHECKING:
    from PIL import Image as PilImage

    from edge.types import Image

# Of the longer side. A picture with many boxes is enlarged further, so that their labels have room.
SHORTEST, SHORTEST_CROWDED, LONGEST = 640, 1280, 1600
NARROWEST = 480
KINDS = ("JPEG", "PNG")
# So many boxes and more get smaller letters.
CROWD = 25
# Okabe and Ito's colours (Color Universal Design, 2008), told apart with any kind of colour vision.
_COLOURS: tuple[Rgb, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)


def annotate(
    image: Image,
    inference: Inference,
    *,
    kind: str = "JPEG",
    limits: DecodeLimits = DEFAULT_LIMITS,
    name: str = "",
    system_fonts: tuple[str, ...] = SYSTEM_FONTS,
) -> bytes:
    """Draws an answer onto its picture.

    Args:
        image: The picture that was answered for: encoded bytes, a path, or uint8 (H, W, 3) RGB or (H, W) grey.
        inference: The answer.
        kind: `JPEG` or `PNG`.
        limits: What the picture may cost.
        name: What errors call it; by default the path.
        system_fonts: Fonts to try where a label needs more letters than Pillow's own has.

    Returns:
        The encoded drawing: the upright picture with boxes, and below it a strip with the decision and a legend. Its
        longer side has 640 to 1600 pixels, not counting the strip.

    Raises:
        ImageError: The picture cannot be used.
        UsageError: No such kind.
    """
    from PIL import Image as PilImage
    from PIL import ImageDraw

    if kind not in KINDS:
        raise UsageError(f"drawings are {' or '.join(KINDS)}, not {kind}")
    crowded = sum(number for _, number in counted(inference.prediction)) >= CROWD
    picture, scale = _upright(image, limits, name, SHORTEST_CROWDED if crowded else SHORTEST)
    colours = _colours(inference)
    text = _strip_text(inference, colours)
    size = max(14, round(max(picture.size) / 50))
    strip = Strip(
        text=text,
        letters=lettering(size, text.texts(), system_fonts=system_fonts),
        width=max(NARROWEST, picture.width),
    )
    canvas = PilImage.new("RGB", (strip.width, picture.height + strip.height), GROUND)
    left = (strip.width - picture.width) // 2
    canvas.paste(picture, (left, 0))
    marks = list(_marks(inference, colours, scale, left))
    small = size * 3 // 4 if crowded else size
    letters = lettering(small, (mark.label for mark in marks), system_fonts=system_fonts)
    draw_marks(ImageDraw.Draw(canvas), marks, letters, (strip.width, picture.height), crowded=crowded)
    strip.draw(ImageDraw.Draw(canvas), picture.height)
    return _encoded(canvas, kind)


def _encoded(canvas: PilImage.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    canvas.save(buffer, format=kind, quality=90)
    return buffer.getvalue()


def _upright(image: Image, limits: DecodeLimits, name: str, shortest: int) -> tuple[PilImage.Image, float]:
    """The picture in the size of the drawing, and drawing pixels for each picture pixel."""
    from PIL.Image import Resampling

    picture = open_picture(image, limits=limits, name=name)
    longer = max(picture.size)
    scale = min(max(longer, shortest), LONGEST) / longer
    stored, _ = picture.pixels(1 / scale)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    filter_ = Resampling.BILINEAR if scale < 2 else Resampling.NEAREST
    return turned(stored, picture.turn).resize((width, height), filter_), scale


def _colours(inference: Inference) -> dict[str, Rgb]:
    """One colour for each label in the picture, most frequent first; unknown things are grey."""
    labels = [label for label, _ in counted(inference.prediction) if label != UNKNOWN]
    return {label: _COLOURS[position % len(_COLOURS)] for position, label in enumerate(labels)}


def _marks(inference: Inference, colours: dict[str, Rgb], scale: float, left: int) -> Iterator[Mark]:
    """One mark for each thing in the picture, the surest last, so that it lies on top."""
    match inference.prediction:
        case Detections(items=items):
            for item in reversed(items):
                yield Mark(
                    area=_area(item.box, scale, left),
                    label=item.label,
                    score=percent(item.score),
                    colour=colours[item.label],
                    outcome=Outcome.ACCEPT,
                )
        case Counts(items=counted_items):
            for one in reversed(counted_items):
                outcome = one.decision.outcome
                yield Mark(
                    area=_area(one.detection.box, scale, left),
                    label=crop_label(one.answers, outcome),
                    score=crop_score(one.answers, outcome),
                    colour=colours.get(one.label, NEUTRAL),
                    outcome=outcome,
                )
        case _:
            return


def _area(box: Box, scale: float, left: int) -> tuple[float, float, float, float]:
    return box.left * scale + left, box.top * scale, box.right * scale + left, box.bottom * scale


def _strip_text(inference: Inference, colours: dict[str, Rgb]) -> StripText:
    decision, prediction = inference.decision, inference.prediction
    legend = tuple((f"{number} x {label}", colours.get(label, NEUTRAL)) for label, number in counted(prediction))
    return StripText(
        outcome=decision.outcome,
        reason=decision.reason.value.replace("_", " "),
        summary="" if legend or decision.reason is DecisionReason.NOTHING_FOUND else summary(prediction),
        legend=legend,
        details=details(prediction),
    )
