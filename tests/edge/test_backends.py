"""Choosing a model file, and what only one of the two runtimes can meet."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import numpy as np
import pytest

from edge.backends.onnx import OnnxBackend
from edge.backends.select import choose_artifact, runtime_installed
from edge.backends.tflite import TfliteBackend
from edge.bundle.manifest import (
    ArtifactFormat,
    ArtifactSpec,
    OutputKind,
    OutputSpec,
    PreprocessSpec,
    StageSpec,
)
from edge.errors import BackendError, MissingExtraError, UsageError

MODELS = Path(__file__).resolve().parent.parent / "models"


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


def test_tflite_runtime_serves_old_boards(monkeypatch: pytest.MonkeyPatch) -> None:
    from ai_edge_litert.interpreter import Interpreter

    forget(monkeypatch, "ai_edge_litert")
    older = types.ModuleType("tflite_runtime")
    interpreter = types.ModuleType("tflite_runtime.interpreter")
    interpreter.Interpreter = Interpreter
    monkeypatch.setitem(sys.modules, "tflite_runtime", older)
    monkeypatch.setitem(sys.modules, "tflite_runtime.interpreter", interpreter)
    outputs = TfliteBackend(MODELS / "tiny_fp32.tflite").run(np.zeros((1, 32, 32, 3), np.float32))
    assert list(outputs.by_name) == ["logits"]


@pytest.fixture(scope="module")
def odd_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ONNX models that break the model contract."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    folder = tmp_path_factory.mktemp("odd")

    def save(name: str, inputs: list, op: str, names: list[str]) -> None:
        out = helper.make_tensor_value_info("out", inputs[0].type.tensor_type.elem_type, None)
        graph = helper.make_graph([helper.make_node(op, names, ["out"])], "g", inputs, [out])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.save(model, str(folder / name))

    def tensor(name: str, kind: int, shape: list) -> object:
        return helper.make_tensor_value_info(name, kind, shape)

    fixed = [1, 2, 2, 3]
    save("bytes.onnx", [tensor("image", TensorProto.UINT8, fixed)], "Identity", ["image"])
    save("dynamic.onnx", [tensor("image", TensorProto.FLOAT, ["n", 2, 2, 3])], "Identity", ["image"])
    two = [tensor("a", TensorProto.FLOAT, fixed), tensor("b", TensorProto.FLOAT, fixed)]
    save("two.onnx", two, "Add", ["a", "b"])
    # The reshape to 5 numbers fails while it runs: 12 do not fit.
    shape = helper.make_node("Constant", [], ["shape"], value=helper.make_tensor("s", TensorProto.INT64, [1], [5]))
    image = tensor("image", TensorProto.FLOAT, fixed)
    start = helper.make_node("Shape", ["image"], ["size"])
    pick = helper.make_node("ReduceProd", ["size"], ["count"], keepdims=1)
    less = helper.make_node("Sub", ["count", "shape"], ["less"])
    reshape = helper.make_node("Reshape", ["image", "less"], ["out"])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["k"])
    graph = helper.make_graph([shape, start, pick, less, reshape], "g", [image], [out])
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), str(folder / "fails.onnx"))
    return folder


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bytes.onnx", r"bytes\.onnx: needs exactly one float32 input, found image tensor\(uint8\)"),
        ("two.onnx", r"two\.onnx: needs exactly one float32 input, found a tensor\(float\), b tensor\(float\)"),
        ("dynamic.onnx", r"dynamic\.onnx: input 'image' must have a fixed shape, found \['n', 2, 2, 3\]"),
    ],
)
def test_onnx_that_breaks_the_contract(name: str, expected: str, odd_models: Path) -> None:
    with pytest.raises(BackendError, match=expected):
        OnnxBackend(odd_models / name)


def test_onnx_that_fails_while_running(odd_models: Path) -> None:
    try:
        backend = OnnxBackend(odd_models / "fails.onnx")
    except BackendError as refused:
        pytest.skip(f"this onnxruntime finds it when loading: {refused}")
    with pytest.raises(BackendError, match=r"fails\.onnx: inference failed: ") as caught:
        backend.run(np.zeros((1, 2, 2, 3), np.float32))
    assert "\n" not in str(caught.value)


class _OddInterpreter:
    """Stands where LiteRT's interpreter does, for models that our converter cannot make."""

    def __init__(self, *, dtype: type, count: int, fails: bool = False) -> None:
        self._details = [
            {"name": f"in{i}", "index": i, "shape": np.array([1, 2, 2, 3]), "dtype": dtype} for i in range(count)
        ]
        self._fails = fails

    def allocate_tensors(self) -> None:
        pass

    def get_signature_list(self) -> dict:
        return {}

    def get_input_details(self) -> list[dict]:
        return self._details

    def get_output_details(self) -> list[dict]:
        return [{"name": "StatefulPartitionedCall:0", "index": 9}]

    def set_tensor(self, index: int, tensor: np.ndarray) -> None:
        self._tensor = tensor

    def invoke(self) -> None:
        if self._fails:
            raise RuntimeError("node 3 failed\nwith a second line")

    def get_tensor(self, index: int) -> np.ndarray:
        return self._tensor.sum(axis=(1, 2))


def odd_tflite(monkeypatch: pytest.MonkeyPatch, **options: object) -> TfliteBackend:
    monkeypatch.setattr("edge.backends.tflite._interpreter_class", lambda: lambda **_: _OddInterpreter(**options))
    return TfliteBackend(Path("odd.tflite"))


def test_tflite_without_a_signature_names_its_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = odd_tflite(monkeypatch, dtype=np.float32, count=1)
    assert list(backend.run(np.zeros((1, 2, 2, 3), np.float32)).by_name) == ["StatefulPartitionedCall:0"]


def test_tflite_that_breaks_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BackendError, match=r"odd\.tflite: needs exactly one float32 input, found in0 int8"):
        odd_tflite(monkeypatch, dtype=np.int8, count=1)
    with pytest.raises(BackendError, match="found in0 float32, in1 float32"):
        odd_tflite(monkeypatch, dtype=np.float32, count=2)
    backend = odd_tflite(monkeypatch, dtype=np.float32, count=1, fails=True)
    with pytest.raises(BackendError, match=r"odd\.tflite: inference failed: node 3 failed$"):
        backend.run(np.zeros((1, 2, 2, 3), np.float32))
