"""Reference embeddings of the classes that an embedder knows. Format page: docs/formats/gallery.md.

A gallery is one or more part files, read as one; a class may have rows in several. So a new product is one more small
file, and only that travels.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge import jsonvalue
from edge.errors import FormatError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edge.types import FloatArray

    IndexArray = npt.NDArray[np.int64]

MAGIC = b"ELGALRY\x01"
MAX_HEADER_BYTES = 8_000_000
MAX_DIMENSION = 8192
MAX_ROWS = 1_000_000
MAX_PART_BYTES = 1_000_000_000
_FIXED = struct.Struct("<8sI")
_WIDTHS = {"float32": 4, "float16": 2}
_OFF_UNIT = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Gallery:
    """Reference embeddings, class by class. Made by `make_gallery` or `read_gallery`, which order the rows.

    The arrays are read-only, for threads share them.

    Attributes:
        labels: Class names, all different; at least one.
        vectors: float32 (N, D), each of length 1.
        rows: int64 (N), position of each vector's class in `labels`; never decreases.
        starts: int64 (number of labels), the first row of each class; every class has at least one.
    """

    labels: tuple[str, ...]
    vectors: FloatArray
    rows: IndexArray
    starts: IndexArray

    @property
    def dimension(self) -> int:
        """Numbers in one embedding."""
        return int(self.vectors.shape[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryHeader:
    """The JSON header of a part.

    Attributes:
        dimension: Numbers in one embedding, 1 to 8192.
        dtype: `float32` or `float16`, little-endian.
        labels: Class names, all different; at least one.
        rows: How many embeddings, 1 to 1,000,000.
    """

    dimension: int
    dtype: str
    labels: tuple[str, ...]
    rows: int

    def __post_init__(self) -> None:
        """Refuses sizes, types and names that no gallery has."""
        if not (1 <= self.dimension <= MAX_DIMENSION and 1 <= self.rows <= MAX_ROWS):
            raise ValueError(f"needs dimension 1 to {MAX_DIMENSION} and rows 1 to {MAX_ROWS}")
        if self.dtype not in _WIDTHS:
            raise ValueError(f"dtype must be float32 or float16, found {self.dtype[:20]!r}")
        if not self.labels or len(self.labels) > self.rows or len(set(self.labels)) != len(self.labels):
            raise ValueError("labels must be at least one, all different, and no more than rows")
        for label in self.labels:
            if not label.strip() or not label.isprintable() or len(label) > 1000:
                raise ValueError(f"labels must be printable names, found {label[:100]!r}")


def make_gallery(
    labels: Sequence[str], rows: npt.ArrayLike, vectors: npt.ArrayLike, *, name: str = "gallery"
) -> Gallery:
    """Orders embeddings by class and gives them length 1.

    Args:
        labels: Class names, all different.
        rows: Class of each vector, its position in `labels`.
        vectors: (N, D), of any length but 0.
        name: What the embeddings come from, for errors.

    Raises:
        FormatError: A vector is zero or not finite, a row names no class, a class has no row, or sizes disagree.
    """
    import numpy as np

    matrix = np.array(vectors, dtype=np.float32, order="C", ndmin=1)
    if matrix.ndim != 2:
        raise FormatError(f"{name}: vectors must be rows of equal length, found shape {list(matrix.shape)}")
    index = np.asarray(rows, dtype=np.int64).reshape(-1)
    _checked(GalleryHeader, name, dimension=matrix.shape[1], dtype="float32", labels=tuple(labels), rows=len(matrix))
    _check_index(index, len(matrix), labels, name)
    _scale_to_unit(matrix, _lengths(matrix, name))
    return _arrange(tuple(labels), index, matrix)


def gallery_bytes(
    labels: Sequence[str], rows: npt.ArrayLike, vectors: npt.ArrayLike, *, dtype: str = "float32"
) -> bytes:
    """One part file; vectors are brought to length 1 first, and rows put in the order of their classes.

    Args:
        labels: Class names, all different.
        rows: Class of each vector, its position in `labels`.
        vectors: (N, D), of any length but 0.
        dtype: `float32`, or `float16` for half the size and cosines good to about 0.0005.

    Raises:
        FormatError: As in `make_gallery`, or an unknown `dtype`.
    """
    gallery = make_gallery(labels, rows, vectors)
    fields = {"dimension": gallery.dimension, "dtype": dtype, "labels": gallery.labels, "rows": len(gallery.rows)}
    header = jsonvalue.canonical_bytes(_checked(GalleryHeader, "gallery", **fields))
    padding = b"\0" * (-(_FIXED.size + len(header)) % 4)
    values = gallery.vectors.astype(_stored(dtype))
    return b"".join(
        (_FIXED.pack(MAGIC, len(header)), header, padding, gallery.rows.astype("<u4").tobytes(), values.tobytes())
    )


def read_gallery(parts: Sequence[tuple[str, bytes]]) -> Gallery:
    """Reads part files as one gallery. Labels keep the order in which they first occur; rows that of the parts.

    Args:
        parts: Name and content of each file; at least one.

    Raises:
        FormatError: A part breaks a rule of the format page, or has another dimension than the first.
    """
    import numpy as np

    if not parts:
        raise FormatError("a gallery needs at least one part", hint="name its files in 'match.gallery'")
    positions: dict[str, int] = {}
    indices: list[IndexArray] = []
    matrices: list[FloatArray] = []
    for name, data in parts:
        header, index, matrix = _read_part(name, data)
        if matrices and matrix.shape[1] != matrices[0].shape[1]:
            expected = f"{matrices[0].shape[1]} as in {parts[0][0]}"
            raise FormatError(f"{name}: dimension is {matrix.shape[1]}, expected {expected}")
        merged = np.array([positions.setdefault(label, len(positions)) for label in header.labels], dtype=np.int64)
        indices.append(merged[index])
        matrices.append(matrix)
    whole = matrices[0] if len(matrices) == 1 else np.concatenate(matrices)
    return _arrange(tuple(positions), np.concatenate(indices), whole)


def _read_part(name: str, data: bytes) -> tuple[GalleryHeader, IndexArray, FloatArray]:
    import numpy as np

    header, start = _read_header(name, data)
    index = np.frombuffer(data, dtype="<u4", count=header.rows, offset=start).astype(np.int64)
    _check_index(index, header.rows, header.labels, name)
    count = header.rows * header.dimension
    values = np.frombuffer(data, dtype=_stored(header.dtype), count=count, offset=start + 4 * header.rows)
    matrix = values.astype(np.float32).reshape(header.rows, header.dimension)
    lengths = _lengths(matrix, name)
    wrong = np.flatnonzero(np.abs(lengths - 1) > _OFF_UNIT)
    if len(wrong):
        raise FormatError(f"{name}: row {wrong[0]} has length {lengths[wrong[0]]:.4g}, embeddings have length 1")
    _scale_to_unit(matrix, lengths)
    return header, index, matrix


def _read_header(name: str, data: bytes) -> tuple[GalleryHeader, int]:
    """The header, and where the class indices start; the sizes agree then."""
    if len(data) > MAX_PART_BYTES:
        raise FormatError(f"{name}: {len(data)} bytes, at most {MAX_PART_BYTES} are read")
    if len(data) < _FIXED.size or not data.startswith(MAGIC[:-1]):
        raise FormatError(f"{name}: not a gallery file")
    magic, size = _FIXED.unpack_from(data)
    if magic != MAGIC:
        raise FormatError(f"{name}: gallery version {magic[-1]} is unknown", hint="update edgeloop")
    if size > MAX_HEADER_BYTES or _FIXED.size + size > len(data):
        raise FormatError(f"{name}: a header of {size} bytes does not fit")
    text = data[_FIXED.size : _FIXED.size + size]
    header = jsonvalue.load(GalleryHeader, text, where=f"{name}: header")
    if jsonvalue.canonical_bytes(header) != text:
        raise FormatError(f"{name}: header is not canonical JSON of its four fields")
    start = _FIXED.size + size + (-(_FIXED.size + size) % 4)
    expected = start + header.rows * (4 + header.dimension * _WIDTHS[header.dtype])
    if len(data) != expected or any(data[_FIXED.size + size : start]):
        raise FormatError(f"{name}: {len(data)} bytes, its header makes {expected} (with zeros as padding)")
    return header, start


def _checked(kind: type[GalleryHeader], name: str, **fields: object) -> GalleryHeader:
    try:
        return kind(**fields)  # type: ignore[arg-type]
    except ValueError as cause:
        raise FormatError(f"{name}: {cause}") from cause


def _check_index(index: IndexArray, num_rows: int, labels: Sequence[str], name: str) -> None:
    import numpy as np

    if len(index) != num_rows:
        raise FormatError(f"{name}: {len(index)} class indices for {num_rows} rows")
    wrong = np.flatnonzero((index < 0) | (index >= len(labels)))
    if len(wrong):
        raise FormatError(f"{name}: row {wrong[0]} is of class {index[wrong[0]]}, there are {len(labels)} labels")
    empty = np.flatnonzero(np.bincount(index, minlength=len(labels)) == 0)
    if len(empty):
        raise FormatError(f"{name}: label {labels[empty[0]][:100]!r} has no row")


def _lengths(matrix: FloatArray, name: str) -> npt.NDArray[np.float64]:
    """Length of each row, float64 (N), all above 0."""
    import numpy as np

    lengths: npt.NDArray[np.float64] = np.sqrt(np.einsum("nd,nd->n", matrix, matrix, dtype=np.float64))
    wrong = np.flatnonzero(~np.isfinite(lengths) | (lengths <= 0))
    if len(wrong):
        what = "is zero" if lengths[wrong[0]] == 0 else "holds NaN or infinity"
        raise FormatError(f"{name}: row {wrong[0]} {what}")
    return lengths


def _scale_to_unit(matrix: FloatArray, lengths: npt.NDArray[np.float64]) -> None:
    """In place, for a gallery may be as large as the memory that is left."""
    import numpy as np

    np.divide(matrix, lengths[:, np.newaxis], out=matrix, casting="same_kind")


def _arrange(labels: tuple[str, ...], index: IndexArray, matrix: FloatArray) -> Gallery:
    """Puts the rows of a class beside each other, so that its greatest cosine is one reduction over a segment."""
    import numpy as np

    if bool((np.diff(index) < 0).any()):
        order = np.argsort(index, kind="stable")
        index, matrix = index[order], matrix[order]
    starts = np.searchsorted(index, np.arange(len(labels)))
    for array in (matrix, index, starts):
        array.flags.writeable = False
    return Gallery(labels=labels, vectors=matrix, rows=index, starts=starts)


def _stored(dtype: str) -> str:
    return f"<f{_WIDTHS[dtype]}"
