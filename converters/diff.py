"""Comparing two bundles, for instance what a device runs and what it would get."""

from __future__ import annotations

from collections.abc import Iterator

from converters.diff_types import ArtifactDiff, BundleDiff, FieldDiff, FileDiff, LabelDiff, ModelState
from converters.records import read_trained_proof
from converters.types import ArtifactProof
from edge import jsonvalue
from edge.bundle.golden import GoldenSet
from edge.bundle.manifest import BundleManifest, FileEntry
from edge.bundle.reader import Bundle
from edge.jsonvalue import Json

# What `LabelDiff`, `ArtifactDiff` and `FileDiff` tell better than one field after another.
_TOLD_ELSEWHERE = ("labels", "files", "artifacts")
_KEYS = ("name", "label")


def compare_bundles(a: Bundle, b: Bundle) -> BundleDiff:
    """What differs from `a` to `b`; of both, proof and golden vectors are read.

    Args:
        a: The first bundle, for instance what a device runs.
        b: The second, for instance its successor.

    Raises:
        BundleError: A file cannot be read any more.
        FormatError: A proof or the golden vectors do not follow their format page.
    """
    return BundleDiff(
        names=(_name(a.manifest), _name(b.manifest)),
        digests=(a.digest, b.digest),
        fields=tuple(_field_diffs("", jsonvalue.to_json(a.manifest), jsonvalue.to_json(b.manifest))),
        labels=tuple(_label_diffs(a.manifest, b.manifest)),
        artifacts=tuple(_artifact_diffs(_models(a), _models(b))),
        num_golden=(_num_golden(a), _num_golden(b)),
        files=tuple(_file_diffs(_files(a.manifest), _files(b.manifest))),
        moved_bytes=_moved_bytes(a.manifest, b.manifest),
    )


def _name(manifest: BundleManifest) -> str:
    return f"{manifest.name} version {manifest.version}"


def _field_diffs(path: str, before: Json, after: Json) -> Iterator[FieldDiff]:
    """Walks down both values side by side; lists of named things are walked by name."""
    old, new = _by_name(before), _by_name(after)
    if old is None or new is None:
        if before != after:
            yield FieldDiff(field=path, before=before, after=after)
        return
    for key in dict.fromkeys((*old, *new)):
        if key not in _TOLD_ELSEWHERE:
            yield from _field_diffs(f"{path}.{key}" if path else key, old.get(key), new.get(key))


def _by_name(value: Json) -> dict[str, Json] | None:
    """An object as it is, a list of named objects as one; None of anything else."""
    if isinstance(value, dict):
        return value
    if not isinstance(value, list) or not value:
        return None
    named = {}
    for item in value:
        key = next((item[key] for key in _KEYS if key in item), None) if isinstance(item, dict) else None
        if not isinstance(key, str) or key in named:
            return None
        named[key] = item
    return named


def _label_diffs(a: BundleManifest, b: BundleManifest) -> Iterator[LabelDiff]:
    old = {"": a.labels} | {stage.name: stage.labels for stage in a.stages}
    new = {"": b.labels} | {stage.name: stage.labels for stage in b.stages}
    for stage in dict.fromkeys((*old, *new)):
        before, after = old.get(stage, ()), new.get(stage, ())
        if before != after:
            yield _label_diff(stage, before, after)


def _label_diff(stage: str, before: tuple[str, ...], after: tuple[str, ...]) -> LabelDiff:
    old, new = set(before), set(after)
    return LabelDiff(
        stage=stage,
        added=tuple(label for label in after if label not in old),
        removed=tuple(label for label in before if label not in new),
        reordered=[label for label in before if label in new] != [label for label in after if label in old],
    )


def _models(bundle: Bundle) -> dict[tuple[str, str], ModelState]:
    """Every model of a bundle, by stage and file."""
    proof = read_trained_proof(bundle)
    proven = {one.file: one for one in proof.artifacts} if proof else {}
    files = _files(bundle.manifest)
    return {
        (stage.name, one.file): _model(one.recipe, files[one.file], proven.get(one.file))
        for stage in bundle.manifest.stages
        for one in stage.artifacts
    }


def _model(recipe: str, entry: FileEntry, proven: ArtifactProof | None) -> ModelState:
    return ModelState(
        recipe=recipe,
        size_bytes=entry.size_bytes,
        sha256=entry.sha256,
        drop_points=proven.drop_points if proven else None,
        verdict=proven.verdict if proven else None,
    )


def _artifact_diffs(
    old: dict[tuple[str, str], ModelState], new: dict[tuple[str, str], ModelState]
) -> Iterator[ArtifactDiff]:
    for stage, file in dict.fromkeys((*old, *new)):
        before, after = old.get((stage, file)), new.get((stage, file))
        if before != after:
            yield ArtifactDiff(stage=stage, file=file, before=before, after=after)


def _num_golden(bundle: Bundle) -> int:
    name = bundle.manifest.golden_file
    if not name:
        return 0
    return len(jsonvalue.load(GoldenSet, bundle.read(name), where=str(bundle.folder / name)).vectors)


def _files(manifest: BundleManifest) -> dict[str, FileEntry]:
    return {entry.name: entry for entry in manifest.files}


def _file_diffs(old: dict[str, FileEntry], new: dict[str, FileEntry]) -> Iterator[FileDiff]:
    for name in sorted({*old, *new}):
        before, after = old.get(name), new.get(name)
        if before != after:
            yield FileDiff(
                name=name,
                before_bytes=before.size_bytes if before else None,
                after_bytes=after.size_bytes if after else None,
            )


def _moved_bytes(a: BundleManifest, b: BundleManifest) -> int:
    """Content counts once, under whatever name it is there."""
    known = {entry.sha256 for entry in a.files}
    return sum({entry.sha256: entry.size_bytes for entry in b.files if entry.sha256 not in known}.values())
