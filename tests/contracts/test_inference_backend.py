"""What every inference backend promises; each runs the same suite, and so does a pool of each."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from edge.backends.base import InferenceBackend, RuntimeOptions
from edge.backends.pool import BackendPool
from edge.backends.select import open_backend
from edge.bundle.manifest import ArtifactFormat
from edge.errors import BackendError, MissingExtraError, UsageError

MODELS = Path(__file__).resolve().parent.parent / "models"
SHAPE = (1, 32, 32, 3)
RUNTIMES = {ArtifactFormat.TFLITE: ("ai_edge_litert", "tflite_runtime"), ArtifactFormat.ONNX: ("onnxruntime",)}


@pytest.fixture(params=list(ArtifactFormat), ids=lambda item: item.value)
def kind(request: pytest.FixtureRequest) -> ArtifactFormat:
    return request.param


@pytest.fixture
def model(kind: ArtifactFormat) -> Path:
    return MODELS / f"tiny_fp32.{kind.value}"


@pytest.fixture(params=["one", "pool"])
def backend(request: pytest.FixtureRequest, kind: ArtifactFormat, model: Path) -> InferenceBackend:
    if request.param == "one":
        return open_backend(model, kind)
    return BackendPool(lambda: open_backend(model, kind), size=2)


def coloured(red: int, green: int, blue: int) -> np.ndarray:
    return np.full(SHAPE, (red, green, blue), dtype=np.float32)


def test_says_who_it_is_and_what_it_eats(backend: InferenceBackend) -> None:
    assert backend.name in ("litert", "onnxruntime")
    assert backend.input_shape == SHAPE
    assert all(type(size) is int for size in backend.input_shape)
    assert backend.input_dtype == "float32"


def test_outputs_are_named_float32_and_right(backend: InferenceBackend) -> None:
    outputs = backend.run(coloured(255, 0, 0)).by_name
    assert list(outputs) == ["logits"]
    assert outputs["logits"].shape == (1, 3)
    assert outputs["logits"].dtype == np.float32
    assert outputs["logits"].argmax() == 0
    assert backend.run(coloured(0, 255, 0)).by_name["logits"].argmax() == 1
    assert backend.run(coloured(0, 0, 255)).by_name["logits"].argmax() == 2


def test_outputs_belong_to_the_caller(backend: InferenceBackend) -> None:
    first = backend.run(coloured(255, 0, 0)).by_name["logits"]
    kept = first.copy()
    second = backend.run(coloured(0, 0, 255)).by_name["logits"]
    assert (first == kept).all()
    first[:] = 0
    assert (backend.run(coloured(0, 0, 255)).by_name["logits"] == second).all()


def test_same_input_same_bits_with_any_number_of_instances(kind: ArtifactFormat, model: Path) -> None:
    tensor = np.random.default_rng(0).uniform(0, 255, SHAPE).astype(np.float32)
    backends = [open_backend(model, kind) for _ in range(2)]
    results = {backend.run(tensor).by_name["logits"].tobytes() for backend in backends for _ in range(3)}
    assert len(results) == 1


def test_memory_does_not_grow_with_the_frames(backend: InferenceBackend) -> None:
    """Of 2,000 frames no more than half a kilobyte each may stay behind."""
    tensor = np.random.default_rng(3).uniform(0, 255, SHAPE).astype(np.float32)

    def resident_bytes_after(num_frames: int) -> int:
        for _ in range(num_frames):
            backend.run(tensor)
        gc.collect()
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before = resident_bytes_after(500)
    assert resident_bytes_after(2000) - before < 1_000_000


def test_threads_change_nothing_that_matters(kind: ArtifactFormat, model: Path) -> None:
    tensor = np.random.default_rng(1).uniform(0, 255, SHAPE).astype(np.float32)
    one, two = (open_backend(model, kind, threads=threads).run(tensor).by_name["logits"] for threads in (1, 2))
    assert np.abs(one - two).max() < 1e-4
    for threads in (0, 10**12):
        with pytest.raises(UsageError, match=f"threads must be at least 1 and at most 1024, found {threads}"):
            open_backend(model, kind, threads=threads)
    with pytest.raises(UsageError, match="threads and options both given"):
        open_backend(model, kind, threads=1, options=RuntimeOptions())


def test_a_delegate_that_nobody_knows(kind: ArtifactFormat, model: Path) -> None:
    with pytest.raises(UsageError, match=r"has no delegate 'abacus'") as caught:
        open_backend(model, kind, options=RuntimeOptions(delegate="abacus"))
    assert "cpu" in caught.value.hint
    with pytest.raises(UsageError, match="delegate must not be empty"):
        RuntimeOptions(delegate="")


def test_input_that_is_not_contiguous(backend: InferenceBackend) -> None:
    tensor = np.random.default_rng(2).uniform(0, 255, SHAPE).astype(np.float32)
    mirrored = tensor[:, :, ::-1]
    expected = backend.run(np.ascontiguousarray(mirrored)).by_name["logits"]
    assert (backend.run(mirrored).by_name["logits"] == expected).all()


@pytest.mark.parametrize(
    "tensor",
    [
        np.zeros((1, 32, 33, 3), np.float32),
        np.zeros((32, 32, 3), np.float32),
        np.zeros((2, 32, 32, 3), np.float32),
        np.zeros(SHAPE, np.float64),
        np.zeros(SHAPE, np.uint8),
    ],
)
def test_wrong_input_is_refused_and_harmless(backend: InferenceBackend, tensor: np.ndarray, model: Path) -> None:
    with pytest.raises(BackendError, match=rf"{model.name}: input must be float32 \(1, 32, 32, 3\), found"):
        backend.run(tensor)
    assert backend.run(coloured(0, 255, 0)).by_name["logits"].argmax() == 1


def test_close_twice_then_run(backend: InferenceBackend, model: Path) -> None:
    backend.close()
    backend.close()
    with pytest.raises(BackendError, match=f"^({model.name}: the backend|the pool of backends) is closed$"):
        backend.run(coloured(0, 0, 0))


def test_truncated_file_is_one_clear_error(kind: ArtifactFormat, model: Path, tmp_path: Path) -> None:
    data = model.read_bytes()
    path = tmp_path / f"cut.{kind.value}"
    for length in (*range(0, len(data), 97), 1, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(BackendError, match=rf"cut\.{kind.value}: not a usable") as caught:
            open_backend(path, kind)
        assert "\n" not in str(caught.value)


def test_file_of_the_other_format_or_missing(kind: ArtifactFormat, tmp_path: Path) -> None:
    other = next(item for item in ArtifactFormat if item is not kind)
    with pytest.raises(BackendError, match="not a usable"):
        open_backend(MODELS / f"tiny_fp32.{other.value}", kind)
    with pytest.raises(BackendError, match="gone: not a usable"):
        open_backend(tmp_path / "gone", kind)
    with pytest.raises(BackendError, match="not a usable"):
        open_backend(tmp_path, kind)


def test_missing_runtime_names_the_install_line(
    kind: ArtifactFormat, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(sys.modules):
        if name.split(".")[0] in RUNTIMES[kind]:
            monkeypatch.delitem(sys.modules, name)
    for name in RUNTIMES[kind]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError) as caught:
        open_backend(model, kind)
    assert f'pip install "edgeloop[{kind.value}]"' in str(caught.value)
