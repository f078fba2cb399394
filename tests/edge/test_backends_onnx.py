"""What only ONNX Runtime can meet: other types, open shapes, providers that do not come."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from edge.backends.base import RuntimeOptions
from edge.backends.onnx import PROVIDERS, OnnxBackend, available_providers
from edge.errors import BackendError

MODELS = Path(__file__).resolve().parent.parent / "models"
FIXED = [1, 2, 2, 3]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ONNX models of one or two nodes, most of which break the contract."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    folder = tmp_path_factory.mktemp("odd")

    def tensor(name: str, kind: int, shape: list | None) -> object:
        return helper.make_tensor_value_info(name, kind, shape)

    def save(name: str, inputs: list, nodes: list, outputs: list) -> None:
        graph = helper.make_graph(nodes, "g", inputs, outputs)
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), str(folder / name))

    def identity(name: str, kind: int, shape: list) -> None:
        node = helper.make_node("Identity", ["image"], ["out"])
        save(name, [tensor("image", kind, shape)], [node], [tensor("out", kind, None)])

    identity("uint8.onnx", TensorProto.UINT8, FIXED)
    identity("int8.onnx", TensorProto.INT8, FIXED)
    identity("float16.onnx", TensorProto.FLOAT16, FIXED)
    identity("batch.onnx", TensorProto.FLOAT, ["n", 2, 2, 3])
    identity("size.onnx", TensorProto.FLOAT, [1, "h", "w", 3])
    two = [tensor("a", TensorProto.FLOAT, FIXED), tensor("b", TensorProto.FLOAT, FIXED)]
    save("two.onnx", two, [helper.make_node("Add", ["a", "b"], ["out"])], [tensor("out", TensorProto.FLOAT, None)])
    image = tensor("image", TensorProto.FLOAT, FIXED)
    indices = [helper.make_node("NonZero", ["image"], ["out"])]
    save("indices.onnx", [image], indices, [tensor("out", TensorProto.INT64, None)])
    words = helper.make_node("Cast", ["image"], ["out"], to=TensorProto.STRING)
    save("words.onnx", [image], [words], [tensor("out", TensorProto.STRING, FIXED)])
    # The reshape to 12 - 5 numbers fails while it runs.
    five = helper.make_node("Constant", [], ["five"], value=helper.make_tensor("v", TensorProto.INT64, [1], [5]))
    count = [
        helper.make_node("Shape", ["image"], ["size"]),
        helper.make_node("ReduceProd", ["size"], ["count"], keepdims=1),
        helper.make_node("Sub", ["count", "five"], ["less"]),
        helper.make_node("Reshape", ["image", "less"], ["out"]),
    ]
    save("fails.onnx", [tensor("image", TensorProto.FLOAT, ["n", 2, 2, 3])], [five, *count], [tensor("out", 1, ["k"])])
    return folder


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "float16.onnx",
            r"needs exactly one input of float32, uint8, int8, found image tensor\(float16\)",
        ),
        ("two.onnx", r"found a tensor\(float\), b tensor\(float\)"),
        ("size.onnx", r"input 'image' must have a fixed shape, found \[1, 'h', 'w', 3\]"),
        ("words.onnx", r"output 'out' is tensor\(string\), only tensors of numbers can be read"),
    ],
)
def test_model_that_breaks_the_contract(name: str, expected: str, models: Path) -> None:
    with pytest.raises(BackendError, match=rf"{name}: .*{expected}") as caught:
        OnnxBackend(models / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["uint8", "int8"])
def test_integers_come_out_as_float(kind: str, models: Path) -> None:
    backend = OnnxBackend(models / f"{kind}.onnx")
    assert (backend.input_shape, backend.input_dtype) == ((1, 2, 2, 3), kind)
    limits = np.iinfo(kind)
    tensor = np.linspace(limits.min, limits.max, 12).astype(kind).reshape(1, 2, 2, 3)
    (output,) = backend.run(tensor).by_name.values()
    assert output.dtype == np.float32
    assert (output == tensor).all()
    with pytest.raises(BackendError, match=f"{kind}.onnx: input must be {kind}"):
        backend.run(tensor.astype(np.float32))


def test_open_batch_becomes_one(models: Path) -> None:
    backend = OnnxBackend(models / "batch.onnx")
    assert backend.input_shape == (1, 2, 2, 3)
    assert backend.run(np.ones((1, 2, 2, 3), np.float32)).by_name["out"].shape == (1, 2, 2, 3)


def test_shape_that_only_the_picture_decides(models: Path) -> None:
    backend = OnnxBackend(models / "indices.onnx")
    tensor = np.zeros((1, 2, 2, 3), np.float32)
    assert backend.run(tensor).by_name["out"].shape == (4, 0)
    tensor[0, 1, 0, 2] = 5
    found = backend.run(tensor).by_name["out"]
    assert found.dtype == np.float32
    assert found.T.tolist() == [[0, 1, 0, 2]]


def test_failure_while_running_names_the_file(models: Path) -> None:
    backend = OnnxBackend(models / "fails.onnx")
    with pytest.raises(BackendError, match=r"fails\.onnx: inference failed: ") as caught:
        backend.run(np.zeros((1, 2, 2, 3), np.float32))
    assert "\n" not in str(caught.value)


def test_provider_that_this_runtime_was_not_built_with() -> None:
    delegate = next((name for name in PROVIDERS if name not in available_providers()), None)
    if delegate is None:
        pytest.skip("this onnxruntime has every provider")
    with pytest.raises(BackendError, match=rf"tiny_fp32\.onnx: delegate {delegate}: this onnxruntime has no") as caught:
        OnnxBackend(MODELS / "tiny_fp32.onnx", RuntimeOptions(delegate=delegate))
    assert caught.value.hint == "run it with delegate cpu"


def test_provider_that_leaves_everything_to_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Azure provider starts in every official build, is listed by the session, and computes none of our nodes."""
    import onnxruntime

    if "AzureExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has no provider that does nothing")
    monkeypatch.setitem(PROVIDERS, "cloud", ("AzureExecutionProvider",))
    with pytest.raises(BackendError, match="delegate cloud: AzureExecutionProvider took no part of the model"):
        OnnxBackend(MODELS / "tiny_fp32.onnx", RuntimeOptions(delegate="cloud"))


