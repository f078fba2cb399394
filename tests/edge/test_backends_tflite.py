"""What only LiteRT can meet: integer inputs and outputs, shapes known afterwards, delegates, the older library."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from tiny_tflite import SHAPE, Operator, Tensor, write_model

from edge.backends.base import RuntimeOptions
from edge.backends.tflite import TfliteBackend
from edge.errors import BackendError, UsageError

MODELS = Path(__file__).resolve().parent.parent / "models"
RAMP = np.arange(12, dtype=np.float32).reshape(SHAPE)


def one_operator(path: Path, code: str, before: Tensor, after: Tensor, **options: object) -> Path:
    """A model that is one operator."""
    return write_model(path, [before, after], [Operator(code=code, inputs=(0,), outputs=(1,))], inputs=[0], outputs=[1])


@pytest.mark.parametrize(("dtype", "zero_point"), [("uint8", 3), ("int8", -5)])
def test_quantized_output_comes_in_real_units(dtype: str, zero_point: int, tmp_path: Path) -> None:
    after = Tensor(name="out", dtype=dtype, scale=0.25, zero_point=zero_point)
    backend = TfliteBackend(one_operator(tmp_path / "q.tflite", "QUANTIZE", Tensor(name="image"), after))
    found = backend.run(RAMP / 2).by_name["out"]
    assert found.dtype == np.float32
    assert (found == RAMP / 2).all()
    assert (backend.run(RAMP * 1000).by_name["out"].max(), backend.run(RAMP * -1000).by_name["out"].min()) == (
        (np.iinfo(dtype).max - zero_point) / 4,
        (np.iinfo(dtype).min - zero_point) / 4,
    )


@pytest.mark.parametrize(("dtype", "zero_point"), [("uint8", 128), ("int8", -1)])
def test_integer_input_is_taken_as_it_is(dtype: str, zero_point: int, tmp_path: Path) -> None:
    before = Tensor(name="image", dtype=dtype, scale=0.5, zero_point=zero_point)
    backend = TfliteBackend(one_operator(tmp_path / "d.tflite", "DEQUANTIZE", before, Tensor(name="out")))
    assert (backend.input_shape, backend.input_dtype) == (SHAPE, dtype)
    tensor = np.linspace(np.iinfo(dtype).min, np.iinfo(dtype).max, 12).astype(dtype).reshape(SHAPE)
    assert (backend.run(tensor).by_name["out"] == (tensor.astype(np.float32) - zero_point) / 2).all()
    with pytest.raises(BackendError, match=rf"d\.tflite: input must be {dtype} \(1, 2, 2, 3\), found float32"):
        backend.run(tensor.astype(np.float32))


def where_model(path: Path, *names: str, signatures: tuple[str, ...] = ()) -> Path:
    """Says where the input is above zero: int64 rows, as many as there are; the second output is the same again."""
    zero = Tensor(name="zero", shape=(), values=np.zeros((), np.float32))
    mask = Tensor(name="mask", dtype="bool")
    found = [Tensor(name=name, dtype="int64", shape=(1, 4)) for name in names]
    where = [Operator(code="WHERE", inputs=(2,), outputs=(3 + i,)) for i in range(len(names))]
    return write_model(
        path,
        [Tensor(name="image"), zero, mask, *found],
        [Operator(code="GREATER", inputs=(0, 1), outputs=(2,)), *where],
        inputs=[0],
        outputs=[3 + i for i in range(len(names))],
        signatures=signatures,
    )


def test_shape_that_only_the_picture_decides(tmp_path: Path) -> None:
    backend = TfliteBackend(where_model(tmp_path / "where.tflite", "rows"))
    assert backend.run(RAMP * 0).by_name["rows"].shape == (0, 4)
    assert backend.run(RAMP).by_name["rows"].shape == (11, 4)
    rows = backend.run(RAMP - 10).by_name["rows"]
    assert rows.dtype == np.float32
    assert rows.tolist() == [[0, 1, 1, 2]]


def test_outputs_without_a_name_of_their_own(tmp_path: Path) -> None:
    backend = TfliteBackend(where_model(tmp_path / "where.tflite", "same", "same", ""))
    assert list(backend.run(RAMP).by_name) == ["same", "output_1", "output_2"]


def test_signature_names_the_outputs(tmp_path: Path) -> None:
    backend = TfliteBackend(where_model(tmp_path / "one.tflite", "rows", signatures=("read",)))
    assert list(backend.run(RAMP).by_name) == ["answer_0"]
    TfliteBackend(where_model(tmp_path / "two.tflite", "rows", signatures=("train", "serving_default")))
    with pytest.raises(BackendError, match=r"many\.tflite: has several signatures and no serving_default: "):
        TfliteBackend(where_model(tmp_path / "many.tflite", "rows", signatures=("train", "restore")))


def test_model_that_breaks_the_contract(tmp_path: Path) -> None:
    both = [Tensor(name="a"), Tensor(name="b"), Tensor(name="out")]
    add = [Operator(code="ADD", inputs=(0, 1), outputs=(2,))]
    with pytest.raises(BackendError, match=r"two\.tflite: needs exactly one input of .*, found a float32, b float32"):
        TfliteBackend(write_model(tmp_path / "two.tflite", both, add, inputs=[0, 1], outputs=[2]))
    half = Tensor(name="image", dtype="float16")
    with pytest.raises(BackendError, match=r"half\.tflite: needs exactly one input of .*, found image float16"):
        TfliteBackend(one_operator(tmp_path / "half.tflite", "DEQUANTIZE", half, Tensor(name="out")))


def test_output_of_text_is_refused(tmp_path: Path) -> None:
    words = Tensor(
        name="words", dtype="string", shape=(1,), values=np.frombuffer(b"\x01\0\0\0\x0c\0\0\0\x0d\0\0\0a", "u1")
    )
    quantize = [Operator(code="QUANTIZE", inputs=(0,), outputs=(1,))]
    tensors = [Tensor(name="image"), Tensor(name="out", dtype="int8", scale=1.0), words]
    path = write_model(tmp_path / "words.tflite", tensors, quantize, inputs=[0], outputs=[1, 2])
    with pytest.raises(BackendError, match=r"words\.tflite: output 'words' holds text, only numbers can be read"):
        TfliteBackend(path)


def test_open_batch_becomes_one_and_an_open_size_is_refused(tmp_path: Path) -> None:
    after = Tensor(name="out", dtype="int8", scale=1.0)
    batch = Tensor(name="image", signature=(-1, 2, 2, 3))
    assert TfliteBackend(one_operator(tmp_path / "b.tflite", "QUANTIZE", batch, after)).input_shape == SHAPE
    size = Tensor(name="image", shape=(1, 1, 1, 3), signature=(1, -1, -1, 3))
    with pytest.raises(BackendError, match=r"s\.tflite: input 'image' must have a fixed shape, found \[1, -1, -1, 3\]"):
        TfliteBackend(one_operator(tmp_path / "s.tflite", "QUANTIZE", size, after))


def test_failure_while_running_names_the_file(tmp_path: Path) -> None:
    """The picture picks rows out of two; a seventh is not there."""
    tensors = [
        Tensor(name="image", shape=(1, 3)),
        Tensor(name="rows", dtype="int32", shape=(1, 3)),
        Tensor(name="table", shape=(2, 2), values=np.eye(2, dtype=np.float32)),
        Tensor(name="out", shape=(1, 3, 2)),
    ]
    operators = [
        Operator(code="CAST", inputs=(0,), outputs=(1,)),
        Operator(code="GATHER", inputs=(2, 1), outputs=(3,)),
    ]
    backend = TfliteBackend(write_model(tmp_path / "g.tflite", tensors, operators, inputs=[0], outputs=[3]))
    assert backend.run(np.array([[0, 1, 0]], np.float32)).by_name["out"][0, 1].tolist() == [0, 1]
    with pytest.raises(BackendError, match=r"g\.tflite: inference failed: ") as caught:
        backend.run(np.array([[0, 7, 0]], np.float32))
    assert "\n" not in str(caught.value)
    assert backend.run(np.array([[1, 1, 0]], np.float32)).by_name["out"][0, 0].tolist() == [0, 1]


def test_built_in_kernels_agree_on_a_float_model() -> None:
    tensor = np.random.default_rng(0).uniform(0, 255, (1, 32, 32, 3)).astype(np.float32)
    answers = [
        TfliteBackend(MODELS / "tiny_fp32.tflite", RuntimeOptions(delegate=delegate)).run(tensor).by_name["logits"]
        for delegate in ("cpu", "builtin")
    ]
    assert np.abs(answers[0] - answers[1]).max() < 1e-4


def test_delegate_library_that_is_none(tmp_path: Path) -> None:
    text = tmp_path / "text.so"
    text.write_text("no library")
    cases = {
        "/gone/delegate.so": "the delegate cannot be loaded",
        "/gone/libedgetpu.so.1": "the delegate cannot be loaded",
        str(text): "the delegate cannot be loaded",
        "libc.so.6": "not a LiteRT delegate",
    }
    for library, expected in cases.items():
        with pytest.raises(BackendError, match=f"^{library}: {expected}: ") as caught:
            TfliteBackend(MODELS / "tiny_fp32.tflite", RuntimeOptions(delegate=library))
        assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="LiteRT has no delegate 'cuda'"):
        TfliteBackend(MODELS / "tiny_fp32.tflite", RuntimeOptions(delegate="cuda"))


_DELEGATE = """
#include <stddef.h>
#include <stdint.h>
struct delegate { void* data; int (*prepare)(void*, void*); void* others[3]; int64_t flags; void* builder; };
static int prepare(void* context, void* self) { return PREPARE; }
static struct delegate only = { NULL, prepare, { NULL, NULL, NULL }, 0, NULL };
void* tflite_plugin_create_delegate(char** keys, char** values, size_t count, void (*report)(const char*)) {
  if (FAILS) { report("no such chip on this board"); return NULL; }
  return &only;
}
void tflite_plugin_destroy_delegate(void* self) {}
"""


def compiled_delegate(folder: Path, *, prepare: int = 0, fails: int = 0) -> str:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    library, source = folder / "delegate.so", folder / "delegate.c"
    source.write_text(_DELEGATE)
    flags = [f"-DPREPARE={prepare}", f"-DFAILS={fails}"]
    subprocess.run([compiler, "-shared", "-fPIC", *flags, "-o", str(library), str(source)], check=True)
    return str(library)


def test_external_delegate_runs_and_its_refusals_are_told(tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    library = compiled_delegate(tmp_path / "good")
    backend = TfliteBackend(MODELS / "tiny_fp32.tflite", RuntimeOptions(delegate=library))
    red = np.full((1, 32, 32, 3), (255, 0, 0), np.float32)
    assert backend.run(red).by_name["logits"].argmax() == 0
    backend.close()


def test_external_delegate_that_finds_no_chip(tmp_path: Path) -> None:
    library = compiled_delegate(tmp_path, fails=1)
    with pytest.raises(
        BackendError, match=r"delegate\.so: the delegate cannot be loaded: .*no such chip on this board"
    ):
        TfliteBackend(MODELS / "tiny_fp32.tflite", RuntimeOptions(delegate=library))


def test_external_delegate_that_refuses_the_model(tmp_path: Path) -> None:
    library = compiled_delegate(tmp_path, prepare=1)
    with pytest.raises(BackendError, match=r"tiny_fp32\.tflite: refused with delegate .*delegate\.so: "):
        TfliteBackend(MODELS / "tiny_fp32.tflite", RuntimeOptions(delegate=library))


def forget(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] in names]:
        monkeypatch.delitem(sys.modules, name)
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)


def test_tflite_runtime_serves_old_boards(monkeypatch: pytest.MonkeyPatch) -> None:
    from ai_edge_litert import interpreter

    forget(monkeypatch, "ai_edge_litert")
    older = types.ModuleType("tflite_runtime")
    older.interpreter = interpreter
    monkeypatch.setitem(sys.modules, "tflite_runtime", older)
    monkeypatch.setitem(sys.modules, "tflite_runtime.interpreter", interpreter)
    for delegate in ("cpu", "builtin"):
        backend = TfliteBackend(MODELS / "tiny_fp32.tflite", RuntimeOptions(delegate=delegate))
        assert list(backend.run(np.zeros((1, 32, 32, 3), np.float32)).by_name) == ["logits"]


@pytest.mark.parametrize(
    ("library", "gone", "expected"),
    [("ai_edge_litert", (), "ai-edge-litert"), ("tflite_runtime", ("ai_edge_litert",), "tflite-runtime")],
)
def test_runtime_that_is_there_but_broken(
    library: str, gone: tuple[str, ...], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not "is not installed": installing it again would change nothing."""
    forget(monkeypatch, library, *gone)
    monkeypatch.delitem(sys.modules, library)
    real = __import__

    def load(name: str, *rest: object) -> object:
        if name.partition(".")[0] == library:
            raise ImportError("GLIBC_2.27 not found")
        return real(name, *rest)

    monkeypatch.setattr("builtins.__import__", load)
    with pytest.raises(BackendError, match=f"{expected} cannot be loaded: GLIBC_2.27 not found"):
        TfliteBackend(MODELS / "tiny_fp32.tflite")


