"""Keras and foreign ONNX files to float32 TFLite, checked with the runtime of a device before anything is written."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from converters.apart.environment import ApartEnvironment, ensure_environment
from converters.apart.job import KERAS_JOB, ONNX2TF_JOB, ApartJob, run_job
from converters.apart.job_report import ANSWERS_FILE, MODEL_FILE, JobError, JobReport, Tensor
from converters.apart.keras_config import check_keras_file
from converters.apart.pins import KERAS, ONNX2TF
from converters.foreign.inspect import MAX_MODEL_BYTES, opened_model
from edge import durable
from edge.backends.select import open_backend
from edge.bundle.manifest import ArtifactFormat
from edge.errors import BackendError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge.types import FloatArray

KERAS_SUFFIXES = (".keras", ".h5", ".hdf5")
MAX_DIFFERENCE = 1e-3
_SMALLEST_SCALE = 1e-6

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApartResult:
    """A model that was converted in an environment apart.

    Attributes:
        path: The TFLite file.
        producer: Which library converted it, with its version.
        input: What it takes.
        outputs: What it gives.
        difference: The largest difference between what the original and the TFLite file say to noise, as a share of
            the output's largest value.
    """

    path: Path
    producer: str
    input: Tensor
    outputs: tuple[Tensor, ...]
    difference: float

    def line(self) -> str:
        """One line for people."""
        return (
            f"converted to TFLite by {self.producer}; on noise it differs by {self.difference:.1e} of the largest value"
        )


def keras_to_tflite(path: Path, out: Path, *, root: Path, say: Say) -> ApartResult:
    """Converts a `.keras` or `.h5` file.

    Args:
        path: The file; never one with code in it.
        out: The TFLite file to write; its folder must exist.
        root: The folder of the environments.
        say: Takes a line for people before an environment is made.

    Raises:
        UsageError: The file cannot be read.
        BackendError: It is no model of one picture of a fixed size, holds code, or does not survive the conversion.
        ApartError: The environment cannot be made, or the conversion broke down.
        StorageError: `out` cannot be written.
    """
    _check_size(path)
    try:
        check_keras_file(path)
    except JobError as cause:
        raise BackendError(f"{path.name}: {cause.reason}", hint=cause.hint) from cause
    return _converted(KERAS, KERAS_JOB, path, out, root=root, say=say)


def onnx_to_tflite(path: Path, out: Path, *, root: Path, say: Say) -> ApartResult:
    """Converts an `.onnx` file, whose input becomes NHWC; outputs keep their names and shapes.

    Args and errors as of `keras_to_tflite`.

    Raises:
        MissingExtraError: onnxruntime is not installed.
    """
    _check_size(path)
    with opened_model(path):
        pass  # a file that cannot be run is refused before an environment is made for it
    return _converted(ONNX2TF, ONNX2TF_JOB, path, out, root=root, say=say)


@contextmanager
def as_tflite(path: Path, *, root: Path, say: Say) -> Iterator[ApartResult]:
    """A converted file for as long as the block lasts, called like the original but for its suffix.

    Raises:
        UsageError: The file is of a kind that cannot be converted; and what the functions above raise.
    """
    suffix = path.suffix.lower()
    if suffix not in (*KERAS_SUFFIXES, ".onnx"):
        raise UsageError(
            f"{path}: cannot be converted to TFLite", hint=f"give a {', '.join(KERAS_SUFFIXES)} or .onnx file"
        )
    convert = onnx_to_tflite if suffix == ".onnx" else keras_to_tflite
    with tempfile.TemporaryDirectory(prefix="edgeloop-") as folder:
        yield convert(path, Path(folder) / f"{path.stem}.tflite", root=root, say=say)


def _check_size(path: Path) -> None:
    try:
        size = path.stat().st_size
        with path.open("rb"):
            pass
    except OSError as cause:
        raise UsageError(f"{path}: cannot be read: {(cause.strerror or str(cause)).lower()}") from cause
    if size > MAX_MODEL_BYTES:
        raise UsageError(f"{path}: larger than {MAX_MODEL_BYTES} bytes")


def _converted(
    environment: ApartEnvironment, job: ApartJob, path: Path, out: Path, *, root: Path, say: Say
) -> ApartResult:
    python = ensure_environment(environment, root, say=say)
    with tempfile.TemporaryDirectory(prefix="edgeloop-") as folder:
        work = Path(folder)
        report = run_job(job, python, path, work)
        difference = check_conversion(path.name, work / MODEL_FILE, work / ANSWERS_FILE, report)
        durable.write_bytes(out, (work / MODEL_FILE).read_bytes(), point="apart.model")
    return ApartResult(
        path=out, producer=report.producer, input=report.input, outputs=report.outputs, difference=difference
    )


def check_conversion(name: str, model: Path, answers: Path, report: JobReport) -> float:
    """Runs a converted file as a device would and compares it with what the original said.

    Args:
        name: Of the original, for errors.
        model: The TFLite file.
        answers: What `write_answers` wrote.
        report: What the job says about both.

    Returns:
        The largest difference, as a share of the output's largest value.

    Raises:
        BackendError: The file cannot be opened, is another model than was reported, or answers otherwise.
        MissingExtraError: No TFLite runtime is installed.
    """
    backend = open_backend(model, ArtifactFormat.TFLITE)
    try:
        found = Tensor(name=report.input.name, shape=tuple(backend.input_shape), dtype=backend.input_dtype)
        if found != report.input:
            raise BackendError(f"{name}: its TFLite file takes {found}, not {report.input}")
        pairs = _recorded(answers, report)
        return max((_difference(name, wanted, backend.run(array).by_name) for array, wanted in pairs), default=0.0)
    finally:
        backend.close()


def _recorded(answers: Path, report: JobReport) -> list[tuple[FloatArray, dict[str, FloatArray]]]:
    """Inputs, each with the original's outputs by name."""
    import numpy as np

    with np.load(answers, allow_pickle=False) as archive:
        numbers = range(sum(key.startswith("input_") for key in archive.files))
        return [
            (
                archive[f"input_{number}"],
                {
                    output.name: archive[f"answer_{number}_{index}"].astype(np.float32)
                    for index, output in enumerate(report.outputs)
                },
            )
            for number in numbers
        ]


def _difference(name: str, wanted: Mapping[str, FloatArray], found: Mapping[str, FloatArray]) -> float:
    import numpy as np

    if set(found) != set(wanted):
        raise BackendError(f"{name}: its TFLite file gives {', '.join(found)}, not {', '.join(wanted)}")
    worst = 0.0
    for key, want in wanted.items():
        have = found[key]
        if have.shape != want.shape:
            raise BackendError(f"{name}: output {key!r} became {list(have.shape)}, it was {list(want.shape)}")
        if not (np.isfinite(want).all() and np.isfinite(have).all()):
            raise BackendError(f"{name}: output {key!r} is not finite on noise")
        if want.size:
            scale = max(float(np.abs(want).max()), _SMALLEST_SCALE)
            worst = max(worst, float(np.abs(want - have).max()) / scale)
        if worst > MAX_DIFFERENCE:
            raise BackendError(
                f"{name}: its TFLite file answers otherwise: output {key!r} is off by {worst:.1%} of its largest value",
                hint="this conversion does not keep the model; import an ONNX file of it as it stands",
            )
    return worst
