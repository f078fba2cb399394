"""Heads that have chosen their boxes and classes themselves: end-to-end and SSD. Nothing is suppressed again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.errors import BackendError
from edge.postprocess.detect.boxes import Candidates, in_picture
from edge.postprocess.detect.nms import best_first

if TYPE_CHECKING:
    from edge.bundle.manifest import DetectSpec, OutputSpec
    from edge.postprocess.detect.boxes import Indices
    from edge.types import FloatArray, Geometry

_NEARLY_WHOLE = 0.1


def label_positions(numbers: FloatArray, spec: OutputSpec, detect: DetectSpec) -> Indices:
    """Class numbers of a model as positions in the labels; they may lie outside, see `keep_best`.

    Args:
        numbers: (N,), finite, whole but for what a quantization took.
        spec: For the message.
        detect: Says which number the first label has.

    Raises:
        BackendError: A number is not whole: this output holds no classes.
    """
    import numpy as np

    whole = np.rint(numbers)
    if (np.abs(numbers - whole) > _NEARLY_WHOLE).any():
        worst = numbers[np.abs(numbers - whole).argmax()]
        raise BackendError(f"output {spec.name!r} has {worst:.3g} for a class, which is no whole number")
    return np.clip(whole, -(2**30), 2**30).astype(np.intp) - detect.first_class


def keep_best(
    candidates: Candidates, spec: DetectSpec, geometry: Geometry, num_labels: int
) -> tuple[Candidates, float]:
    """What is found, and the best score that was not good enough.

    Args:
        candidates: Rows of the head in model pixels; a row without area in the picture is dropped.
        spec: Threshold and greatest number.
        geometry: The way to the picture.
        num_labels: How many classes have a name.

    Returns:
        In picture pixels, best score first, equal scores in the model's order; and the greatest score below the
        threshold, 0 where there is none.

    Raises:
        BackendError: A row that passes the threshold has a class without a label. To drop it would hide that the
            labels belong to another model. Below the threshold it is padding, and ignored.
    """
    import numpy as np

    seen = in_picture(candidates, geometry)
    passed = seen.scores >= np.float32(spec.score_threshold)
    named = (seen.classes >= 0) & (seen.classes < num_labels)
    if (passed & ~named).any():
        number = int(seen.classes[passed & ~named][0]) + spec.first_class
        raise BackendError(
            f"the model found class {number}, the labels are classes {spec.first_class} to "
            f"{spec.first_class + num_labels - 1}",
            hint="check the labels and first_class",
        )
    missed = seen.scores[named & ~passed]
    found = best_first(seen.take(passed))
    return found.take(np.arange(min(len(found.scores), spec.max_detections))), float(missed.max(initial=0.0))
