"""Writes the golden vectors of detectors, with the slow definitions of `reference_detect`.

    python tests/edge/make_detect_vectors.py [FOLDER]

Inputs are drawn with integer arithmetic only; expected numbers are rounded far below the tolerance, so that the files
are the same wherever they are made.
"""

from __future__ import annotations

import base64
import dataclasses
import math
import struct
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import reference_detect as reference

from device_tests.detections import DETECT_VECTORS, DetectVector
from device_tests.vector_arrays import VectorArray
from edge.bundle.manifest import (
    Activation,
    BoxFormat,
    CropPolicy,
    Decoder,
    DetectSpec,
    OutputKind,
    OutputSpec,
    PreprocessSpec,
    StageSpec,
    Task,
)
from edge.jsonvalue import pretty_bytes
from edge.types import Box, Detection, Detections, Geometry

LABELS = ("person", "bicycle", "traffic light")
SIDE = 320
LETTERBOX = Geometry(picture_width=1280, picture_height=720, scale_x=4, scale_y=4, offset_x=0, offset_y=-280)
STRETCH = Geometry(picture_width=500, picture_height=375, scale_x=1.5625, scale_y=1.171875, offset_x=0, offset_y=0)
CENTRE = Geometry(picture_width=1280, picture_height=720, scale_x=2.25, scale_y=2.25, offset_x=280, offset_y=0)
OPERATOR = "TFLite_Detection_PostProcess"


class Dice:
    """Numbers that every machine draws alike."""

    def __init__(self, seed: int) -> None:
        self.state = seed * 7919 + 1

    def draw(self, low: float, high: float) -> float:
        """One of 4,096 steps from low to high."""
        self.state = (self.state * 1103515245 + 12345) % 2**31
        return reference.as_float32(low + (high - low) * ((self.state >> 16) % 4096) / 4096)

    def row(self, count: int, low: float, high: float) -> list[float]:
        """Several."""
        return [self.draw(low, high) for _ in range(count)]


def array(name: str, shape: Sequence[int], values: Sequence[float]) -> VectorArray:
    """One output."""
    data = struct.pack(f"<{len(values)}f", *values)
    return VectorArray(name=name, shape=tuple(shape), values=base64.b64encode(data).decode())


def rows(name: str, table: reference.Rows) -> VectorArray:
    """(1, rows, columns)."""
    return array(name, (1, len(table), len(table[0])), [value for row in table for value in row])


def columns(name: str, table: reference.Rows) -> VectorArray:
    """(1, columns, rows)."""
    return rows(name, list(zip(*table, strict=True)))


def stage(decoder: Decoder, outputs: Sequence[tuple[VectorArray, OutputKind]], **changes: object) -> StageSpec:
    """A stage with these outputs; `activation` and `temperature` go to those with scores."""
    activation = changes.pop("activation", Activation.NONE)
    temperature = changes.pop("temperature", 1.0)
    specs = []
    for item, kind in outputs:
        spec = OutputSpec(name=item.name, kind=kind, shape=item.shape)
        if kind in (OutputKind.SCORES, OutputKind.BOXES_SCORES, OutputKind.GRID):
            spec = dataclasses.replace(spec, activation=activation, temperature=temperature)
        specs.append(spec)
    return StageSpec(
        name="detect",
        preprocess=PreprocessSpec(width=SIDE, height=SIDE, crop=CropPolicy.LETTERBOX),
        outputs=tuple(specs),
        artifacts=(),
        task=Task.DETECT,
        detect=DetectSpec(decoder=decoder, **changes),
    )


def vector(
    about: str,
    outputs: Sequence[VectorArray],
    made: StageSpec,
    candidates: Sequence[reference.Candidate] | None = None,
    *,
    geometry: Geometry = LETTERBOX,
    labels: Sequence[str] = LABELS,
    refused: str = "",
) -> DetectVector:
    """With the answer of the definition, or the words of the refusal."""
    found = None
    if candidates is not None:
        suppressing = made.detect.decoder in (Decoder.YOLO, Decoder.GRID)
        found = detections(
            *reference.answer(candidates, made, geometry, suppressing=suppressing, num_labels=len(labels)), labels
        )
    return DetectVector(
        kind="detect",
        about=about,
        outputs=tuple(outputs),
        stage=made,
        labels=tuple(labels),
        geometry=geometry,
        detections=found,
        refused=refused,
    )


