"""Does this bundle give its golden outputs on this machine?

Asked before a new bundle is trusted, and again after a runtime or the hardware has changed.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge.backends.base import InferenceBackend
from edge.backends.select import open_backend, runtime_installed
from edge.bundle.golden import GoldenOutput, GoldenSet, GoldenVector, unpack_values
from edge.bundle.golden_reader import golden_stage, load_golden
from edge.bundle.manifest import ArtifactSpec, StageSpec
from edge.bundle.reader import Bundle
from edge.decide import decide
from edge.errors import BackendError, ImageError, SelfTestError, UsageError
from edge.loading import check_model
from edge.postprocess.select import StageFiles, load_stage_files, postprocess
from edge.preprocess import preprocess
from edge.types import Geometry, RawOutputs

if TYPE_CHECKING:
    from edge.types import FloatArray

# Outputs whose golden values hardly differ would otherwise leave no room for the last bits of float32.
MIN_RANGE = 1e-3
_DISTRIBUTIONS = (
    "ai-edge-litert",
    "tflite-runtime",
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-openvino",
    "numpy",
    "pillow",
    "edgeloop",
)
_PROCESSOR_FIELDS = ("model name", "flags", "Features", "CPU implementer", "CPU part", "Model")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """One artifact on one vector."""

    bundle: Bundle
    stage: StageSpec
    files: StageFiles
    artifact: ArtifactSpec
    vector: GoldenVector

    def fail(self, reason: str) -> SelfTestError:
        return SelfTestError(
            f"{self.artifact.file}: golden vector {self.vector.input_file}: {reason}",
            hint="this bundle does not run right on this device; stay on the one before",
        )


def self_test(bundle: Bundle, *, artifacts: tuple[str, ...] | None = None) -> None:
    """Runs every golden vector through every model whose runtime is installed.

    An artifact with tolerance 0 must give its golden outputs to the last bit. Any other may differ by its tolerance
    times the range of that output's golden values. The best class and the decision must be the same, always.

    Args:
        bundle: An open bundle.
        artifacts: File names of the models to test; None for all whose runtime is installed.

    Raises:
        SelfTestError: A model differs, or there is none that could be tested; names the artifact and the vector.
        UsageError: The bundle has no artifact of a given name.
        MissingExtraError: The runtime of a named artifact is not installed.
    """
    golden = load_golden(bundle)
    for artifact in _chosen(bundle, artifacts):
        try:
            _test_artifact(bundle, artifact, golden)
        except (BackendError, ImageError) as cause:
            reason = cause.message.removeprefix(f"{artifact.file}: ")
            raise SelfTestError(f"{artifact.file}: {reason}", hint=cause.hint) from cause


def hardware_fingerprint() -> str:
    """Names what golden outputs depend on: the processor and the versions of the runtimes.

    Returns:
        The machine's architecture and 32 hex digits; equal on the same machine with the same libraries.
    """
    parts = [platform.machine(), platform.python_version(), *_processor(Path("/proc/cpuinfo"))]
    parts += [f"{name} {_version(name)}" for name in _DISTRIBUTIONS]
    return f"{platform.machine()}-{hashlib.sha256(chr(10).join(parts).encode()).hexdigest()[:32]}"


def _chosen(bundle: Bundle, names: tuple[str, ...] | None) -> tuple[ArtifactSpec, ...]:
    known = {artifact.file: artifact for stage in bundle.manifest.stages for artifact in stage.artifacts}
    if names is None:
        runnable = tuple(artifact for artifact in known.values() if runtime_installed(artifact.format))
        if not runnable:
            raise SelfTestError(
                f"{bundle.folder}: no runtime for any of {', '.join(known)} is installed",
                hint='pip install "edgeloop[tflite]"',
            )
        return runnable
    if not names or not set(names) <= set(known):
        raise UsageError(f"{bundle.folder}: no artifact {', '.join(names) or '(none)'}, it has {', '.join(known)}")
    return tuple(known[name] for name in names)


def _test_artifact(bundle: Bundle, artifact: ArtifactSpec, golden: GoldenSet) -> None:
    backend = open_backend(bundle.path(artifact.file), artifact.format, content=bundle.opener(artifact.file))
    try:
        check_golden(bundle, artifact, backend, golden)
    finally:
        backend.close()


def check_golden(bundle: Bundle, artifact: ArtifactSpec, backend: InferenceBackend, golden: GoldenSet) -> None:
    """Runs every golden vector of an artifact's stage through a backend.

    Args:
        bundle: An open bundle.
        artifact: One of its models.
        backend: The model, in whatever runtime, with whatever delegate.
        golden: From `load_golden`.

    Raises:
        SelfTestError: It differs; names the artifact and the vector.
        BackendError: The model is not what the manifest says, or fails.
    """
    stage = next(stage for stage in bundle.manifest.stages if artifact in stage.artifacts)
    check_model(backend, stage, artifact)
    files = load_stage_files(stage, bundle.read)
    ranges = {output.name: _golden_range(golden, artifact.file, output.name) for output in stage.outputs}
    for vector in golden.vectors:
        if golden_stage(vector, bundle.manifest, where=bundle.manifest.golden_file) is stage:
            case = _Case(bundle=bundle, stage=stage, files=files, artifact=artifact, vector=vector)
            _test_vector(case, backend, ranges)


def _test_vector(case: _Case, backend: InferenceBackend, ranges: dict[str, float]) -> None:
    size = (case.stage.preprocess.width, case.stage.preprocess.height)
    model_input = preprocess(
        case.bundle.read(case.vector.input_file), case.stage.preprocess, name=f"golden vector {case.vector.input_file}"
    )
    geometry = model_input.geometry
    if (geometry.picture_width, geometry.picture_height) != size:
        raise case.fail("is not of the model's size")
    raw = backend.run(model_input.tensor)
    expected = [output for output in case.vector.outputs if output.artifact == case.artifact.file]
    for output in expected:
        _compare_values(case, output, raw.by_name[output.output], ranges[output.output])
    _compare_decision(case, expected, raw, geometry)


def _compare_values(case: _Case, golden: GoldenOutput, found: FloatArray, value_range: float) -> None:
    import numpy as np

    expected = unpack_values(golden)
    if found.shape != expected.shape:
        raise case.fail(f"output {golden.output!r} has shape {list(found.shape)}, expected {list(expected.shape)}")
    if case.artifact.tolerance == 0:
        if expected.tobytes() != found.astype(np.float32).tobytes():
            difference = float(np.abs(found - expected).max())
            raise case.fail(f"output {golden.output!r} must be equal to the last bit, differs by {difference:.3g}")
        return
    limit = case.artifact.tolerance * value_range
    difference = float(np.abs(found.astype(np.float64) - expected).max())
    if not difference <= limit:
        raise case.fail(f"output {golden.output!r} differs by {difference:.3g}, at most {limit:.3g} is allowed")


def _compare_decision(case: _Case, expected: list[GoldenOutput], raw: RawOutputs, geometry: Geometry) -> None:
    manifest = case.bundle.manifest
    prediction = postprocess(raw, case.stage, manifest.labels_of(case.stage), geometry, files=case.files)
    outcome = decide(prediction, manifest.decision).outcome
    label = prediction.headline.label
    for golden in expected:
        if (outcome, label) != (golden.outcome, golden.label):
            raise case.fail(f"says {label!r}, {outcome.value}; expected {golden.label!r}, {golden.outcome.value}")


def _golden_range(golden: GoldenSet, artifact: str, output: str) -> float:
    """Largest minus smallest golden value of one output over all vectors, at least `MIN_RANGE`."""
    arrays = [
        unpack_values(item)
        for vector in golden.vectors
        for item in vector.outputs
        if item.artifact == artifact and item.output == output
    ]
    return max(MIN_RANGE, float(max(a.max() for a in arrays)) - float(min(a.min() for a in arrays)))


def _processor(cpuinfo: Path) -> list[str]:
    """What the first processor says about itself; runtimes choose their kernels by it."""
    try:
        lines = cpuinfo.read_text(errors="replace").split("\n\n")[0].splitlines()
    except OSError:
        return [platform.processor()]
    return [line for line in lines if line.split(":")[0].strip() in _PROCESSOR_FIELDS]


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "none"
