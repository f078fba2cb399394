"""Whether a manifest makes sense as a whole: pure checks between fields; each field alone is checked by its type."""

from __future__ import annotations

import re
from collections.abc import Iterator

from edge.bundle.check_policy import check_policies, require_unique
from edge.bundle.check_stage import check_outputs, check_stage_list
from edge.bundle.manifest import MANIFEST_NAME, MEASUREMENTS_NAME, BundleManifest, StageSpec, Task, Verdict
from edge.errors import FormatError

# The others have their names in galleries or head by head, or have none.
_NAMED = (Task.CLASSIFY, Task.DETECT, Task.TABULAR)
MAX_VERSION = 2**63 - 1  # what a database and the wire can hold
MAX_STAGES = 16
MAX_LABEL_LENGTH = 1000
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")


def check_manifest(manifest: BundleManifest, *, where: str = MANIFEST_NAME) -> None:
    """Refuses manifests whose fields contradict each other.

    Args:
        manifest: Read field by field already.
        where: Name of the file, for errors.

    Raises:
        FormatError: One line that names the field.
    """
    if not _NAME.match(manifest.name):
        raise FormatError(f"{where}: name must be letters, digits, '.', '_' and '-', found {manifest.name[:100]!r}")
    if not 1 <= manifest.version <= MAX_VERSION:
        raise FormatError(f"{where}: version must be at least 1 and below 2^63, found {str(manifest.version)[:30]}")
    _check_labels(manifest, where)
    _check_files(manifest, where)
    if not 1 <= len(manifest.stages) <= MAX_STAGES:
        raise FormatError(
            f"{where}: stages must hold at least one stage and at most {MAX_STAGES}, found {len(manifest.stages)}"
        )
    require_unique((stage.name for stage in manifest.stages), f"{where}: stages", "stage")
    for position, stage in enumerate(manifest.stages):
        _check_stage(manifest, stage, f"{where}: stages[{position}]")
    check_stage_list(manifest, where)
    files = (artifact.file for stage in manifest.stages for artifact in stage.artifacts)
    require_unique(files, f"{where}: stages", "artifact")
    check_policies(manifest, where)
    _check_references(manifest, where)


def _check_labels(manifest: BundleManifest, where: str) -> None:
    if any(stage.task in _NAMED and not manifest.labels_of(stage) for stage in manifest.stages):
        raise FormatError(f"{where}: labels must not be empty")
    for at, labels in _label_lists(manifest, where):
        for label in labels:
            if not label.strip() or not label.isprintable() or len(label) > MAX_LABEL_LENGTH:
                raise FormatError(
                    f"{at}: labels must be printable names of at most {MAX_LABEL_LENGTH} characters, "
                    f"found {label[:100]!r}"
                )
        require_unique(labels, f"{at}: labels", "label")


def _label_lists(manifest: BundleManifest, where: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    yield where, manifest.labels
    for position, stage in enumerate(manifest.stages):
        yield f"{where}: stages[{position}]", stage.labels
        for output in stage.outputs:
            yield f"{where}: stages[{position}].outputs", output.labels


def _check_files(manifest: BundleManifest, where: str) -> None:
    """Names differ even where a file system ignores case."""
    require_unique((entry.name.lower() for entry in manifest.files), f"{where}: files", "name")
    for entry in manifest.files:
        if entry.name.lower() in (MANIFEST_NAME, MEASUREMENTS_NAME):
            raise FormatError(f"{where}: files must not list {entry.name!r}")


def _check_stage(manifest: BundleManifest, stage: StageSpec, where: str) -> None:
    names = {entry.name for entry in manifest.files}
    if not stage.name.strip() or not stage.name.isprintable() or len(stage.name) > 100:
        raise FormatError(f"{where}: name must be printable, of 1 to 100 characters, found {stage.name[:100]!r}")
    if not stage.artifacts or not stage.outputs:
        raise FormatError(f"{where}: needs at least one artifact and one output")
    require_unique((output.name for output in stage.outputs), f"{where}.outputs", "name")
    require_unique((artifact.file for artifact in stage.artifacts), f"{where}.artifacts", "file")
    for artifact in stage.artifacts:
        if artifact.file not in names:
            raise FormatError(f"{where}.artifacts: {artifact.file[:100]!r} is not in files")
        if artifact.tolerance < 0:
            raise FormatError(f"{where}.artifacts: tolerance of {artifact.file!r} is negative")
        if artifact.tolerance > 1:
            raise FormatError(f"{where}.artifacts: tolerance of {artifact.file!r} is above 1, the output's whole range")
    lexicon = (stage.text.lexicon,) if stage.text is not None and stage.text.lexicon else ()
    for name in (*(stage.match.gallery if stage.match is not None else ()), *lexicon):
        if name not in names:
            raise FormatError(f"{where}: {name[:100]!r} is not in files")
    if stage.match is not None:
        require_unique(stage.match.gallery, f"{where}.match.gallery", "file")
        require_unique((item.label for item in stage.match.class_thresholds), f"{where}.match", "label")
    check_outputs(manifest, stage, where)


def _check_references(manifest: BundleManifest, where: str) -> None:
    names = {entry.name for entry in manifest.files}
    unproven = manifest.proof.verdict is Verdict.NONE
    for field, name in (("golden_file", manifest.golden_file), ("proof.file", manifest.proof.file)):
        if name not in names and not (unproven and name == ""):
            raise FormatError(f"{where}: {field} {name[:100]!r} is not in files")