def detections(found: Sequence[reference.Candidate], miss: float, labels: Sequence[str]) -> Detections:
    """Rounded."""
    items = []
    for box, score, at in found:
        left, top, right, bottom = (round(edge, 6) for edge in box)
        edges = Box(left=left, top=top, right=right, bottom=bottom)
        items.append(Detection(box=edges, label=labels[at], index=at, score=round(score, 9)))
    return Detections(items=tuple(items), nearest_miss=round(miss, 9))


def crowd(seed: int, count: int, *, low: float = 0.0, high: float = 1.0) -> tuple[list[list[float]], list[list[float]]]:
    """Corner boxes in heaps over and beyond the model's input, and scores of three classes."""
    dice = Dice(seed)
    boxes = []
    for at in range(count):
        left, top = (at % 7) * 45 + dice.draw(-20, 20), (at % 5) * 60 + dice.draw(-20, 20)
        boxes.append([left, top, left + dice.draw(20, 90), top + dice.draw(20, 90)])
    boxes = [[reference.as_float32(edge) for edge in box] for box in boxes]
    return boxes, [dice.row(len(LABELS), low, high) for _ in range(count)]


def centred(boxes: reference.Rows, *, unit: float = 1.0) -> list[list[float]]:
    """Corner boxes as centre and size."""
    changed = [[(a + c) / 2 / unit, (b + d) / 2 / unit, (c - a) / unit, (d - b) / unit] for a, b, c, d in boxes]
    return [[reference.as_float32(value) for value in box] for box in changed]


def two_outputs(
    about: str, boxes: reference.Rows, scores: reference.Rows, *, geometry: Geometry = LETTERBOX, **changes: object
) -> DetectVector:
    """YOLO with boxes and scores apart, places first."""
    outputs = [rows("boxes", boxes), rows("scores", scores)]
    made = stage(Decoder.YOLO, list(zip(outputs, (OutputKind.BOXES, OutputKind.SCORES), strict=True)), **changes)
    activation, temperature = made.outputs[1].activation, made.outputs[1].temperature
    return vector(about, outputs, made, reference.yolo(boxes, scores, made, activation, temperature), geometry=geometry)


def yolo_vectors() -> Iterator[tuple[str, DetectVector]]:
    """Boxes and scores for every place."""
    boxes, scores = crowd(1, 60)
    yield "yolo-corners", two_outputs("two outputs, corners, letterbox", boxes, scores)
    yield "yolo-stretched", two_outputs("other scales on both axes", boxes, scores, geometry=STRETCH)
    yield "yolo-centre-crop", two_outputs("boxes may reach out of the crop", boxes, scores, geometry=CENTRE)
    yield "yolo-agnostic", two_outputs("classes suppress each other", boxes, scores, class_agnostic=True)
    yield "yolo-limit", two_outputs("only the best few", boxes, scores, max_detections=5)
    yield "yolo-strict", two_outputs("nothing may overlap", boxes, scores, iou_threshold=0.0)
    yield "yolo-lax", two_outputs("everything may overlap", boxes, scores, iou_threshold=1.0, score_threshold=0.9)
    yield "yolo-nothing", two_outputs("nothing found, one nearly", boxes, scores, score_threshold=1.0)
    dense, logits = crowd(2, 120, low=-5.0, high=3.0)
    yield "yolo-sigmoid", two_outputs("logits with a temperature", dense, logits, activation=Activation.SIGMOID,
                                      temperature=1.5)  # fmt: skip
    yield "yolo-background", softmax_vector()
    yield "yolo-edges", two_outputs("no area, padding, outside, clipped", *edge_cases(), score_threshold=0.5)
    yield "yolo-ties", two_outputs("equal scores keep their order, exactly the threshold is allowed", *ties())
    yield from orientation_vectors()


def softmax_vector() -> DetectVector:
    """The first column is the background."""
    dice = Dice(3)
    boxes, _ = crowd(3, 40)
    table = [dice.row(1 + len(LABELS), -3, 3) for _ in boxes]
    return two_outputs("softmax with a background", boxes, table, activation=Activation.SOFTMAX, first_class=1)


def edge_cases() -> tuple[list[list[float]], list[list[float]]]:
    """Model pixels under LETTERBOX: the picture is 0 to 320 across, 70 to 250 down."""
    boxes = [
        [50, 100, 50, 140],  # no width
        [60, 140, 90, 100],  # upside down
        [10, 5, 60, 65],  # in the padding above
        [10, 250, 60, 300],  # touches the picture from below
        [-80, 100, -5, 160],  # left of it
        [-20, 60, 40, 120],  # clipped on two sides
        [300, 200, 400, 400],  # and on the other two
        [-1e30, -1e30, 1e30, 1e30],  # everything
    ]
    scores = [[0.875 if at == kind % 3 else 0.125 for at in range(3)] for kind in range(len(boxes))]
    return [[reference.as_float32(edge) for edge in box] for box in boxes], scores


