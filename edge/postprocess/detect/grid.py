"""Single-grid heads as FastestDet has them (github.com/dog-qiuqiu/FastestDet): one box for each cell of one grid.

Of a cell at column x and row y of a grid W by H, with the channels objectness, dx, dy, w, h, classes:

    centre = ((x + tanh dx) / W, (y + tanh dy) / H)        size = (sigmoid w, sigmoid h)
    score  = objectness ** 0.6 * best class ** 0.4

all in 0 to 1 of the model's input. FastestDet's own graph ends with the sigmoid of the objectness and the softmax of
the classes. Its first version multiplied the two plainly; this is the weighting it has had since.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from edge.bundle.manifest import Activation, OutputKind, OutputSpec, StageSpec
from edge.postprocess.detect.boxes import detect_spec
from edge.postprocess.detect.outputs import array_of, misshapen, require_finite, spec_of
from edge.postprocess.detect.places import Places
from edge.postprocess.detect.scores import best_scores, sigmoid
from edge.types import RawOutputs

if TYPE_CHECKING:
    from edge.postprocess.detect.boxes import Corners
    from edge.types import FloatArray

_OBJECTNESS_POWER, _CLASS_POWER = 0.6, 0.4


def grid(outputs: RawOutputs, stage: StageSpec, num_labels: int) -> Places:
    """Reads a GRID output.

    Args:
        outputs: GRID (1, 5 + C, H, W), or (1, H, W, 5 + C) where only that fits. C is the number of labels plus
            `first_class`.
        stage: Its output and its `detect`; `box_format` and `normalised` do not matter here. With the activation
            SIGMOID or SOFTMAX the objectness still needs a sigmoid, and the classes what it says.
        num_labels: How many classes have a name.

    Raises:
        BundleError: The stage has no such output.
        BackendError: It is missing, has another shape, holds NaN or infinity, or scores outside of 0 to 1.
    """
    import numpy as np

    spec, first_class = spec_of(stage, OutputKind.GRID), detect_spec(stage).first_class
    cells = _cells(array_of(outputs, spec), spec, 5 + first_class + num_labels)
    height, width, channels = cells.shape
    flat = cells.reshape(height * width, channels)
    objectness = best_scores(flat[:, :1], _objectness_spec(spec))
    best_class = best_scores(flat[:, 5:], spec, first_class=first_class)
    scores = objectness.astype(np.float64) ** _OBJECTNESS_POWER * best_class.astype(np.float64) ** _CLASS_POWER
    return Places(
        boxes=_boxes(flat[:, 1:5], stage, height, width),
        scores=scores.astype(np.float32),
        class_scores=flat[:, 5 + first_class :],
    )


def _objectness_spec(spec: OutputSpec) -> OutputSpec:
    """A softmax is among classes; objectness stands alone."""
    if spec.activation is Activation.SOFTMAX:
        return dataclasses.replace(spec, activation=Activation.SIGMOID)
    return spec


def _cells(array: FloatArray, spec: OutputSpec, channels: int) -> FloatArray:
    """(H, W, channels)."""
    if array.ndim != 3 or channels not in (array.shape[0], array.shape[2]):
        raise misshapen(spec, array, f"(1, {channels}, H, W) or (1, H, W, {channels}) for {channels - 5} classes")
    require_finite(array, spec)
    return array.transpose(1, 2, 0) if array.shape[0] == channels else array


def _boxes(offsets: FloatArray, stage: StageSpec, height: int, width: int) -> Corners:
    """Corners in model pixels of all cells, row by row."""
    import numpy as np

    values = offsets.astype(np.float64)
    rows, columns = np.divmod(np.arange(height * width), width)
    centre = (np.stack([columns, rows], axis=1) + np.tanh(values[:, :2])) / np.array([width, height])
    half = sigmoid(values[:, 2:]) / 2
    model = np.array([stage.preprocess.width, stage.preprocess.height] * 2)
    corners: Corners = np.concatenate([centre - half, centre + half], axis=1) * model
    return corners
