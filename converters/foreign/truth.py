"""Pictures whose right answer is known, read from a folder: one folder a class, Pascal VOC, or YOLO text files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from converters.examples import TrueBox
from edge.errors import FormatError, UsageError
from edge.image.picture import open_picture
from edge.sources.folder import list_pictures
from edge.types import Box

_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
_LIST_ITEM = re.compile(r"^\s*(?:-|\d+\s*:)\s+(.+?)\s*$")


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownPicture:
    """A picture and its right answer.

    Attributes:
        path: The file.
        digest: SHA-256 of it, hex.
        index: Position of its class in the bundle's labels; -1 where it has boxes.
        boxes: What is in it.
    """

    path: Path
    digest: str
    index: int = -1
    boxes: tuple[TrueBox, ...] = ()


def read_classes(folder: Path, labels: Sequence[str]) -> tuple[KnownPicture, ...]:
    """Reads a folder with one folder of pictures for each class.

    A folder may be named by a label, or by a label's first name (`tench` for `tench, Tinca tinca`); letter case and `_`
    for a space do not matter.

    Args:
        folder: The data.
        labels: Of the bundle; classes without a folder are not asked about.

    Raises:
        UsageError: No such folder, no pictures, or a folder that is no label of the bundle.
    """
    _require_folder(folder)
    names = _names(labels)
    found = []
    for place in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        pictures = [path for path in list_pictures(place) if path.suffix.lower() in _SUFFIXES]
        if pictures:
            index = _index_of(place.name, names, str(place))
            found += [KnownPicture(path=path, digest=_digest(path), index=index) for path in pictures]
    if not found:
        raise UsageError(f"no pictures in {folder}", hint="it needs a folder of pictures for each class")
    return tuple(found)


def read_boxes(folder: Path, labels: Sequence[str]) -> tuple[KnownPicture, ...]:
    """Reads a folder with Pascal VOC annotations (`*.xml`), or with YOLO text files under `labels/`.

    The names of YOLO's class numbers are those of `data.yaml` or `classes.txt`; without either they are positions in
    the bundle's labels.

    Args:
        folder: The data.
        labels: Of the bundle.

    Raises:
        UsageError: No such folder, no annotations, or a class that is no label of the bundle.
        FormatError: An annotation cannot be read, or its picture is missing; names the file.
        ImageError: A picture cannot be used.
    """
    _require_folder(folder)
    files = list_pictures(folder)
    pictures = {path.stem: path for path in files if path.suffix.lower() in _SUFFIXES}
    voc = [path for path in files if path.suffix == ".xml"]
    yolo = [path for path in files if path.suffix == ".txt" and "labels" in path.relative_to(folder).parts[:-1]]
    if not voc and not yolo:
        raise UsageError(
            f"no boxes in {folder}", hint="it needs Pascal VOC files (*.xml), or YOLO files under a folder `labels`"
        )
    read = _voc_boxes if voc else _yolo_boxes
    names = _names(labels) if voc else _yolo_names(folder, files, labels)
    found = []
    for path in voc or yolo:
        picture = pictures.get(path.stem)
        if picture is None:
            raise FormatError(f"{path}: there is no picture {path.stem!r} beside it")
        found.append(KnownPicture(path=picture, digest=_digest(picture), boxes=tuple(read(path, picture, names))))
    return tuple(found)


def _voc_boxes(path: Path, picture: Path, names: Mapping[str, int]) -> Iterator[TrueBox]:
    """Corners in pixels that count from 1, both inclusive (the development kit of the VOC challenge, 2012)."""
    text = _text(path)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise FormatError(f"{path}: declares entities, which no annotation needs")
    try:
        root = ElementTree.fromstring(text)  # noqa: S314  (without entities there is nothing to expand)
        for thing in root.iter("object"):
            edges = {name: float(thing.findtext(f"bndbox/{name}", "")) for name in ("xmin", "ymin", "xmax", "ymax")}
            yield TrueBox(
                index=_index_of(thing.findtext("name", ""), names, str(path)),
                box=Box(left=edges["xmin"] - 1, top=edges["ymin"] - 1, right=edges["xmax"], bottom=edges["ymax"]),
                difficult=thing.findtext("difficult", "0").strip() == "1",
            )
    except (ElementTree.ParseError, ValueError) as cause:
        raise FormatError(f"{path}: not a Pascal VOC annotation: {cause}") from cause


def _yolo_boxes(path: Path, picture: Path, names: Mapping[str, int]) -> Iterator[TrueBox]:
    """One thing a line: class number, then centre, width and height in shares of the picture's."""
    upright = open_picture(picture)
    for number, line in enumerate(_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            kind, x, y, width, height = (float(part) for part in line.split())
        except ValueError as cause:
            raise FormatError(f"{path}: line {number} is not a class and four numbers") from cause
        yield TrueBox(
            index=_index_of(str(int(kind)), names, f"{path}: line {number}"),
            box=Box(
                left=(x - width / 2) * upright.width,
                top=(y - height / 2) * upright.height,
                right=(x + width / 2) * upright.width,
                bottom=(y + height / 2) * upright.height,
            ),
        )


def _yolo_names(folder: Path, files: Sequence[Path], labels: Sequence[str]) -> dict[str, int]:
    """Class numbers, as text, to positions in the bundle's labels; only of classes that the bundle knows."""
    listed = next((path for path in files if path.name in ("data.yaml", "classes.txt")), None)
    if listed is None:
        return {str(index): index for index in range(len(labels))}
    lines = _text(listed).splitlines()
    if listed.suffix == ".yaml":
        start = next((position for position, line in enumerate(lines) if line.rstrip() == "names:"), len(lines))
        matches = iter([_LIST_ITEM.match(line) for line in lines[start + 1 :]])
        lines = []
        while (match := next(matches, None)) is not None:
            lines.append(match[1].strip("'\""))
    if not lines:
        raise FormatError(f"{listed}: holds no list of names", hint="write it as `names:` and one `- name` a line")
    names = _names(labels)
    known = [(str(number), names.get(_folded(line))) for number, line in enumerate(lines)]
    return {number: index for number, index in known if index is not None}


def _names(labels: Sequence[str]) -> dict[str, int]:
    """Every way to write a label to its position; a first name that two labels share names neither."""
    whole = {_folded(label): index for index, label in enumerate(labels)}
    short: dict[str, list[int]] = {}
    for index, label in enumerate(labels):
        short.setdefault(_folded(label.partition(",")[0]), []).append(index)
    return {name: indices[0] for name, indices in short.items() if len(indices) == 1} | whole


def _folded(name: str) -> str:
    return " ".join(name.replace("_", " ").casefold().split())


def _index_of(name: str, names: Mapping[str, int], where: str) -> int:
    index = names.get(_folded(name))
    if index is None:
        raise UsageError(f"{where}: {name[:100]!r} is not a label of the bundle", hint="rename it, or leave it away")
    return index


def _require_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise UsageError(f"no folder {folder}", hint="give --data a folder of pictures whose answers are known")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as cause:
        raise FormatError(f"{path}: cannot be read as text") from cause


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as cause:
        raise UsageError(f"{path}: cannot be read: {(cause.strerror or str(cause)).lower()}") from cause