def ties() -> tuple[list[list[float]], list[list[float]]]:
    """The second overlaps the first by exactly a half, the third by more; the fourth is weak, the fifth alike."""
    boxes = [[0, 100, 100, 200], [0, 100, 100, 150], [0, 100, 100, 151], [200, 100, 260, 160], [200, 100, 260, 161]]
    scores = [[0.75, 0.75, 0.0], [0.75, 0.0, 0.0], [0.75, 0.0, 0.0], [0.25, 0.0, 0.25], [0.25, 0.0, 0.0]]
    return [[float(edge) for edge in box] for box in boxes], scores


def orientation_vectors() -> Iterator[tuple[str, DetectVector]]:
    """The same crowd in every shape that models give it."""
    boxes, scores = crowd(4, 50)
    middle = centred(boxes)
    unit = centred(boxes, unit=SIDE)
    swapped = [[top, left, bottom, right] for left, top, right, bottom in boxes]
    apart, joint = (OutputKind.BOXES, OutputKind.SCORES), (OutputKind.BOXES_SCORES,)
    whole = [[*box, *row] for box, row in zip(middle, scores, strict=True)]
    unit_whole = [[*box, *row] for box, row in zip(unit, scores, strict=True)]
    best = [[max(row)] for row in scores]
    for name, outputs, kinds, table, row, changes in (
        ("turned", [columns("boxes", middle), columns("scores", scores)], apart, middle, scores,
         {"box_format": BoxFormat.CXCYWH}),
        ("joint-columns", [columns("output0", whole)], joint, middle, scores, {"box_format": BoxFormat.CXCYWH}),
        ("joint-rows", [rows("output0", unit_whole)], joint, unit, scores,
         {"box_format": BoxFormat.CXCYWH, "normalised": True}),
        ("y-first", [rows("boxes", swapped), rows("scores", scores)], apart, swapped, scores,
         {"box_format": BoxFormat.YXYX}),
        ("one-class", [rows("boxes", boxes), array("scores", (1, 50), [row[0] for row in best])], apart, boxes, best,
         {}),
    ):  # fmt: skip
        made = stage(Decoder.YOLO, list(zip(outputs, kinds, strict=True)), **changes)
        labels = LABELS[: len(row[0])]
        yield f"yolo-{name}", vector(name, outputs, made, reference.yolo(table, row, made), labels=labels)


def chosen_vectors() -> Iterator[tuple[str, DetectVector]]:
    """End-to-end heads and SSD."""
    boxes, table = crowd(5, 30)
    scores, numbers = [row[0] for row in table], [float(int(row[1] * 3)) for row in table]
    padded = [[*box, score, number] for box, score, number in zip(boxes, scores, numbers, strict=True)]
    padded += [[0.0] * 6, [0.0, 0.0, 0.0, 0.0, -1.0, -1.0], [1.0, 100.0, 9.0, 120.0, 0.125, 900.0]]
    output = rows("output0", padded)
    made = stage(Decoder.END_TO_END, [(output, OutputKind.DETECTIONS)], max_detections=12)
    candidates = reference.chosen(
        [row[:4] for row in padded], [row[4] for row in padded], [row[5] for row in padded], made
    )
    yield "end-to-end", vector("overlaps stay, padding goes", [output], made, candidates)
    for name, count, first_class in (("ssd", 30, 0), ("ssd-count", 7, 0), ("ssd-first-class", 30, 1)):
        outputs, made = ssd_parts(boxes, scores, [number + first_class for number in numbers], count, first_class)
        meant = [[reference.as_float32(edge / SIDE) for edge in box] for box in boxes[:count]]
        flipped = [[top, left, bottom, right] for left, top, right, bottom in meant]
        candidates = reference.chosen(
            flipped, scores[:count], [number + first_class for number in numbers[:count]], made
        )
        yield name, vector("rows beyond the count mean nothing", outputs, made, candidates, geometry=STRETCH)


