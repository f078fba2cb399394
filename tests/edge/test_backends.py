"""Choosing a model file and a runtime."""

from __future__ import annotations

import sys

import pytest

from edge.backends.select import available_delegates, choose_artifact, runtime_installed
from edge.bundle.manifest import (
    ArtifactFormat,
    ArtifactSpec,
    OutputKind,
    OutputSpec,
    PreprocessSpec,
    StageSpec,
)
from edge.errors import MissingExtraError, UsageError


def stage(*files: str) -> StageSpec:
    artifacts = tuple(
        ArtifactSpec(file=file, format=ArtifactFormat(file.rsplit(".")[-1]), recipe="fp32", tolerance=0.0)
        for file in files
    )
    outputs = (OutputSpec(name="logits", kind=OutputKind.LOGITS, shape=(1, 3)),)
    return StageSpec(
        name="classify", preprocess=PreprocessSpec(width=32, height=32), outputs=outputs, artifacts=artifacts
    )


def forget(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """Makes runtimes look as if they were not installed."""
    for name in list(sys.modules):
        if name.split(".")[0] in modules:
            monkeypatch.delitem(sys.modules, name)
    for name in modules:
        monkeypatch.setitem(sys.modules, name, None)


def test_first_artifact_is_preferred() -> None:
    assert choose_artifact(stage("a.tflite", "b.onnx")).file == "a.tflite"
    assert choose_artifact(stage("b.onnx", "a.tflite")).file == "b.onnx"


def test_wanted_by_file_or_format() -> None:
    three = stage("a.tflite", "b.onnx", "c.onnx")
    assert choose_artifact(three, wanted="c.onnx").file == "c.onnx"
    assert choose_artifact(three, wanted="onnx").file == "b.onnx"
    with pytest.raises(UsageError, match="stage 'classify' has no artifact 'torch'") as caught:
        choose_artifact(three, wanted="torch")
    assert "a.tflite (tflite), b.onnx (onnx), c.onnx (onnx)" in caught.value.hint
    assert caught.value.exit_code == 2


def test_runtime_that_is_missing_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    forget(monkeypatch, "ai_edge_litert", "tflite_runtime")
    assert not runtime_installed(ArtifactFormat.TFLITE)
    assert choose_artifact(stage("a.tflite", "b.onnx")).file == "b.onnx"
    with pytest.raises(MissingExtraError, match="ai-edge-litert is not installed"):
        choose_artifact(stage("a.tflite", "b.onnx"), wanted="a.tflite")
    forget(monkeypatch, "onnxruntime")
    with pytest.raises(MissingExtraError, match=r'pip install "edgeloop\[tflite\]"'):
        choose_artifact(stage("a.tflite", "b.onnx"))


def test_asking_for_a_runtime_imports_nothing() -> None:
    before = set(sys.modules)
    assert runtime_installed(ArtifactFormat.TFLITE)
    assert runtime_installed(ArtifactFormat.ONNX)
    assert not {name for name in set(sys.modules) - before if name.startswith(("ai_edge", "onnx", "tflite"))}


def test_delegates_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert available_delegates(ArtifactFormat.TFLITE) == ("cpu", "builtin")
    assert available_delegates(ArtifactFormat.ONNX)[0] == "cpu"
    forget(monkeypatch, "onnxruntime", "ai_edge_litert", "tflite_runtime")
    assert [available_delegates(kind) for kind in ArtifactFormat] == [(), ()]
