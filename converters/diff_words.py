"""What differs between two bundles, in lines for people."""

from __future__ import annotations

import json
from collections.abc import Iterator

from converters.diff_types import ArtifactDiff, BundleDiff, FieldDiff, FileDiff, LabelDiff, ModelState
from edge.jsonvalue import Json

MAX_NAMES = 10
_MAX_VALUE = 60
_ARROW = "->"


def diff_lines(diff: BundleDiff) -> list[str]:
    """One line for each difference; one in all where there is none."""
    if diff.digests[0] == diff.digests[1]:
        return [f"the same bundle: {diff.names[0]}, digest {diff.digests[0]}"]
    old, new = diff.num_golden
    return [
        f"bundle     {diff.names[0]} {_ARROW} {diff.names[1]}",
        f"digest     {diff.digests[0]} {_ARROW} {diff.digests[1]}",
        *(f"labels     {line}" for one in diff.labels for line in _label_words(one)),
        *(f"model      {_artifact_words(one)}" for one in diff.artifacts),
        *(f"field      {_field_words(one)}" for one in diff.fields),
        *([f"golden     {old} {_ARROW} {new} vectors"] if old != new else []),
        *(f"file       {_file_words(one)}" for one in diff.files),
        f"update     {_size(diff.moved_bytes)} would move",
    ]


def _label_words(one: LabelDiff) -> Iterator[str]:
    where = f" of stage {one.stage}" if one.stage else ""
    if one.added:
        yield f"{len(one.added)} added{where}: {_names(one.added)}"
    if one.removed:
        yield f"{len(one.removed)} removed{where}: {_names(one.removed)}"
    if one.reordered:
        yield f"in another order{where}"


def _names(labels: tuple[str, ...]) -> str:
    more = f", and {len(labels) - MAX_NAMES} more" if len(labels) > MAX_NAMES else ""
    return ", ".join(_printable(label) for label in labels[:MAX_NAMES]) + more


def _artifact_words(one: ArtifactDiff) -> str:
    name = f"{one.stage}/{one.file}"
    if one.before is None or one.after is None:
        made = one.before or one.after
        return f"{name}: {'new' if one.before is None else 'gone'}, {_model_words(made)}" if made else name
    return f"{name}: {', '.join(_model_changes(one.before, one.after))}"


def _model_words(model: ModelState) -> str:
    drop = "" if model.drop_points is None else f", drop {model.drop_points:.2f} points"
    return f"{_printable(model.recipe)}, {_size(model.size_bytes)}{drop}"


def _model_changes(before: ModelState, after: ModelState) -> Iterator[str]:
    if before.recipe != after.recipe:
        yield f"{_printable(before.recipe)} {_ARROW} {_printable(after.recipe)}"
    if before.sha256 != after.sha256:
        change = f" ({100 * (after.size_bytes / before.size_bytes - 1):+.1f} %)" if before.size_bytes else ""
        yield f"{_size(before.size_bytes)} {_ARROW} {_size(after.size_bytes)}{change}"
        yield f"digest {before.sha256[:12]} {_ARROW} {after.sha256[:12]}"
    if before.drop_points != after.drop_points:
        yield f"drop {_points(before.drop_points)} {_ARROW} {_points(after.drop_points)} points"
    if before.verdict is not after.verdict:
        old, new = (one.value if one else "none" for one in (before.verdict, after.verdict))
        yield f"{old} {_ARROW} {new}"


def _points(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"


def _field_words(one: FieldDiff) -> str:
    return f"{_printable(one.field)}: {_value(one.before)} {_ARROW} {_value(one.after)}"


def _value(value: Json) -> str:
    if value is None:
        return "(none)"
    shown = _printable(value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False))
    return shown if len(shown) <= _MAX_VALUE + 4 else f"{shown[:_MAX_VALUE]}…"


def _file_words(one: FileDiff) -> str:
    if one.before_bytes is None:
        return f"{one.name}: added, {_size(one.after_bytes or 0)}"
    if one.after_bytes is None:
        return f"{one.name}: removed"
    return f"{one.name}: changed, {_size(one.before_bytes)} {_ARROW} {_size(one.after_bytes)}"


def _size(size_bytes: int) -> str:
    return f"{size_bytes:,} bytes" if size_bytes < 10_000 else f"{size_bytes / 1e6:.2f} MB"


def _printable(text: str) -> str:
    """A name from a bundle, which may hold what a terminal would obey."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
