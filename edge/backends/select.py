"""Which model file to run, and which runtime opens it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

from edge.backends.base import CPU, InferenceBackend, RuntimeOptions
from edge.bundle.manifest import ArtifactFormat, ArtifactSpec, StageSpec
from edge.errors import MissingExtraError, UsageError

_RUNTIMES = {
    ArtifactFormat.TFLITE: ("ai_edge_litert", "tflite_runtime"),
    ArtifactFormat.ONNX: ("onnxruntime",),
}


def open_backend(
    path: Path,
    format: ArtifactFormat,  # noqa: A002
    *,
    threads: int | None = None,
    options: RuntimeOptions | None = None,
    content: Callable[[], bytes] | None = None,
) -> InferenceBackend:
    """Loads a model into its runtime.

    Args:
        path: The model file.
        format: Its format.
        threads: Processor threads, short for `options=RuntimeOptions(threads=…)`.
        options: Threads and delegate; one thread on the processor by default.
        content: Gives the model where the file is encrypted (`Bundle.opener`); None to read the file.

    Raises:
        UsageError: `threads` is below 1, or both are given, or the runtime has no such delegate.
        MissingExtraError: The runtime is not installed.
        BackendError: The runtime refuses the file, or the delegate does not take it.
    """
    if threads is not None and options is not None:
        raise UsageError("threads and options both given", hint="say threads in the options")
    chosen = options or RuntimeOptions(threads=1 if threads is None else threads)
    match format:
        case ArtifactFormat.TFLITE:
            from edge.backends.tflite import TfliteBackend

            return TfliteBackend(path, chosen, content=content)
        case ArtifactFormat.ONNX:
            from edge.backends.onnx import OnnxBackend

            return OnnxBackend(path, chosen, content=content)


def available_delegates(format: ArtifactFormat) -> tuple[str, ...]:  # noqa: A002
    """What can compute a model of this format here, `cpu` first; none where its runtime is not installed.

    External delegates of LiteRT are files, which nobody can list.
    """
    if not runtime_installed(format):
        return ()
    match format:
        case ArtifactFormat.TFLITE:
            return (CPU, "builtin")
        case ArtifactFormat.ONNX:
            from edge.backends.onnx import available_providers

            return available_providers()


def runtime_installed(format: ArtifactFormat) -> bool:  # noqa: A002
    """Whether a runtime for this format can be imported; imports nothing."""
    return any(importlib.util.find_spec(module) is not None for module in _RUNTIMES[format])


def choose_artifact(stage: StageSpec, *, wanted: str | None = None) -> ArtifactSpec:
    """Picks the model file of a stage that this machine runs.

    Args:
        stage: Its artifacts come in order of preference.
        wanted: A file name or a format (`tflite`, `onnx`); None for the first whose runtime is installed.

    Raises:
        UsageError: No artifact is called `wanted`.
        MissingExtraError: No runtime for it is installed.
    """
    candidates = [item for item in stage.artifacts if wanted in (None, item.file, item.format.value)]
    if not candidates:
        known = ", ".join(f"{item.file} ({item.format.value})" for item in stage.artifacts)
        raise UsageError(f"stage {stage.name!r} has no artifact {wanted!r}", hint=f"choose one of: {known}")
    for item in candidates:
        if runtime_installed(item.format):
            return item
    format_ = candidates[0].format
    library = {ArtifactFormat.TFLITE: "ai-edge-litert", ArtifactFormat.ONNX: "onnxruntime"}[format_]
    raise MissingExtraError(library, format_.value)
