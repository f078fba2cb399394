"""What the outputs of a foreign detector hold: told, or seen in their names, shapes and values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from converters.foreign.answers import list_outputs, told_outputs
from converters.foreign.input_side import ULTRALYTICS
from converters.foreign.inspect import ForeignModel
from converters.foreign.told import Finding, Source, Told
from edge.bundle.manifest import Activation, BoxFormat, Decoder, DetectSpec, OutputKind, OutputSpec
from edge.errors import UsageError

if TYPE_CHECKING:
    from converters.foreign.answers import Runs
    from edge.types import FloatArray

_SSD_NAME = "TFLite_Detection_PostProcess"
_SSD_ORDER = (OutputKind.BOXES, OutputKind.CLASSES, OutputKind.SCORES, OutputKind.COUNT)
# A model that chooses its boxes itself gives a few hundred; heads that leave it to others give thousands.
_MOST_CHOSEN = 1000
_GRID_BEFORE_CLASSES = 5
_SCORE_THRESHOLDS = {Decoder.SSD: 0.5, Decoder.GRID: 0.6}


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorSide:
    """The output side of a detector.

    Attributes:
        detect: How outputs become boxes.
        outputs: What they hold.
        num_classes: For how many classes they have room; None where a class is only a number in them.
        findings: Where all this comes from.
    """

    detect: DetectSpec
    outputs: tuple[OutputSpec, ...]
    num_classes: int | None
    findings: list[Finding]


def detector_side(model: ForeignModel, told: Told, runs: Runs, label_counts: tuple[int, ...]) -> DetectorSide:
    """Finds a detector's head.

    Args:
        model: What the file says.
        told: What the person says.
        runs: From `probe`.
        label_counts: Numbers of classes that the label file may stand for, likeliest first.

    Raises:
        UsageError: The head is none that is known, or it may be two; names the flag.
    """
    kinds = told_outputs(model, told, runs) or _kinds(model, told, runs, label_counts)
    decoder = _decoder(model, told, kinds)
    arrays = {kind: runs[-1][name] for name, kind in kinds.items()}
    box_format, normalised = _boxes(model, told, decoder, arrays)
    activation = told.activation or _activation(decoder, arrays)
    outputs = tuple(
        OutputSpec(
            name=name,
            kind=kind,
            shape=tuple(int(size) for size in runs[0][name].shape),
            activation=activation if kind in _SCORED else Activation.NONE,
        )
        for name, kind in kinds.items()
    )
    detect = _spec(told, decoder, box_format, normalised=normalised)
    num_classes = _num_classes(decoder, arrays)
    findings = _findings(model, told, detect, outputs, activation)
    return DetectorSide(detect=detect, outputs=outputs, num_classes=num_classes, findings=findings)


_SCORED = (OutputKind.SCORES, OutputKind.BOXES_SCORES, OutputKind.GRID)


def _kinds(model: ForeignModel, told: Told, runs: Runs, label_counts: tuple[int, ...]) -> dict[str, OutputKind]:
    shapes = {name: array.shape for name, array in runs[0].items()}
    if len(shapes) == 4:
        return _ssd_kinds(model, runs)
    if len(shapes) == 2:
        return _pair_kinds(model, runs)
    if len(shapes) == 1:
        name, shape = next(iter(shapes.items()))
        return {name: _single_kind(model, told, shape, label_counts)}
    raise _unknown(model, runs)


def _ssd_kinds(model: ForeignModel, runs: Runs) -> dict[str, OutputKind]:
    """By name where TFLite's own operator is the last; else by shapes, and by classes being whole numbers."""
    names = list(runs[0])
    plain = [_SSD_NAME, *(f"{_SSD_NAME}:{number}" for number in (1, 2, 3))]
    if set(names) == set(plain):
        return dict(zip(plain, _SSD_ORDER, strict=True))
    boxes = [name for name in names if runs[0][name].ndim == 3 and runs[0][name].shape[-1] == 4]
    count = [name for name in names if runs[0][name].size == 1]
    rows = [name for name in names if name not in (*boxes, *count) and runs[0][name].ndim == 2]
    whole = [name for name in rows if all((run[name] == run[name].round()).all() for run in runs)]
    if not (len(boxes) == len(count) == len(whole) == 1 and len(rows) == 2):
        raise _unknown(model, runs)
    scores = next(name for name in rows if name not in whole)
    return dict(zip((boxes[0], whole[0], scores, count[0]), _SSD_ORDER, strict=True))