@pytest.mark.data
def test_foreign_uint8_models(data_root: Path) -> None:
    classifier = TfliteBackend(data_root / "models" / "mobilenet_v2_1.0_224_quant.tflite")
    assert (classifier.input_shape, classifier.input_dtype) == ((1, 224, 224, 3), "uint8")
    scores = classifier.run(np.full((1, 224, 224, 3), 127, np.uint8)).by_name["MobilenetV2/Predictions/Softmax"]
    assert scores.shape == (1, 1001)
    assert scores.sum() == pytest.approx(1, abs=0.5)
    detector = TfliteBackend(data_root / "models" / "coco_ssd_mobilenet_v1_quant.tflite")
    outputs = detector.run(np.full((1, 300, 300, 3), 127, np.uint8)).by_name
    post = "TFLite_Detection_PostProcess"
    assert {name: array.shape for name, array in outputs.items()} == {
        post: (1, 10, 4),
        f"{post}:1": (1, 10),
        f"{post}:2": (1, 10),
        f"{post}:3": (1,),
    }


def test_integer_frames_leave_nothing_behind(tmp_path: Path) -> None:
    """Dequantizing and shapes that change make new arrays each frame; 2,000 frames may leave less than 1 MB."""
    backend = TfliteBackend(where_model(tmp_path / "where.tflite", "rows"))
    pictures = [RAMP - level for level in range(12)]

    def resident_bytes_after(num_frames: int) -> int:
        for number in range(num_frames):
            backend.run(pictures[number % 12])
        gc.collect()
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before = resident_bytes_after(500)
    assert resident_bytes_after(2000) - before < 1_000_000
