"""What is in a folder of pictures: every file hashed and decoded once, everything unusable named."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from cloud_train.datasets.duplicates import Fingerprint, fingerprint
from edge.errors import ImageError, UsageError

if TYPE_CHECKING:
    from edge.preprocess import DecodeLimits

Progress: TypeAlias = Callable[[int, int], None]
SPLIT_NAMES = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundPicture:
    """One usable picture of a folder.

    Attributes:
        path: Relative to the folder, with `/`.
        label: Name of the class folder it lies in.
        digest: SHA-256 of the file, hex.
        size_bytes: Size of the file.
        width: Width of the upright picture in pixels.
        height: Height of the upright picture in pixels.
        fingerprint: What it looks like.
    """

    path: str
    label: str
    digest: str
    size_bytes: int
    width: int
    height: int
    fingerprint: Fingerprint


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """The same picture in more than one class; nobody knows which is right, so all of them are left out.

    Attributes:
        paths: The files, relative to the folder, sorted.
        labels: The classes, sorted.
    """

    paths: tuple[str, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What is in a folder.

    Attributes:
        pictures: Usable pictures, each once, sorted by path.
        skipped: Files that cannot be used, as `relative path: reason`, sorted.
        num_duplicates: Exact duplicates within a class that were left out.
        conflicts: Pictures in more than one class.
        num_files: Files that were looked at.
    """

    pictures: tuple[FoundPicture, ...]
    skipped: tuple[str, ...]
    num_duplicates: int
    conflicts: tuple[Conflict, ...]
    num_files: int

    @property
    def classes(self) -> dict[str, int]:
        """Number of pictures by class name, sorted by name."""
        return dict(sorted(Counter(picture.label for picture in self.pictures).items()))


@dataclass(slots=True)
class _Findings:
    """What has been found so far."""

    by_digest: dict[str, list[FoundPicture]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)


def inspect_folder(folder: Path, *, limits: DecodeLimits | None = None, progress: Progress | None = None) -> Inspection:
    """Looks at every file of an ImageFolder: one folder a class, pictures anywhere below it.

    Args:
        folder: The data set.
        limits: What may be read and decoded; the device's limits by default.
        progress: Called with files done and files in all.

    Raises:
        UsageError: The folder is missing or empty, or holds fewer than two classes of usable pictures.
    """
    files, unusable = _list_files(folder)
    findings = _Findings(skipped=unusable)
    for number, (path, label) in enumerate(files):
        _look_at(folder, path, label, findings, limits)
        if progress is not None:
            progress(number + 1, len(files))
    pictures, conflicts, num_duplicates = _settle(findings)
    inspection = Inspection(
        pictures=pictures,
        skipped=tuple(sorted(findings.skipped)),
        num_duplicates=num_duplicates,
        conflicts=conflicts,
        num_files=len(files),
    )
    _check_classes(folder, inspection)
    return inspection


def _list_files(folder: Path) -> tuple[list[tuple[str, str]], list[str]]:
    """Relative path and label of every file in a class folder, sorted, and what cannot be used by its name or place."""
    if not folder.is_dir():
        raise UsageError(
            f"{folder}: no such folder", hint="give a folder that holds one folder of pictures for each class"
        )
    files, unusable = [], []
    for relative in _walk(folder):
        reason = _unusable_name(folder, relative)
        if reason:
            unusable.append(f"{_printable(relative)}: {reason}")
        else:
            files.append((relative, relative.split("/")[0]))
    if not files and not unusable:
        raise UsageError(f"{folder}: the folder is empty", hint="put one folder of pictures for each class into it")
    _refuse_ready_splits(folder, files)
    return files, unusable


def _walk(folder: Path) -> Iterator[str]:
    """Every file and every link to a folder below `folder`, relative, with `/`, sorted."""
    found = []
    for root, folders, names in os.walk(folder):
        links = [name for name in folders if (Path(root) / name).is_symlink()]
        found += [(Path(root) / name).relative_to(folder).as_posix() for name in (*names, *links)]
    return iter(sorted(found))


