"""The checks themselves: plain functions that raise an `EdgeloopError` or `MismatchError` when the device differs."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

from edge import jsonvalue
from edge.backends.select import runtime_installed
from edge.bundle.archive import unpack
from edge.bundle.manifest import PreprocessSpec
from edge.bundle.reader import Bundle, load_golden, open_bundle
from edge.engine import open_engine
from edge.errors import EdgeloopError, UsageError
from edge.preprocess import preprocess_pixels
from edge.types import Geometry
from edge.update.selftest import self_test

FOLDER = Path(__file__).resolve().parent
VECTORS = FOLDER / "vectors"
TINY_BUNDLE = FOLDER / "tiny.edgebundle"
DEVICES = ("local",)


class MismatchError(EdgeloopError):
    """The device gives something else than the machine that made the vectors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreprocessVector:
    """One picture and what preprocessing must make of it.

    Attributes:
        file: Encoded picture in `vectors/`.
        spec: How it is preprocessed.
        sha256: Digest of the uint8 tensor (height, width, 3) in C order, hex.
        geometry: The way back to the picture.
    """

    file: str
    spec: PreprocessSpec
    sha256: str
    geometry: Geometry

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.file} {self.spec.crop.value} {self.spec.width}x{self.spec.height}"


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorIndex:
    """`vectors/index.json`.

    Attributes:
        vectors: All of them.
    """

    vectors: tuple[PreprocessVector, ...]


def load_vectors() -> tuple[PreprocessVector, ...]:
    """The committed preprocess vectors."""
    path = VECTORS / "index.json"
    return jsonvalue.load(VectorIndex, path.read_bytes(), where=str(path)).vectors


def check_vector(vector: PreprocessVector) -> None:
    """Preprocesses one picture and compares digest and geometry.

    Raises:
        MismatchError: They differ.
    """
    pixels, geometry = preprocess_pixels(VECTORS / vector.file, vector.spec)
    found = hashlib.sha256(pixels.tobytes()).hexdigest()
    if found != vector.sha256:
        raise MismatchError(f"{vector.name}: tensor has SHA-256 {found}, expected {vector.sha256}")
    if geometry != vector.geometry:
        raise MismatchError(f"{vector.name}: geometry is {geometry}, expected {vector.geometry}")


def check_bundle(path: Path) -> str:
    """Opens a bundle folder or archive, runs its golden vectors, and one picture through the whole engine.

    Returns:
        One line: what was run.

    Raises:
        EdgeloopError: The bundle is damaged, or the device differs.
    """
    with tempfile.TemporaryDirectory() as scratch:
        if path.is_dir():
            bundle = open_bundle(path)
        elif path.is_file():
            bundle = unpack(path, Path(scratch) / "bundle")
        else:
            raise UsageError(f"{path}: no such bundle")
        self_test(bundle)
        return _run_engine(bundle)


def _run_engine(bundle: Bundle) -> str:
    stage = bundle.manifest.stages[-1]
    runnable = [artifact for artifact in stage.artifacts if runtime_installed(artifact.format)]
    picture = bundle.path(load_golden(bundle).vectors[0].input_file)
    for artifact in runnable:
        with open_engine(bundle, artifact=artifact.file, allow_unproven=True) as engine:
            engine.infer(picture)
    names = ", ".join(artifact.file for artifact in runnable)
    return f"{bundle.manifest.name} {bundle.manifest.version}: {names}"
