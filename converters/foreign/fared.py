"""How a bundle fares on pictures whose answers are known, through the pipeline that a device uses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from converters.foreign.truth import KnownPicture
from converters.foreign.verdict import wilson_interval
from converters.metrics import paired_drop, score_of
from converters.precision import ScoredPicture, score_picture
from converters.tallies import MeanTally, PrecisionTally
from converters.types import Estimate
from edge.bundle.reader import Bundle
from edge.engine import open_engine
from edge.types import Detections, Matches


@dataclass(frozen=True, slots=True, kw_only=True)
class Fared:
    """How one bundle fared, picture by picture.

    Attributes:
        said: Its best class, empty for a detector's picture without a box.
        right: Whether that is the right one; empty for a detector.
        scored: How its boxes fared; empty for a classifier.
    """

    said: tuple[str, ...]
    right: tuple[bool, ...]
    scored: tuple[ScoredPicture, ...]

    @property
    def metric(self) -> str:
        """What `score` is: `top1`, or `ap50` for a detector."""
        return "ap50" if self.scored else "top1"

    def score(self) -> Estimate:
        """Share of right answers, or mean average precision, in points."""
        if self.scored:
            return score_of(PrecisionTally(self.scored))
        return wilson_interval(sum(self.right), len(self.right))

    def drop_from(self, reference: Fared) -> Estimate:
        """What it loses against another bundle on the same pictures, in points."""
        if self.scored:
            return paired_drop(PrecisionTally(reference.scored), PrecisionTally(self.scored))
        return paired_drop(MeanTally(reference.right), MeanTally(self.right))

    def agreement(self, other: Fared) -> float:
        """Share of pictures with the same best class, in [0, 1]."""
        same = [one == two for one, two in zip(self.said, other.said, strict=True)]
        return round(sum(same) / len(same), 6)


def run_bundle(bundle: Bundle, pictures: Sequence[KnownPicture], *, tick: Callable[[], None]) -> Fared:
    """Runs every picture through a bundle of one classifier or detector.

    Args:
        bundle: May be unproven.
        pictures: At least one.
        tick: Called after each picture.

    Raises:
        ImageError: A picture cannot be used; names the file.
        BackendError: The model fails.
    """
    labels = bundle.manifest.labels
    said, right, scored = [], [], []
    with open_engine(bundle, allow_unproven=True) as engine:
        for picture in pictures:
            prediction = engine.infer(picture.path).prediction
            said.append(prediction.headline.label)
            if isinstance(prediction, Detections):
                scored.append(score_picture(prediction.items, picture.boxes))
            else:
                known = not isinstance(prediction, Matches) or prediction.known
                right.append(known and prediction.headline.label == labels[picture.index])
            tick()
    return Fared(said=tuple(said), right=tuple(right), scored=tuple(scored))
