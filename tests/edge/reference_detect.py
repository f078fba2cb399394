"""What a detector's outputs mean, written down slowly: plain loops over the definitions, standard library only.

Nothing here shares code or arithmetic tricks with `edge.postprocess.detect`. Arrays come as lists of rows, in one
orientation; which orientations a model may have is no part of the meaning.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

from edge.bundle.manifest import Activation, BoxFormat, StageSpec
from edge.types import Geometry

Corners = tuple[float, float, float, float]
Candidate = tuple[Corners, float, int]  # corners, score, class
Rows = Sequence[Sequence[float]]


def as_float32(value: float) -> float:
    """The nearest number that float32 has."""
    return struct.unpack("<f", struct.pack("<f", value))[0]


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))


def activated(row: Sequence[float], activation: Activation, temperature: float) -> list[float]:
    """All scores of one place."""
    if activation is Activation.NONE:
        return [min(1.0, max(0.0, value)) for value in row]
    scaled = [value / temperature for value in row]
    if activation is Activation.SIGMOID:
        return [sigmoid(value) for value in scaled]
    total = sum(math.exp(value) for value in scaled)
    return [math.exp(value) / total for value in scaled]


def best_of(scores: Sequence[float], first_class: int) -> tuple[float, int]:
    """Score and position of the best class; the first of equals."""
    named = list(scores)[first_class:]
    return max(named), named.index(max(named))


def corners(box: Sequence[float], stage: StageSpec) -> Corners:
    """Model pixels."""
    a, b, c, d = box
    match stage.detect.box_format:
        case BoxFormat.XYXY:
            left, top, right, bottom = a, b, c, d
        case BoxFormat.YXYX:
            top, left, bottom, right = a, b, c, d
        case BoxFormat.CXCYWH:
            left, top, right, bottom = a - c / 2, b - d / 2, a + c / 2, b + d / 2
    if stage.detect.normalised:
        width, height = stage.preprocess.width, stage.preprocess.height
        return (left * width, top * height, right * width, bottom * height)
    return (left, top, right, bottom)


def yolo(
    boxes: Rows,
    class_scores: Rows,
    stage: StageSpec,
    activation: Activation = Activation.NONE,
    temperature: float = 1.0,
) -> list[Candidate]:
    """One candidate for each place."""
    found = []
    for box, row in zip(boxes, class_scores, strict=True):
        score, position = best_of(activated(row, activation, temperature), stage.detect.first_class)
        found.append((corners(box, stage), as_float32(score), position))
    return found


def grid(cells: Sequence[Rows], stage: StageSpec, activation: Activation = Activation.NONE) -> list[Candidate]:
    """One candidate for each cell; `cells[y][x]` holds objectness, dx, dy, w, h, classes."""
    found = []
    for y, row in enumerate(cells):
        for x, (objectness, dx, dy, w, h, *classes) in enumerate(row):
            sure = objectness if activation is Activation.NONE else sigmoid(objectness)
            best, position = best_of(activated(classes, activation, 1.0), stage.detect.first_class)
            score = as_float32(as_float32(sure) ** 0.6 * as_float32(best) ** 0.4)
            centre_x, centre_y = (x + math.tanh(dx)) / len(row), (y + math.tanh(dy)) / len(cells)
            width, height = sigmoid(w), sigmoid(h)
            box = (
                (centre_x - width / 2) * stage.preprocess.width,
                (centre_y - height / 2) * stage.preprocess.height,
                (centre_x + width / 2) * stage.preprocess.width,
                (centre_y + height / 2) * stage.preprocess.height,
            )
            found.append((box, score, position))
    return found


def chosen(boxes: Rows, scores: Sequence[float], numbers: Sequence[float], stage: StageSpec) -> list[Candidate]:
    """Rows of a head that chose by itself."""
    return [
        (corners(box, stage), as_float32(min(1.0, max(0.0, score))), round(number) - stage.detect.first_class)
        for box, score, number in zip(boxes, scores, numbers, strict=True)
    ]


def in_picture(box: Corners, geometry: Geometry) -> Corners | None:
    """Clipped to the picture, or None where nothing of it is left."""
    left, right = (box[at] * geometry.scale_x + geometry.offset_x for at in (0, 2))
    top, bottom = (box[at] * geometry.scale_y + geometry.offset_y for at in (1, 3))
    left, right = (min(max(edge, 0.0), float(geometry.picture_width)) for edge in (left, right))
    top, bottom = (min(max(edge, 0.0), float(geometry.picture_height)) for edge in (top, bottom))
    return (left, top, right, bottom) if right > left and bottom > top else None


def overlap(one: Corners, other: Corners) -> float:
    """Intersection over union."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / (areas[0] + areas[1] - width * height)


def in_the_way(found: Candidate, other: Candidate, stage: StageSpec) -> bool:
    """Whether what is found suppresses the other."""
    same = stage.detect.class_agnostic or found[2] == other[2]
    return same and overlap(found[0], other[0]) > stage.detect.iou_threshold


def seen(candidates: Sequence[Candidate], geometry: Geometry) -> list[Candidate]:
    """In picture pixels, without what has no area there."""
    mapped = [(in_picture(box, geometry), score, position) for box, score, position in candidates]
    return [item for item in mapped if item[0] is not None]


def split(candidates: Sequence[Candidate], stage: StageSpec) -> tuple[list[Candidate], list[Candidate]]:
    """At or above the threshold, best first; and below it."""
    threshold = as_float32(stage.detect.score_threshold)
    above = [item for item in candidates if item[1] >= threshold]
    below = [item for item in candidates if item[1] < threshold]
    return sorted(above, key=lambda item: -item[1]), below


def answer(
    candidates: Sequence[Candidate], stage: StageSpec, geometry: Geometry, *, suppressing: bool, num_labels: int
) -> tuple[list[Candidate], float]:
    """What is reported, and the nearest miss."""
    left, misses = split(seen(candidates, geometry), stage)
    if not suppressing:
        named = [item for item in misses if 0 <= item[2] < num_labels]
        return left[: stage.detect.max_detections], max((item[1] for item in named), default=0.0)
    found: list[Candidate] = []
    while left and len(found) < stage.detect.max_detections:
        found.append(left.pop(0))
        left = [item for item in left if not in_the_way(found[-1], item, stage)]
    free = [item[1] for item in misses if not any(in_the_way(one, item, stage) for one in found)]
    return found, max(free, default=0.0)