def test_provider_that_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a CUDA build where CUDA is not installed: the session comes up without it, and says nothing."""
    import onnxruntime

    class WithoutCuda(onnxruntime.InferenceSession):
        def __init__(self, path: str, **arguments: object) -> None:
            super().__init__(path, **(arguments | {"providers": ["CPUExecutionProvider"]}))

    monkeypatch.setattr(onnxruntime, "InferenceSession", WithoutCuda)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    with pytest.raises(BackendError, match="delegate cuda: CUDAExecutionProvider could not be started"):
        OnnxBackend(MODELS / "tiny_fp32.onnx", RuntimeOptions(delegate="cuda"))
    assert available_providers() == ("cpu", "cuda")


@pytest.mark.parametrize(("old", "new"), [(b"Relu", b"R\xfflu"), (b"image", b"im\xffge")])
def test_names_that_are_no_text(old: bytes, new: bytes, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Left to itself the library prints to stdout that it tries again with another provider."""
    path = tmp_path / "bent.onnx"
    path.write_bytes((MODELS / "tiny_fp32.onnx").read_bytes().replace(old, new))
    with pytest.raises(BackendError, match=r"bent\.onnx: not a usable ONNX model: ") as caught:
        OnnxBackend(path)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().out == ""


def test_backends_of_one_file_share_their_session(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import onnxruntime

    opened: list[str] = []

    class Counted(onnxruntime.InferenceSession):
        def __init__(self, path: str, **arguments: object) -> None:
            opened.append(path)
            super().__init__(path, **arguments)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Counted)
    path = tmp_path / "model.onnx"
    path.write_bytes((MODELS / "tiny_fp32.onnx").read_bytes())
    red = np.full((1, 32, 32, 3), (255, 0, 0), np.float32)
    first, second, other = OnnxBackend(path), OnnxBackend(path), OnnxBackend(path, RuntimeOptions(threads=2))
    assert len(opened) == 2
    first.close()
    assert second.run(red).by_name["logits"].argmax() == 0
    assert other.run(red).by_name["logits"].argmax() == 0
    (tmp_path / "next.onnx").write_bytes(path.read_bytes())
    (tmp_path / "next.onnx").replace(path)
    third = OnnxBackend(path)
    assert len(opened) == 3
    second.close()
    third.close()
    OnnxBackend(path)
    assert len(opened) == 4, "the last one to close frees the model"


def test_one_session_on_several_threads() -> None:
    """What the pool relies on: runs at the same time give the same bits as runs one by one."""
    pictures = np.random.default_rng(4).uniform(0, 255, (400, 1, 32, 32, 3)).astype(np.float32)
    backend = OnnxBackend(MODELS / "tiny_fp32.onnx")
    alone = [backend.run(picture).by_name["logits"].tobytes() for picture in pictures]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda picture: backend.run(picture).by_name["logits"].tobytes(), pictures))
    assert together == alone


def test_threads_rest_when_there_is_nothing_to_do() -> None:
    """A processor that spins between frames is taken from the next picture's preparation, and from the battery."""
    backend = OnnxBackend(MODELS / "tiny_fp32.onnx", RuntimeOptions(threads=4))
    picture = np.zeros((1, 32, 32, 3), np.float32)
    used_s = 0.0
    for _ in range(20):
        backend.run(picture)
        start = time.process_time()
        time.sleep(0.01)
        used_s += time.process_time() - start
    assert used_s < 20 * 0.01 / 4


def test_runtime_that_is_there_but_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    monkeypatch.setattr("builtins.__import__", _failing_import(__import__, "onnxruntime"))
    with pytest.raises(BackendError, match=r"onnxruntime cannot be loaded: libgomp\.so\.1: cannot open"):
        OnnxBackend(MODELS / "tiny_fp32.onnx")


def _failing_import(real: object, library: str) -> object:
    def load(name: str, *rest: object) -> object:
        if name.partition(".")[0] == library:
            raise ImportError("libgomp.so.1: cannot open shared object file")
        return real(name, *rest)

    return load


_REPORTS = """
import os, sys, tempfile
from pathlib import Path
from edge.backends.select import open_backend
from edge.bundle.manifest import ArtifactFormat
open_backend(Path(sys.argv[1]), ArtifactFormat.ONNX).close()
print(os.environ["ORT_DISABLE_TELEMETRY"], os.listdir(tempfile.gettempdir()))
"""


@pytest.mark.parametrize("chosen", [None, "0"])
def test_the_runtime_reports_to_nobody(chosen: str | None, tmp_path: Path) -> None:
    """Its Linux builds write a session file when they report; whoever asks for that may have it."""
    environment = {key: value for key, value in os.environ.items() if key not in ("ORT_DISABLE_TELEMETRY", "CI")}
    environment |= {"TMPDIR": str(tmp_path)} | ({"ORT_DISABLE_TELEMETRY": chosen} if chosen else {})
    done = subprocess.run(
        [sys.executable, "-c", _REPORTS, str(MODELS / "tiny_fp32.onnx")],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.stdout.split(maxsplit=1)[0] == (chosen or "1")
    if chosen is None:
        assert done.stdout.strip().endswith("[]")
