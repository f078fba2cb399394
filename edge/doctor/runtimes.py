"""Which runtimes and delegates really work here: each computes a model of two convolutions in a process of its own."""

from __future__ import annotations

from edge.backends.base import CPU
from edge.backends.select import available_delegates, runtime_installed
from edge.bundle.manifest import ArtifactFormat
from edge.doctor.spawn import Outcome, run_child
from edge.doctor.types import Finding, State, Subject
from edge.errors import EdgeloopError

PROBE_LIMIT_S = 20.0
NUM_PROBES_AT_MOST = 8
_LIBRARIES = {ArtifactFormat.TFLITE: "ai-edge-litert", ArtifactFormat.ONNX: "onnxruntime"}


def examine_runtimes(subject: Subject) -> tuple[Finding, ...]:
    """One finding for each delegate of each installed runtime."""
    found = [finding for format_ in ArtifactFormat if runtime_installed(format_) for finding in _examine(format_)]
    if found:
        return tuple(found)
    fix = 'pip install "edgeloop[tflite]"'
    return (Finding(name="runtime", state=State.FAIL, detail="no runtime is installed: no model can run", fix=fix),)


def _examine(format_: ArtifactFormat) -> list[Finding]:
    try:
        delegates = available_delegates(format_)
    except EdgeloopError as error:
        fix = f"pip install --force-reinstall {_LIBRARIES[format_]}"
        return [Finding(name=f"runtime {format_.value}", state=State.FAIL, detail=error.message, fix=fix)]
    return [_judged(format_, one, run_child("probe", format_.value, one, limit_s=PROBE_LIMIT_S)) for one in delegates]


def _judged(format_: ArtifactFormat, delegate: str, outcome: Outcome) -> Finding:
    name = f"runtime {format_.value}, {delegate}"
    detail = outcome.detail.removeprefix(f"probe.{format_.value}: ").removeprefix(f"delegate {delegate}: ")
    if outcome.ok:
        return Finding(name=name, state=State.OK, detail=detail)
    if delegate != CPU:
        fix = f"install what {delegate} needs (its driver and libraries), or leave it: nothing runs on it by itself"
        return Finding(name=name, state=State.WARN, detail=detail, fix=fix)
    library = _LIBRARIES[format_]
    fix = f"pip install --force-reinstall {library}"
    if outcome.crashed:
        fix = f"{library} does not fit this processor: try another version of it, or the other runtime"
    return Finding(name=name, state=State.FAIL, detail=detail, fix=fix)
