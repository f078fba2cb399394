"""Preprocess vectors: pictures, and what preprocessing must make of them and of parts of them, to the bit.

`vectors/index.json` is language-neutral. A port in another language passes when it gives the same pixels, the same
tensor and the same geometry for each entry.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from device_tests.plan import VECTORS, MismatchError
from edge import jsonvalue
from edge.bundle.manifest import PreprocessSpec
from edge.preprocess import crop_pixels, open_picture, preprocess_pixels, to_tensor
from edge.types import Box, Geometry


@dataclass(frozen=True, slots=True, kw_only=True)
class PreprocessVector:
    """One picture, whole or a box of it, and what preprocessing must make of it.

    Attributes:
        file: Encoded picture in `vectors/`.
        spec: How it is preprocessed.
        sha256: Digest of the uint8 pixels (height, width, 3), RGB, in C order, before normalisation, hex.
        geometry: The way back to the picture.
        box: The part that is read, in pixels of the upright picture; None for the whole picture.
        margin: How much the box is widened on each side, as a share of its own width and height.
        tensor_sha256: Digest of the normalised tensor of the spec's shape and type in C order, little-endian, hex;
            empty where the tensor holds the pixels as they are.
    """

    file: str
    spec: PreprocessSpec
    sha256: str
    geometry: Geometry
    box: Box | None = None
    margin: float = 0.0
    tensor_sha256: str = ""

    @property
    def name(self) -> str:
        """For people."""
        spec = self.spec
        part = f" at {self.box.left:g},{self.box.top:g}" if self.box else ""
        kind = f" {spec.layout.value} {spec.channels.value} {spec.dtype.value}" if self.tensor_sha256 else ""
        return f"{self.file}{part} {spec.crop.value} {spec.width}x{spec.height}{kind}"


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


def measured(
    folder: Path, file: str, spec: PreprocessSpec, *, box: Box | None = None, margin: float = 0.0, tensor: bool = False
) -> PreprocessVector:
    """What preprocessing makes of a picture on this machine.

    Args:
        folder: Where the picture lies.
        file: Its name.
        spec: How it is preprocessed.
        box: The part that is read; None for the whole picture.
        margin: How much the box is widened.
        tensor: Whether the normalised tensor is compared too.
    """
    if box is None:
        pixels, geometry = preprocess_pixels(folder / file, spec)
    else:
        pixels, geometry = crop_pixels(open_picture(folder / file), box, spec, margin=margin)
    digest = ""
    if tensor:
        values = to_tensor(pixels, spec)
        digest = hashlib.sha256(values.astype(values.dtype.newbyteorder("<")).tobytes()).hexdigest()
    return PreprocessVector(
        file=file,
        spec=spec,
        sha256=hashlib.sha256(pixels.tobytes()).hexdigest(),
        geometry=geometry,
        box=box,
        margin=margin,
        tensor_sha256=digest,
    )


def check_vector(vector: PreprocessVector) -> None:
    """Preprocesses one picture and compares digests and geometry.

    Raises:
        MismatchError: They differ.
    """
    found = measured(
        VECTORS, vector.file, vector.spec, box=vector.box, margin=vector.margin, tensor=bool(vector.tensor_sha256)
    )
    if found.sha256 != vector.sha256:
        raise MismatchError(f"{vector.name}: tensor has SHA-256 {found.sha256}, expected {vector.sha256}")
    if found.tensor_sha256 != vector.tensor_sha256:
        raise MismatchError(
            f"{vector.name}: normalised tensor has SHA-256 {found.tensor_sha256}, expected {vector.tensor_sha256}"
        )
    if found.geometry != vector.geometry:
        raise MismatchError(f"{vector.name}: geometry is {found.geometry}, expected {vector.geometry}")
