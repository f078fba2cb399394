"""Which postprocessing a bundle asks for."""

from __future__ import annotations

from edge.bundle.manifest import BundleManifest, Task
from edge.postprocess.classify import classify
from edge.types import Prediction, RawOutputs


def postprocess(outputs: RawOutputs, manifest: BundleManifest) -> Prediction:
    """Turns what the last stage's network said into a prediction.

    Args:
        outputs: Raw outputs of the last stage.
        manifest: Says what they mean.

    Raises:
        BackendError: An output is missing or malformed.
    """
    match manifest.task:
        case Task.CLASSIFY:
            return classify(outputs, manifest.stages[-1].outputs[0], manifest.labels)
