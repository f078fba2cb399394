"""One small conversion, made once for all tests of the converters."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """The test network in every form.

    Attributes:
        network: The torch module.
        exported: Under the model I/O contract.
        tflite: float32 flatbuffer.
        onnx: float32 ONNX.
        pixels: Calibration pictures, uint8.
    """

    network: Any
    exported: Any
    tflite: bytes
    onnx: bytes
    pixels: tuple[Any, ...]


@pytest.fixture(scope="session")
def job(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A job that nobody runs at its own place: use `dataclasses.replace(job, out=…)`."""
    from conversion_jobs import make_job

    folder = tmp_path_factory.mktemp("conversion")
    return make_job(folder / "pictures", folder / "never")


@pytest.fixture(scope="session")
def draft(job: Any, cold_cache: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the pipeline hands to the bundle writer for `job`, with its artifacts kept."""
    from converters import pipeline
    from converters.parity import one_thread

    work = tmp_path_factory.mktemp("draft")
    with one_thread():
        return pipeline.draft_bundle(job, work, cache=cold_cache, now=lambda: 1_700_000_000.0)


@pytest.fixture(scope="session")
def cold_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """For `draft` alone: nothing that it makes is found."""
    from converters.cache import ConversionCache

    return ConversionCache(folder=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def cache(draft: Any, cold_cache: Any) -> Any:
    """What was made for `draft`, and by all other tests that use it: most conversions take a second then."""
    return cold_cache


@pytest.fixture(scope="session")
def bundle(job: Any, draft: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished bundle of `job`; read it, never change it."""
    from converters.bundle_writer import working_folder, write_bundle
    from converters.job import job_digest

    out = tmp_path_factory.mktemp("bundles") / "shapes-1"
    with working_folder(out) as work:
        return write_bundle(draft, out, work=work, job=job_digest(job)).folder


@pytest.fixture(scope="session")
def models(job: Any) -> Models:
    from converters.export import export_network
    from converters.onnx import to_onnx
    from converters.parity import load_pixels
    from converters.tflite import to_tflite

    network = job.network.eval()
    exported = export_network(network, height=job.preprocess.height, width=job.preprocess.width)
    pixels = load_pixels([picture.path for picture in job.calibration], job.preprocess)
    return Models(network=network, exported=exported, tflite=to_tflite(exported), onnx=to_onnx(exported), pixels=pixels)


@pytest.fixture
def bundle_copy(bundle: Path, tmp_path: Path) -> Callable[[], Path]:
    """Gives copies of the finished bundle, with the note of the job beside them, that a test may damage."""
    import shutil

    def copy(name: str = "copy") -> Path:
        target = tmp_path / name
        shutil.copytree(bundle, target)
        shutil.copy(bundle.parent / f".{bundle.name}.job.json", tmp_path / f".{name}.job.json")
        return target

    return copy
