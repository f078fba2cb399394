"""The gallery of a foreign embedder: what it says about reference pictures, one folder for each class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from converters.foreign.answers import list_outputs, told_outputs
from converters.foreign.inspect import ForeignModel
from converters.foreign.told import Finding, Source, Told
from edge.backends.base import InferenceBackend
from edge.bundle.gallery import gallery_bytes
from edge.bundle.manifest import OutputKind, OutputSpec, PreprocessSpec
from edge.errors import UsageError
from edge.preprocess import preprocess
from edge.sources.folder import list_pictures

if TYPE_CHECKING:
    from converters.foreign.answers import Runs

GALLERY_FILE = "gallery-0.bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class References:
    """Reference pictures by class.

    Attributes:
        labels: Names of the folders, sorted.
        pictures: For each label its pictures, at least one.
    """

    labels: tuple[str, ...]
    pictures: tuple[tuple[Path, ...], ...]


def list_references(folder: Path) -> References:
    """Finds the reference pictures below a folder.

    Raises:
        UsageError: No such folder, no class in it, a class without pictures, or a name that no label can have.
    """
    if not folder.is_dir():
        raise UsageError(f"no folder {folder}", hint="--gallery needs a folder of reference pictures for each class")
    places = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not places:
        raise UsageError(
            f"no folders in {folder}", hint="--gallery needs a folder of reference pictures for each class"
        )
    found = []
    for place in places:
        if not place.name.isprintable() or not place.name.strip():
            raise UsageError(f"folder {place.name[:50]!r} in {folder} has no printable name")
        pictures = tuple(list_pictures(place))
        if not pictures:
            raise UsageError(f"no pictures in {place}", hint="add some, or remove the folder")
        found.append(pictures)
    return References(labels=tuple(place.name for place in places), pictures=tuple(found))


def embedding_output(model: ForeignModel, told: Told, runs: Runs) -> tuple[OutputSpec, list[Finding]]:
    """Finds the output with the embedding: the one row of numbers, where there is one.

    Raises:
        UsageError: Several outputs could be it; names the flag.
    """
    named = told_outputs(model, told, runs)
    rows = [name for name, array in runs[0].items() if array.size == max(array.shape, default=0) > 1]
    names = list(named) or rows
    if len(names) != 1 or names[0] not in rows or named.get(names[0]) not in (None, OutputKind.EMBEDDING):
        raise UsageError(
            f"{model.name}: which output holds the embedding? It has {list_outputs(runs)}",
            hint="add --output NAME=embedding",
        )
    shape = tuple(int(size) for size in runs[0][names[0]].shape)
    source = Source.FLAG if named else Source.FILE
    said = Finding(what="output", value=f"{names[0]} {list(shape)} embedding", source=source)
    return OutputSpec(name=names[0], kind=OutputKind.EMBEDDING, shape=shape), [said]


def gallery_of(references: References, backend: InferenceBackend, spec: PreprocessSpec, output: str) -> bytes:
    """Embeds every reference picture; returns the gallery file.

    Raises:
        ImageError: A picture cannot be used; names the file.
        FormatError: The model gives zero or what is no number.
    """
    rows: list[int] = []
    vectors = []
    for index, pictures in enumerate(references.pictures):
        for path in pictures:
            rows.append(index)
            vectors.append(backend.run(preprocess(path, spec).tensor).by_name[output].reshape(-1))
    return gallery_bytes(references.labels, rows, vectors)


def describe_references(references: References) -> str:
    """For people."""
    return f"{sum(map(len, references.pictures))} pictures of {len(references.labels)} classes"