def _unusable_name(folder: Path, relative: str) -> str:
    if not _is_plain(relative):
        return "the name holds characters that are not printable text; rename it"
    if "/" not in relative:
        return "not in a class folder"
    path = folder / relative
    if path.is_dir():
        return "a link to a folder is not followed"
    if not path.exists():
        return "a link that leads nowhere"
    return "" if path.is_file() else "not a regular file"


def _is_plain(text: str) -> bool:
    """Whether a name is valid text without control characters."""
    return text.isprintable()


def _printable(text: str) -> str:
    return text if _is_plain(text) else ascii(text)[1:-1]


def _refuse_ready_splits(folder: Path, files: list[tuple[str, str]]) -> None:
    """Catches a folder of `train` and `test` folders, whose names would become the classes."""
    labels = sorted({label for _, label in files})
    if not labels or any(label.lower() not in SPLIT_NAMES for label in labels):
        return
    if all(path.count("/") > 1 for path, _ in files):
        one = next((label for label in labels if label.lower().startswith("train")), labels[0])
        hint = f"give {folder / one}; it is split here, by content"
        raise UsageError(f"{folder}: holds the folders {', '.join(labels)}, not classes", hint=hint)


def _look_at(folder: Path, relative: str, label: str, findings: _Findings, limits: DecodeLimits | None) -> None:
    """Hashes one file, and decodes it unless its bytes were seen before."""
    from edge.preprocess import DEFAULT_LIMITS, read_picture

    digest = ""
    try:
        data = read_picture(folder / relative, limits=limits or DEFAULT_LIMITS)
        digest = hashlib.sha256(data).hexdigest()
        if digest in findings.failures:
            raise ImageError(findings.failures[digest])
        known = findings.by_digest.get(digest)
        seen = known[0].fingerprint if known else fingerprint(data, limits=limits)
    except ImageError as cause:
        reason = _reason(cause, folder / relative)
        findings.failures.setdefault(digest, reason)
        findings.skipped.append(f"{relative}: {reason}")
        return
    picture = FoundPicture(
        path=relative,
        label=label,
        digest=digest,
        size_bytes=len(data),
        width=seen.width,
        height=seen.height,
        fingerprint=seen,
    )
    findings.by_digest.setdefault(digest, []).append(picture)


def _reason(cause: ImageError, path: Path) -> str:
    """The error without the name of the file, which stands before it already."""
    return cause.message.removeprefix(f"{path}: ").removeprefix("picture: ")


def _settle(findings: _Findings) -> tuple[tuple[FoundPicture, ...], tuple[Conflict, ...], int]:
    """Keeps each picture once; a picture in several classes (same pixels) not at all."""
    by_pixels: dict[str, list[FoundPicture]] = {}
    for same in findings.by_digest.values():
        by_pixels.setdefault(same[0].fingerprint.pixels, []).extend(same)
    kept: list[FoundPicture] = []
    conflicts: list[Conflict] = []
    num_duplicates = 0
    for same in by_pixels.values():
        labels = sorted({picture.label for picture in same})
        if len(labels) > 1:
            conflicts.append(Conflict(paths=tuple(sorted(picture.path for picture in same)), labels=tuple(labels)))
            continue
        firsts = {picture.digest: picture for picture in sorted(same, key=lambda one: one.path, reverse=True)}
        kept += firsts.values()
        num_duplicates += len(same) - len(firsts)
    return (
        tuple(sorted(kept, key=lambda one: one.path)),
        tuple(sorted(conflicts, key=lambda one: one.paths)),
        num_duplicates,
    )


def _check_classes(folder: Path, inspection: Inspection) -> None:
    """Refuses what nothing can be learned from."""
    classes, skipped = inspection.classes, len(inspection.skipped)
    aside = f" ({skipped} of its files cannot be used, the first: {inspection.skipped[0]})" if skipped else ""
    if not classes:
        raise UsageError(
            f"{folder}: no usable picture{aside}", hint="JPEG, PNG and WebP are read, in one folder a class"
        )
    if len(classes) == 1:
        raise UsageError(
            f"{folder}: all pictures are of one class, {next(iter(classes))!r}{aside}",
            hint="at least two class folders are needed",
        )
