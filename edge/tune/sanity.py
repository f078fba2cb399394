"""Whether a candidate is right, before it may be fast."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from edge.backends.base import InferenceBackend
from edge.bundle.golden import GoldenSet
from edge.bundle.manifest import ArtifactSpec, StageSpec
from edge.bundle.reader import Bundle
from edge.errors import SelfTestError
from edge.loading import check_model
from edge.preprocess import preprocess
from edge.tune.samples import sample_picture
from edge.types import RawOutputs
from edge.update.selftest import MIN_RANGE, check_golden

if TYPE_CHECKING:
    from edge.types import FloatArray, InputArray

# What an artifact without a proof may differ by, as a fraction of the range: float arithmetic in another order.
_UNPROVEN_TOLERANCE = 1e-3
_NUM_SAMPLES = 4

Check = Callable[[ArtifactSpec, InferenceBackend], None]


def golden_check(bundle: Bundle, golden: GoldenSet) -> Check:
    """A check by the bundle's golden vectors; it raises SelfTestError or BackendError with the reason."""
    return lambda artifact, backend: check_golden(bundle, artifact, backend, golden)


def agreement_check(stage: StageSpec, open_plain: Callable[[ArtifactSpec], InferenceBackend]) -> Check:
    """A check for bundles without golden vectors: the same outputs as the same model's plain run on this device.

    Args:
        stage: Of the bundle.
        open_plain: Opens a model on one thread of the processor.
    """
    expected: dict[str, list[RawOutputs]] = {}
    inputs = [preprocess(sample_picture(seed), stage.preprocess).tensor for seed in range(_NUM_SAMPLES)]

    def check(artifact: ArtifactSpec, backend: InferenceBackend) -> None:
        check_model(backend, stage, artifact)
        if artifact.file not in expected:
            expected[artifact.file] = _plain_outputs(open_plain(artifact), inputs)
        for tensor, outputs in zip(inputs, expected[artifact.file], strict=True):
            _compare(artifact, outputs, backend.run(tensor))

    return check


def _plain_outputs(backend: InferenceBackend, inputs: list[InputArray]) -> list[RawOutputs]:
    try:
        return [backend.run(tensor) for tensor in inputs]
    finally:
        backend.close()


def _compare(artifact: ArtifactSpec, expected: RawOutputs, found: RawOutputs) -> None:
    tolerance = max(artifact.tolerance, _UNPROVEN_TOLERANCE)
    for name, array in expected.by_name.items():
        limit = tolerance * max(MIN_RANGE, float(array.max(initial=0)) - float(array.min(initial=0)))
        difference = _difference(array, found.by_name[name])
        if not difference <= limit:
            raise SelfTestError(
                f"{artifact.file}: output {name!r} differs by {difference:.3g} from the plain run, "
                f"at most {limit:.3g} is allowed"
            )


def _difference(expected: FloatArray, found: FloatArray) -> float:
    import numpy as np

    if expected.shape != found.shape:
        return float("inf")
    return float(np.abs(expected.astype(np.float64) - found).max(initial=0))