def _pair_kinds(model: ForeignModel, runs: Runs) -> dict[str, OutputKind]:
    """Boxes and scores of the same places, either way round."""
    shapes = {name: array.shape for name, array in runs[0].items() if array.ndim == 3}
    boxes = [name for name, shape in shapes.items() if 4 in shape[1:]]
    if len(shapes) != 2 or not boxes:
        raise _unknown(model, runs)
    if len(boxes) == 2:
        raise UsageError(
            f"{model.name}: which output holds the boxes? It has {list_outputs(runs)}",
            hint="add --output NAME=boxes and --output NAME=scores",
        )
    scores = next(name for name in shapes if name != boxes[0])
    return {boxes[0]: OutputKind.BOXES, scores: OutputKind.SCORES}


def _single_kind(model: ForeignModel, told: Told, shape: tuple[int, ...], label_counts: tuple[int, ...]) -> OutputKind:
    if len(shape) == 4:
        return OutputKind.GRID
    if len(shape) != 3:
        raise UsageError(f"{model.name}: output {list(shape)} is not that of a detector that is known")
    chosen = shape[2] == 6 and shape[1] <= _MOST_CHOSEN
    raw = any(count + 4 in shape[1:] for count in label_counts) or not label_counts
    if told.decoder is not None:
        return OutputKind.DETECTIONS if told.decoder is Decoder.END_TO_END else OutputKind.BOXES_SCORES
    if chosen and not (raw and label_counts):
        return OutputKind.DETECTIONS
    if raw and not chosen:
        return OutputKind.BOXES_SCORES
    if chosen:
        raise UsageError(
            f"{model.name}: output {list(shape)} may be six numbers a box, or four and two classes",
            hint="add --decoder end_to_end or --decoder yolo",
        )
    raise UsageError(
        f"{model.name}: output {list(shape)} has no side of 4 and {' or '.join(map(str, label_counts))} classes",
        hint="give the label file that belongs to this model; heads with an objectness beside the classes are not read",
    )


def _decoder(model: ForeignModel, told: Told, kinds: Mapping[str, OutputKind]) -> Decoder:
    if told.decoder is not None:
        return told.decoder
    found = set(kinds.values())
    if OutputKind.GRID in found:
        return Decoder.GRID
    if OutputKind.DETECTIONS in found:
        return Decoder.END_TO_END
    if OutputKind.CLASSES in found:
        return Decoder.SSD
    if OutputKind.BOXES_SCORES in found or found >= {OutputKind.BOXES, OutputKind.SCORES}:
        return Decoder.YOLO
    raise UsageError(
        f"{model.name}: a detector's boxes do not come from {', '.join(kind.value for kind in kinds.values())}",
        hint="name its outputs with --output NAME=KIND, and its --decoder",
    )


def _boxes(
    model: ForeignModel, told: Told, decoder: Decoder, arrays: Mapping[OutputKind, FloatArray]
) -> tuple[BoxFormat, bool]:
    """Box format, and whether boxes are in 0 to 1: told, or seen in the boxes of a noisy picture."""
    if decoder is Decoder.GRID:
        return told.box_format or BoxFormat.CXCYWH, True if told.normalised is None else told.normalised
    if decoder is Decoder.SSD:
        return told.box_format or BoxFormat.YXYX, True if told.normalised is None else told.normalised
    boxes = _box_rows(arrays)
    normalised = bool(abs(boxes).max() <= 2) if told.normalised is None else told.normalised
    ordered = bool(((boxes[:, 2] >= boxes[:, 0]) & (boxes[:, 3] >= boxes[:, 1])).all())
    found = BoxFormat.XYXY if ordered or decoder is Decoder.END_TO_END else BoxFormat.CXCYWH
    return told.box_format or found, normalised


def _box_rows(arrays: Mapping[OutputKind, FloatArray]) -> FloatArray:
    """(N, 4) of whatever output holds boxes: the longer side counts places."""
    kinds = (OutputKind.BOXES, OutputKind.BOXES_SCORES, OutputKind.DETECTIONS)
    table = next(arrays[kind] for kind in kinds if kind in arrays)[0]
    if OutputKind.DETECTIONS not in arrays and table.shape[0] < table.shape[1]:
        table = table.T
    rows: FloatArray = table[:, :4]
    return rows