def ssd_parts(
    boxes: reference.Rows, scores: Sequence[float], numbers: Sequence[float], count: int, first_class: int = 0
) -> tuple[list[VectorArray], StageSpec]:
    """The four outputs of TensorFlow Lite's operator; NaN where nothing is meant."""
    flipped = [[b / SIDE, a / SIDE, d / SIDE, c / SIDE] for a, b, c, d in boxes]
    lost = [math.nan] * (len(boxes) - count)
    outputs = [
        rows(OPERATOR, flipped[:count] + [[math.nan] * 4 for _ in lost]),
        array(f"{OPERATOR}:1", (1, len(boxes)), [*numbers[:count], *lost]),
        array(f"{OPERATOR}:2", (1, len(boxes)), [*scores[:count], *lost]),
        array(f"{OPERATOR}:3", (1,), [count]),
    ]
    kinds = (OutputKind.BOXES, OutputKind.CLASSES, OutputKind.SCORES, OutputKind.COUNT)
    made = stage(
        Decoder.SSD,
        list(zip(outputs, kinds, strict=True)),
        box_format=BoxFormat.YXYX,
        normalised=True,
        first_class=first_class,
    )
    return outputs, made


def grid_vectors() -> Iterator[tuple[str, DetectVector]]:
    """One grid, in both orders of its axes."""
    dice = Dice(6)
    height, width, channels = 6, 5, 5 + len(LABELS)
    cells = [
        [[dice.draw(0, 1), *dice.row(4, -2, 2), *dice.row(len(LABELS), 0, 1)] for _ in range(width)]
        for _ in range(height)
    ]
    flat = [value for row in cells for cell in row for value in cell]
    across = [cells[y][x][at] for at in range(channels) for y in range(height) for x in range(width)]
    first = array("758", (1, channels, height, width), across)
    last = array("grid", (1, height, width, channels), flat)
    for name, output, activation in (
        ("grid", first, Activation.NONE),
        ("grid-channels-last", last, Activation.NONE),
        ("grid-sigmoid", first, Activation.SIGMOID),
        ("grid-softmax", first, Activation.SOFTMAX),
    ):
        made = stage(Decoder.GRID, [(output, OutputKind.GRID)], activation=activation, score_threshold=0.6)
        yield name, vector("one box a cell", [output], made, reference.grid(cells, made, activation), geometry=STRETCH)


def refused_vectors() -> Iterator[tuple[str, DetectVector]]:
    """What no answer may be made of."""
    boxes, scores = crowd(7, 6)

    def refused(boxes: reference.Rows, scores: reference.Rows, words: str) -> DetectVector:
        made = two_outputs(words, crowd(7, 6)[0], crowd(7, 6)[1])
        outputs = (rows("boxes", boxes), rows("scores", scores))
        return dataclasses.replace(made, outputs=outputs, detections=None, refused=words)

    yield "nan", refused([[math.nan, *boxes[0][1:]], *boxes[1:]], scores, "output 'boxes' holds NaN or infinity")
    yield "infinity", refused(boxes, [[-math.inf] * 3, *scores[1:]], "output 'scores' holds NaN or infinity")
    yield "logits", refused(boxes, [[3.5, 0.0, 0.0], *scores[1:]], "output 'scores' holds a score of 3.5")
    yield "places", refused(boxes, scores[1:], "output 'scores' must be (1, 6, 3) or (1, 3, 6)")
    yield "classes", refused(boxes, [row[1:] for row in scores], "output 'scores' must be (1, 6, 3) or (1, 3, 6)")
    missing = refused(boxes, scores, "output 'scores' is missing, the model gives boxes")
    yield "missing", dataclasses.replace(missing, outputs=missing.outputs[:1])
    for name, number, words in (
        ("unknown-class", 3.0, "the model found class 3, the labels are classes 0 to 2"),
        ("half-class", 1.5, "output 'output0' has 1.5 for a class"),
    ):
        output = rows("output0", [[10.0, 100.0, 50.0, 140.0, 0.75, number]])
        made = stage(Decoder.END_TO_END, [(output, OutputKind.DETECTIONS)])
        yield name, vector(words, [output], made, refused=words)
    outputs, made = ssd_parts(boxes, [0.5] * 6, [0.0] * 6, 6)
    outputs[3] = array(f"{OPERATOR}:3", (1,), [7.0])
    words = f"output '{OPERATOR}:3' counts 7 boxes of 6"
    yield "count", vector(words, outputs, made, refused=words)


def vector_files() -> dict[str, bytes]:
    """Every vector by file name."""
    made = dict([*yolo_vectors(), *chosen_vectors(), *grid_vectors()])
    made |= {f"refused-{name}": item for name, item in refused_vectors()}
    return {f"detect-{name}.json": pretty_bytes(item) for name, item in made.items()}


def write_vectors(folder: Path) -> None:
    """Writes all of them."""
    for name, content in vector_files().items():
        (folder / name).write_bytes(content)


if __name__ == "__main__":
    write_vectors(Path(sys.argv[1]) if len(sys.argv) > 1 else DETECT_VECTORS)
