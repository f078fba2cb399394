"""What the test pictures give away without a network: a row counts only where the float model is far above it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.conversion_subjects import Subject, spread
from cloud_train.evaluation.baselines import histogram_accuracy, majority_accuracy
from cloud_train.types import SnapshotItem, Split
from converters.examples import LabelledPicture
from converters.metrics import score_of
from converters.precision import score_picture
from converters.tallies import PrecisionTally
from edge.bundle.manifest import Task
from edge.preprocess import open_picture
from edge.types import Box, Detection

NUM_LAYOUTS = 40
TIMES_BASELINE = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """One of them.

    Attributes:
        name: What it does.
        points: What it scores on the test pictures.
    """

    name: str
    points: float


class PictureFiles:
    """Pictures by digest wherever they lie, in place of a blob store.

    Args:
        pictures: What it finds.
    """

    def __init__(self, pictures: Sequence[LabelledPicture]) -> None:
        self._paths = {picture.digest: picture.path for picture in pictures}

    def path(self, digest: str) -> Path:
        """The file of a picture."""
        return self._paths[digest]


def baselines(subject: Subject) -> tuple[Baseline, ...]:
    """The weakest first; the last is the one that a float model has to beat twice over."""
    if subject.job.task is Task.DETECT:
        return (_layout(subject),)
    train, test = _items(subject.train, Split.TRAIN), _items(subject.test, Split.TEST)
    files = PictureFiles([*subject.train, *subject.test])
    return (
        Baseline(name="majority class", points=majority_accuracy(train, test)),
        Baseline(name="colour histograms", points=histogram_accuracy(train, test, files, subject.job.preprocess)),
    )


def counts(float_points: float, found: Sequence[Baseline]) -> bool:
    """Whether a row counts."""
    return float_points >= TIMES_BASELINE * found[-1].points


def _items(pictures: Sequence[LabelledPicture], split: Split) -> list[SnapshotItem]:
    return [
        SnapshotItem(digest=one.digest, label=one.label, split=split, group=one.digest, origin="benchmark")
        for one in pictures
    ]


def _layout(subject: Subject) -> Baseline:
    """Colours say nothing of places: the true boxes of one training picture, said of every picture.

    Of some training pictures the one whose boxes fit the others best.
    """
    some = [one for one in spread(subject.train, NUM_LAYOUTS) if one.boxes]
    sizes = {one.digest: open_picture(one.path).size for one in (*some, *subject.test)}
    best = max(some, key=lambda layout: _points(layout, some, sizes))
    return Baseline(name="boxes of one training picture", points=_points(best, subject.test, sizes))


def _points(layout: LabelledPicture, pictures: Sequence[LabelledPicture], sizes: dict[str, tuple[int, int]]) -> float:
    width, height = sizes[layout.digest]
    scored = []
    for picture in pictures:
        across, down = sizes[picture.digest][0] / width, sizes[picture.digest][1] / height
        said = [
            Detection(label=str(one.index), index=one.index, score=0.5, box=_stretched(one.box, across, down))
            for one in layout.boxes
        ]
        scored.append(score_picture(said, picture.boxes))
    return score_of(PrecisionTally(scored)).value


def _stretched(box: Box, across: float, down: float) -> Box:
    return Box(left=box.left * across, top=box.top * down, right=box.right * across, bottom=box.bottom * down)
