"""Chooses golden pictures and records what each model must say about them."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edge.backends.base import InferenceBackend
from edge.backends.select import open_backend
from edge.bundle.golden import GoldenOutput, GoldenSet, GoldenVector, pack_values
from edge.bundle.manifest import ArtifactSpec, DecisionPolicy, StageSpec, Task
from edge.decide import decide
from edge.errors import BundleError
from edge.postprocess.select import StageFiles, postprocess
from edge.preprocess import preprocess, preprocess_pixels
from edge.types import Classification, Decision, Detections, Matches, Prediction, RawOutputs

if TYPE_CHECKING:
    from edge.types import ByteArray

GOLDEN_FILE = "golden.json"
MAX_COVERING = 250
NUM_HARDEST = 4
# The index is JSON that devices read whole; the outputs of a large detector take megabytes a picture.
MAX_VALUES = 1_500_000
# So many pictures are kept to the last bit; of those beyond, every one in 64 colours, a quarter of the size.
NUM_FULL_COLOUR = 16
FEW_COLOURS = 64
# A golden decision must hold on processors whose last float bits differ, so none may sit this close to a threshold.
SAFE_DISTANCE = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one artifact says about one picture.

    Attributes:
        label: The best class.
        decision: What follows.
        distance: How far the scores are from the nearest threshold or from another best class, in probability.
        labels: Every class that is named, sorted: of a detector, those of all its boxes.
    """

    label: str
    decision: Decision
    distance: float
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenDraft:
    """Golden vectors before they are files.

    Attributes:
        index: Goes into `golden.json`.
        pictures: File name to PNG bytes.
    """

    index: GoldenSet
    pictures: Mapping[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorder:
    """What is needed to say what models answer.

    Attributes:
        stage: How they are run and read.
        labels: Their class names.
        policy: The bundle's thresholds.
        files: What the postprocessing reads.
    """

    stage: StageSpec
    labels: tuple[str, ...]
    policy: DecisionPolicy
    files: StageFiles = field(default_factory=StageFiles)

    def answer(self, prediction: Prediction) -> Answer:
        """What a prediction leads to."""
        found = {item.label for item in prediction.items} if isinstance(prediction, Detections) else set()
        label = prediction.headline.label
        return Answer(
            label=label,
            decision=decide(prediction, self.policy),
            distance=_distance(prediction, self.stage, self.policy),
            labels=tuple(sorted(found or {label})),
        )

    def run(self, backend: InferenceBackend, png: bytes) -> tuple[RawOutputs, Answer]:
        """Outputs and answer for one picture of the model's own size."""
        model_input = preprocess(png, self.stage.preprocess)
        raw = backend.run(model_input.tensor)
        return raw, self.answer(postprocess(raw, self.stage, self.labels, model_input.geometry, files=self.files))


def choose_golden(answers: Sequence[Sequence[Answer]], *, most: int = MAX_COVERING) -> tuple[int, ...]:
    """Picks the pictures that a device checks itself with.

    Pictures on which the artifacts disagree, or whose scores almost touch a threshold, are taken only when there are
    no others. Of the rest: the surest picture of each class, classes in their order of rarity, and the hardest ones.

    Args:
        answers: For each picture, the answer of each artifact.
        most: So many at most.

    Returns:
        Positions, sorted; at least one, and one for each class that is named in a safe picture.
    """
    distance = {i: min(answer.distance for answer in row) for i, row in enumerate(answers)}
    agreed = [i for i, row in enumerate(answers) if len({(a.label, a.decision.outcome) for a in row}) == 1]
    safe = [i for i in agreed if distance[i] >= SAFE_DISTANCE]
    if not safe:
        best = sorted(agreed or distance, key=lambda i: (-distance[i], i))
        return tuple(sorted(best[: min(most, NUM_FULL_COLOUR)]))
    covering = _cover({i: answers[i][0] for i in safe})[:most]
    others = [i for i in safe if i not in covering]
    room = max(NUM_HARDEST, NUM_FULL_COLOUR - NUM_HARDEST - len(covering))
    hardest = sorted(others, key=lambda i: (distance[i], i))[: min(room, most - len(covering))]
    return tuple(sorted([*covering, *hardest]))


def draft_golden(
    recorder: Recorder,
    artifacts: Mapping[ArtifactSpec, Path],
    pictures: Sequence[ByteArray],
    answers: Sequence[Sequence[Answer]],
) -> GoldenDraft:
    """Chooses golden pictures and records what each artifact says about them.

    Args:
        recorder: How the models are run and read.
        artifacts: The model files.
        pictures: uint8 (height, width, 3), of the model's size.
        answers: For each artifact, what it led to for each picture.

    Raises:
        BundleError: A picture does not survive preprocessing unchanged.
        BackendError: A model fails.
    """
    rows = list(zip(*answers, strict=True))
    values = len(artifacts) * sum(math.prod(output.shape) for output in recorder.stage.outputs)
    chosen = choose_golden(rows, most=max(1, min(MAX_COVERING, MAX_VALUES // values)))
    with ExitStack() as stack:
        backends = {
            spec: stack.enter_context(closing(open_backend(path, spec.format))) for spec, path in artifacts.items()
        }
        recorded = [
            _record(recorder, backends, pictures[i], rows[i][0], small=place >= NUM_FULL_COLOUR)
            for place, i in enumerate(chosen)
        ]
    vectors, files = [], {}
    for number, (png, outputs) in enumerate(recorded):
        name = f"golden-{number:02d}.png"
        files[name] = png
        vectors.append(GoldenVector(input_file=name, outputs=outputs))
    return GoldenDraft(index=GoldenSet(vectors=tuple(vectors)), pictures=files)


def golden_outputs(artifact: ArtifactSpec, stage: StageSpec, raw: RawOutputs, answer: Answer) -> list[GoldenOutput]:
    """What one artifact says about one golden picture."""
    return [
        GoldenOutput(
            artifact=artifact.file,
            output=output.name,
            shape=output.shape,
            values=pack_values(raw.by_name[output.name]),
            outcome=answer.decision.outcome,
            label=answer.label,
        )
        for output in stage.outputs
    ]


def golden_png(pixels: ByteArray, stage: StageSpec, *, colours: int = 0) -> bytes:
    """A golden picture as a file.

    Args:
        pixels: uint8 (height, width, 3), of the model's size.
        stage: Whose preprocessing must leave the file's pixels as they are.
        colours: Reduce it to so many colours, without dithering; 0 to keep every bit.

    Raises:
        BundleError: The preprocessing changes it.
    """
    import numpy as np
    from PIL import Image

    image = Image.fromarray(pixels)
    if colours:
        image = image.quantize(colours, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=bool(colours))
    data = buffer.getvalue()
    if not np.array_equal(preprocess_pixels(data, stage.preprocess)[0], np.asarray(image.convert("RGB"))):
        raise BundleError("a golden picture does not survive preprocessing unchanged")
    return data


def _record(
    recorder: Recorder,
    backends: Mapping[ArtifactSpec, InferenceBackend],
    pixels: ByteArray,
    wanted: Answer,
    *,
    small: bool,
) -> tuple[bytes, tuple[GoldenOutput, ...]]:
    """One vector, in few colours where all models still give a safe answer and the same class."""
    for colours in (FEW_COLOURS, 0) if small else (0,):
        png = golden_png(pixels, recorder.stage, colours=colours)
        found = {spec: recorder.run(backend, png) for spec, backend in backends.items()}
        told = {(answer.label, answer.decision.outcome) for _, answer in found.values()}
        distance = min(answer.distance for _, answer in found.values())
        if not colours or (len(told) == 1 and wanted.label in next(iter(told)) and distance >= SAFE_DISTANCE):
            break
    outputs = [one for spec, (raw, said) in found.items() for one in golden_outputs(spec, recorder.stage, raw, said)]
    return png, tuple(outputs)


def _cover(answers: Mapping[int, Answer]) -> list[int]:
    """The surest picture of every class, rare classes first; a picture that has several classes may serve them all."""
    having: dict[str, list[int]] = {}
    for i, answer in answers.items():
        for label in answer.labels:
            having.setdefault(label, []).append(i)
    chosen: list[int] = []
    for label in sorted(having, key=lambda label: (len(having[label]), label)):
        if not set(chosen) & set(having[label]):
            chosen.append(min(having[label], key=lambda i: (-answers[i].decision.confidence, i)))
    return chosen


def _distance(prediction: Prediction, stage: StageSpec, policy: DecisionPolicy) -> float:
    """How far the answer is from any threshold and from another label, in probability."""
    thresholds = [policy.accept_confidence, policy.confirm_confidence]
    if isinstance(prediction, Detections) and stage.task is Task.DETECT and stage.detect is not None:
        return _box_distance(prediction, stage.detect.score_threshold, thresholds)
    line = prediction.headline
    gaps = [abs(line.confidence - limit) for limit in thresholds]
    if isinstance(prediction, Classification) or line.margin < 1:
        gaps += [abs(line.margin - policy.accept_margin), line.margin]
    if isinstance(prediction, Matches):
        gaps.append(abs(line.confidence - 0.5))  # which is where its class becomes known
    return min(gaps)


def _box_distance(prediction: Detections, cut: float, thresholds: Sequence[float]) -> float:
    scores = sorted([item.score for item in prediction.items])
    gaps = [abs(score - limit) for score in scores for limit in (*thresholds, cut)]
    gaps += [cut - prediction.nearest_miss]
    if not scores:
        gaps += [abs(1 - prediction.nearest_miss - limit) for limit in thresholds]
    if len(scores) > 1:
        gaps.append(scores[1] - scores[0])
    return min(gaps)
