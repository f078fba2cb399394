"""A linear list of stages over one picture: the first reads the picture, the others the crops of what it found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from edge.bundle.manifest import DecisionPolicy
from edge.decide import decide
from edge.errors import BackendError
from edge.image.picture import Picture
from edge.loading import LoadedStage
from edge.postprocess.select import postprocess, postprocess_crops
from edge.preprocess import preprocess_crop, preprocess_picture
from edge.types import (
    CountedItem,
    Counts,
    CropAnswer,
    Decision,
    Detection,
    Detections,
    Geometry,
    Prediction,
    Timings,
)

if TYPE_CHECKING:
    from edge.types import InputArray

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a pipeline says about one picture.

    Attributes:
        prediction: What it sees.
        decision: What to do about it.
        timings: Where the time went.
    """

    prediction: Prediction
    decision: Decision
    timings: Timings


def run_stages(
    stages: Sequence[LoadedStage],
    picture: Picture,
    policy: DecisionPolicy,
    *,
    clock: Clock,
    start: float,
    top_k: int | None = None,
) -> Answer:
    """Sends one picture through all stages.

    Crops are cut, resized and run side by side, on as many threads as the stage's pool has copies of the model; all of
    that counts as the network's time.

    Args:
        stages: At least one; of several the first gives `Detections`.
        picture: Opened, not necessarily decoded.
        policy: When to trust an answer.
        clock: Seconds, for the timings.
        start: What the clock said when the picture came.
        top_k: How many classes are named; None for the default of each kind of answer.

    Raises:
        ImageError: The picture cannot be decoded.
        BackendError: A runtime failed, or an output makes no sense; names the model file.
    """
    first, readers = stages[0], stages[1:]
    model_input = preprocess_picture(picture, first.spec.preprocess)
    prepared = clock()
    raw = first.pool.run(model_input.tensor)
    ran = clock()
    with _blaming(first):
        prediction = postprocess(raw, first.spec, first.labels, model_input.geometry, files=first.files, top_k=top_k)
    read_s = 0.0
    if readers:
        found = cast(Detections, prediction)
        before = clock()
        answers = [read_crops(stage, picture, found.items, model_input.geometry, top_k=top_k) for stage in readers]
        read_s = clock() - before
        prediction = count(found, list(zip(*answers, strict=True)), policy)
    decision = decide(prediction, policy)
    timings = Timings(
        preprocess_ms=(prepared - start) * 1000,
        infer_ms=(ran - prepared + read_s) * 1000,
        postprocess_ms=(clock() - ran - read_s) * 1000,
    )
    return Answer(prediction=prediction, decision=decision, timings=timings)


def read_crops(
    stage: LoadedStage, picture: Picture, found: Sequence[Detection], geometry: Geometry, *, top_k: int | None = None
) -> list[CropAnswer]:
    """What one stage says of every crop, in the order of `found`; raises as `run_stages` does."""

    def prepare(detection: Detection) -> InputArray:
        spec = stage.spec
        return preprocess_crop(picture, detection.box, spec.preprocess, margin=spec.crop_margin).tensor

    raws = stage.pool.map(prepare, found)
    with _blaming(stage):
        answers = postprocess_crops(raws, stage.spec, stage.labels, geometry, files=stage.files, top_k=top_k)
    return cast("list[CropAnswer]", answers)


def count(found: Detections, answers: Sequence[tuple[CropAnswer, ...]], policy: DecisionPolicy) -> Counts:
    """Puts the detector's boxes and the readers' answers together.

    Args:
        found: What the detector found.
        answers: For each box, one answer a reading stage.
        policy: Decides for each box by its first answer.
    """
    items = tuple(
        CountedItem(detection=detection, answers=of_crop, decision=decide(of_crop[0], policy))
        for detection, of_crop in zip(found.items, answers, strict=True)
    )
    numbers = Counter(item.label for item in items)
    by_label = tuple(sorted(numbers.items(), key=lambda pair: (-pair[1], pair[0])))
    return Counts(items=items, by_label=by_label, nearest_miss=found.nearest_miss)


@contextmanager
def _blaming(stage: LoadedStage) -> Iterator[None]:
    """Names the model file in an error about its outputs."""
    try:
        yield
    except BackendError as cause:
        raise BackendError(f"{stage.artifact.file}: {cause.message}", hint=cause.hint) from cause
