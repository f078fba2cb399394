"""Reads the outputs of a detector: by kind, with the batch taken off, and nothing that is not a number."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.bundle.manifest import OutputKind, OutputSpec, StageSpec
from edge.errors import BackendError, BundleError
from edge.types import RawOutputs

if TYPE_CHECKING:
    from edge.types import FloatArray


def spec_of(stage: StageSpec, kind: OutputKind) -> OutputSpec:
    """The one output of this kind.

    Raises:
        BundleError: The stage has none, or several.
    """
    found = optional_spec(stage, kind)
    if found is None:
        raise BundleError(
            f"stage {stage.name!r} has no output of kind {kind.value!r}", hint=f"{_decoder(stage)} needs one"
        )
    return found


def optional_spec(stage: StageSpec, kind: OutputKind) -> OutputSpec | None:
    """The one output of this kind, or None.

    Raises:
        BundleError: The stage has several.
    """
    found = [output for output in stage.outputs if output.kind is kind]
    if len(found) > 1:
        names = ", ".join(output.name for output in found)
        raise BundleError(f"stage {stage.name!r} has several outputs of kind {kind.value!r}: {names}")
    return found[0] if found else None


def array_of(outputs: RawOutputs, spec: OutputSpec) -> FloatArray:
    """An output as the model gave it, without the batch of 1.

    Returns:
        float32, one axis less than in the model.

    Raises:
        BackendError: The output is missing, or its first axis is not 1.
    """
    array = outputs.by_name.get(spec.name)
    if array is None:
        known = ", ".join(outputs.by_name) or "none"
        raise BackendError(f"output {spec.name!r} is missing, the model gives {known}")
    if array.ndim < 1 or array.shape[0] != 1:
        raise BackendError(f"output {spec.name!r} must have a batch of 1 as its first axis, found {array.shape}")
    first: FloatArray = array[0]
    return first


def require_finite(array: FloatArray, spec: OutputSpec) -> None:
    """Refuses NaN and infinity.

    Raises:
        BackendError: There is one; it names the output.
    """
    import numpy as np

    if not np.isfinite(array).all():
        raise BackendError(f"output {spec.name!r} holds NaN or infinity")


def misshapen(spec: OutputSpec, array: FloatArray, wanted: str) -> BackendError:
    """The error for an output of another shape; `array` is without its batch."""
    return BackendError(f"output {spec.name!r} must be {wanted}, found {(1, *array.shape)}")


def _decoder(stage: StageSpec) -> str:
    return f"decoder {stage.detect.decoder.value!r}" if stage.detect else "a detector"