def _activation(decoder: Decoder, arrays: Mapping[OutputKind, FloatArray]) -> Activation:
    """Scores outside of 0 and 1 have not been through a sigmoid yet."""
    if decoder is Decoder.GRID:
        scores = arrays[OutputKind.GRID][:, [0]]
    elif OutputKind.BOXES_SCORES in arrays:
        table = arrays[OutputKind.BOXES_SCORES][0]
        scores = (table.T if table.shape[0] < table.shape[1] else table)[:, 4:]
    elif OutputKind.SCORES in arrays:
        scores = arrays[OutputKind.SCORES]
    else:
        return Activation.NONE
    return Activation.NONE if float(scores.min()) >= 0 and float(scores.max()) <= 1 else Activation.SIGMOID


def _spec(told: Told, decoder: Decoder, box_format: BoxFormat, *, normalised: bool) -> DetectSpec:
    plain = DetectSpec(decoder=decoder)
    threshold = _SCORE_THRESHOLDS.get(decoder, plain.score_threshold)
    return DetectSpec(
        decoder=decoder,
        box_format=box_format,
        normalised=normalised,
        score_threshold=threshold if told.score_threshold is None else told.score_threshold,
        iou_threshold=plain.iou_threshold if told.iou_threshold is None else told.iou_threshold,
        max_detections=told.max_detections or plain.max_detections,
        class_agnostic=told.class_agnostic,
        first_class=told.first_class or 0,
    )


def _num_classes(decoder: Decoder, arrays: Mapping[OutputKind, FloatArray]) -> int | None:
    if decoder is Decoder.GRID:
        return int(arrays[OutputKind.GRID].shape[1]) - _GRID_BEFORE_CLASSES
    if OutputKind.BOXES_SCORES in arrays:
        return int(min(arrays[OutputKind.BOXES_SCORES].shape[1:])) - 4
    if decoder is Decoder.YOLO and arrays[OutputKind.SCORES].ndim == 3:
        boxes, scores = arrays[OutputKind.BOXES].shape[1:], arrays[OutputKind.SCORES].shape[1:]
        places = next(size for size in boxes if size != 4 or boxes == (4, 4))
        return int(scores[0] if scores[1] == places else scores[1])
    return None


def _findings(
    model: ForeignModel, told: Told, detect: DetectSpec, outputs: tuple[OutputSpec, ...], activation: Activation
) -> list[Finding]:
    def source(given: object, found: Source) -> Source:
        return found if given is None else Source.FLAG

    fixed = detect.decoder in (Decoder.GRID, Decoder.SSD)
    seen = Source.ASSUMED if fixed else Source.RUN
    found = [
        Finding(
            what="output",
            value=f"{output.name} {list(output.shape)} {output.kind.value}",
            source=Source.FLAG if told.outputs else Source.FILE,
        )
        for output in outputs
    ]
    found.append(Finding(what="decoder", value=detect.decoder.value, source=source(told.decoder, Source.FILE)))
    if detect.decoder is not Decoder.GRID:
        unit = "0 to 1" if detect.normalised else "pixels"
        found.append(
            Finding(what="boxes", value=f"{detect.box_format.value}, {unit}", source=source(told.box_format, seen))
        )
    found.append(Finding(what="activation", value=activation.value, source=source(told.activation, Source.RUN)))
    threshold = source(told.score_threshold, Source.ASSUMED)
    found.append(Finding(what="threshold", value=f"{detect.score_threshold:g}", source=threshold))
    return found


def _unknown(model: ForeignModel, runs: Runs) -> UsageError:
    return UsageError(
        f"{model.name}: its outputs are not those of a detector that is known: {list_outputs(runs)}",
        hint="name them with --output NAME=KIND (boxes, scores, classes, count, …) and add --decoder",
    )


def wants_letterbox(model: ForeignModel, decoder: Decoder) -> bool:
    """Whether models of this kind are usually trained on whole pictures with a grey border."""
    return decoder in (Decoder.YOLO, Decoder.END_TO_END) or ULTRALYTICS in model.metadata.author.lower()
