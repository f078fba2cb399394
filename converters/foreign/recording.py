"""Golden vectors for models that edgeloop did not make: chosen from given pictures, whatever the model answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from converters.golden import Answer, GoldenDraft, choose_golden
from edge.backends.base import InferenceBackend
from edge.bundle.golden import GoldenOutput, GoldenSet, GoldenVector, pack_values
from edge.bundle.manifest import DecisionPolicy, StageSpec, Task
from edge.decide import decide
from edge.errors import BundleError, ImageError, UsageError
from edge.postprocess.select import StageFiles, postprocess
from edge.preprocess import preprocess, preprocess_pixels
from edge.sources.folder import list_pictures
from edge.types import Classification, Detections, Matches, Prediction, RawOutputs

if TYPE_CHECKING:
    from edge.types import ByteArray

MAX_PICTURES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorder:
    """What is needed to say what one model answers.

    Attributes:
        stage: How it is run and read.
        labels: Its class names.
        policy: The bundle's thresholds.
        files: What its postprocessing reads.
    """

    stage: StageSpec
    labels: tuple[str, ...]
    policy: DecisionPolicy
    files: StageFiles

    def answer(self, backend: InferenceBackend, png: bytes) -> tuple[RawOutputs, Answer]:
        """Outputs and answer for one picture of the model's own size."""
        model_input = preprocess(png, self.stage.preprocess)
        raw = backend.run(model_input.tensor)
        prediction = postprocess(raw, self.stage, self.labels, model_input.geometry, files=self.files)
        decision = decide(prediction, self.policy)
        distance = _distance(prediction, self.stage, self.policy)
        return raw, Answer(label=prediction.headline.label, decision=decision, distance=distance)


def list_golden_pictures(folder: Path) -> tuple[Path, ...]:
    """At most 200 pictures of a folder tree, spread evenly over its sorted paths.

    Raises:
        UsageError: No such folder, or nothing in it.
    """
    if not folder.is_dir():
        raise UsageError(f"no folder {folder}")
    return spread(list_pictures(folder)) or _nothing(folder)


def spread(paths: Sequence[Path]) -> tuple[Path, ...]:
    """At most 200 of them, evenly."""
    num = min(MAX_PICTURES, len(paths))
    return tuple(paths[i * len(paths) // num] for i in range(num))


def record_golden(recorder: Recorder, backend: InferenceBackend, pictures: Sequence[Path]) -> GoldenDraft:
    """Chooses golden pictures and records what the model says about them.

    Args:
        recorder: How the model is run and read; its stage has one artifact.
        backend: The model.
        pictures: Files; those that are no pictures are left out.

    Raises:
        UsageError: Not one of them is a picture.
        BundleError: A picture does not survive preprocessing unchanged.
        BackendError: The model fails.
    """
    pngs = [png for path in pictures if (png := _model_sized(path, recorder.stage)) is not None]
    if not pngs:
        raise UsageError(f"none of the {len(pictures)} golden pictures can be read")
    answers = [recorder.answer(backend, png) for png in pngs]
    vectors, files = [], {}
    for number, i in enumerate(choose_golden([[answer] for _, answer in answers])):
        name = f"golden-{number:02d}.png"
        files[name] = pngs[i]
        vectors.append(GoldenVector(input_file=name, outputs=_outputs(recorder.stage, *answers[i])))
    return GoldenDraft(index=GoldenSet(vectors=tuple(vectors)), pictures=files)


def _outputs(stage: StageSpec, raw: RawOutputs, answer: Answer) -> tuple[GoldenOutput, ...]:
    return tuple(
        GoldenOutput(
            artifact=stage.artifacts[0].file,
            output=output.name,
            shape=output.shape,
            values=pack_values(raw.by_name[output.name]),
            outcome=answer.decision.outcome,
            label=answer.label,
        )
        for output in stage.outputs
    )


def _model_sized(path: Path, stage: StageSpec) -> bytes | None:
    """The picture as the model sees it, as PNG; None where it cannot be used."""
    try:
        pixels = preprocess_pixels(path, stage.preprocess)[0]
    except ImageError:
        return None
    return _png(pixels, stage)


def _png(pixels: ByteArray, stage: StageSpec) -> bytes:
    import io

    import numpy as np
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    if not np.array_equal(preprocess_pixels(buffer.getvalue(), stage.preprocess)[0], pixels):
        raise BundleError("a golden picture does not survive preprocessing unchanged")
    return buffer.getvalue()


def _distance(prediction: Prediction, stage: StageSpec, policy: DecisionPolicy) -> float:
    """How far the answer is from any threshold and from another label, in probability."""
    thresholds = [policy.accept_confidence, policy.confirm_confidence]
    if isinstance(prediction, Detections) and stage.task is Task.DETECT and stage.detect is not None:
        scores = sorted([item.score for item in prediction.items])
        cut = stage.detect.score_threshold
        gaps = [abs(score - limit) for score in scores for limit in (*thresholds, cut)]
        gaps += [cut - prediction.nearest_miss]
        if not scores:
            gaps += [abs(1 - prediction.nearest_miss - limit) for limit in thresholds]
        if len(scores) > 1:
            gaps.append(scores[1] - scores[0])
        return min(gaps)
    line = prediction.headline
    gaps = [abs(line.confidence - limit) for limit in thresholds]
    if isinstance(prediction, Classification) or line.margin < 1:
        gaps += [abs(line.margin - policy.accept_margin), line.margin]
    if isinstance(prediction, Matches):
        gaps.append(abs(line.confidence - 0.5))  # which is where its class becomes known
    return min(gaps)


def _nothing(folder: Path) -> tuple[Path, ...]:
    raise UsageError(f"no pictures in {folder}", hint="put JPEG, PNG or WebP files into it")
