"""Whether the policies of a manifest make sense beside its labels: pure checks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from edge.bundle.manifest import BundleManifest, StageSpec, Task
from edge.errors import FormatError

# Their classes are in galleries, or are any text.
_UNLISTED = (Task.MATCH, Task.TEXT)
_JOINT = re.compile(re.escape(" / "))


def check_policies(manifest: BundleManifest, where: str) -> None:
    """Refuses policies that name a class twice or one that no stage can name, and limits that cannot be met.

    Raises:
        FormatError: One line that names the field.
    """
    thresholds = [item.label for item in manifest.decision.class_thresholds]
    require_unique(thresholds, f"{where}: decision.class_thresholds", "label")
    require_unique(manifest.keep.rare_classes, f"{where}: keep.rare_classes", "label")
    if not 0 <= manifest.decision.accept_margin <= 1:
        raise FormatError(f"{where}: decision.accept_margin must be 0 to 1, found {manifest.decision.accept_margin}")
    for name in ("max_drop_points", "max_drop_upper_points", "max_size_bytes"):
        if getattr(manifest.limits, name) < 0:
            raise FormatError(f"{where}: limits.{name} must not be negative, found {getattr(manifest.limits, name)}")
    _require_known(manifest, thresholds, f"{where}: decision.class_thresholds")
    _require_known(manifest, manifest.keep.rare_classes, f"{where}: keep.rare_classes")


def require_unique(values: Iterable[str], where: str, what: str) -> None:
    """Refuses a list in which something comes twice.

    Raises:
        FormatError: One line that names it.
    """
    for value, count in Counter(values).items():
        if count > 1:
            raise FormatError(f"{where}: {what} {value[:100]!r} appears {count} times")


def _require_known(manifest: BundleManifest, labels: Iterable[str], where: str) -> None:
    if any(stage.task in _UNLISTED for stage in manifest.stages):
        return
    heads = [_heads(manifest, stage) for stage in manifest.stages]
    known = frozenset().union(*(label for of_stage in heads for label in of_stage))
    several = [of_stage for of_stage in heads if len(of_stage) > 1]
    for label in labels:
        if label not in known and not any(_is_joint(label, of_stage) for of_stage in several):
            raise FormatError(f"{where}: {label[:100]!r} is not one of the labels")


def _heads(manifest: BundleManifest, stage: StageSpec) -> list[frozenset[str]]:
    if stage.task is not Task.ATTRIBUTES:
        return [frozenset(manifest.labels_of(stage))]
    return [frozenset(output.labels or manifest.labels_of(stage)) for output in stage.outputs]


def _is_joint(label: str, heads: list[frozenset[str]]) -> bool:
    """Whether a label may be those of several heads joined by ` / `: it begins with one of the first, ends in the last.

    What stands between is not looked at, for labels may themselves hold ` / `.
    """
    cuts = [(cut.start(), cut.end()) for cut in _JOINT.finditer(label)]
    return any(label[:start] in heads[0] for start, _ in cuts) and any(label[end:] in heads[-1] for _, end in cuts)
