"""Reading a bundle's golden vectors: they must fit its manifest before anything is compared with them."""

from __future__ import annotations

from edge import jsonvalue
from edge.bundle.golden import GoldenOutput, GoldenSet, GoldenVector, unpack_values
from edge.bundle.manifest import BundleManifest, StageSpec, Task
from edge.bundle.reader import Bundle
from edge.errors import BundleError, FormatError


def load_golden(bundle: Bundle) -> GoldenSet:
    """Reads the golden vectors and checks that they fit the manifest.

    Raises:
        BundleError: The bundle has none.
        FormatError: They do not follow docs/formats/bundle.md.
    """
    name = bundle.manifest.golden_file
    if not name:
        raise BundleError(f"{bundle.folder}: the bundle has no golden vectors")
    golden = jsonvalue.load(GoldenSet, bundle.read(name), where=str(bundle.folder / name))
    _check_golden(golden, bundle.manifest, where=str(bundle.folder / name))
    return golden


def _check_golden(golden: GoldenSet, manifest: BundleManifest, *, where: str) -> None:
    if not golden.vectors:
        raise FormatError(f"{where}: vectors must hold at least one vector")
    names = {entry.name for entry in manifest.files}
    for position, vector in enumerate(golden.vectors):
        at = f"{where}: vectors[{position}]"
        if vector.input_file not in names:
            raise FormatError(f"{at}: input_file {vector.input_file[:100]!r} is not in the manifest's files")
        _check_vector(vector, golden_stage(vector, manifest, where=at), manifest, at)
    tested = {golden_stage(vector, manifest, where=where).name for vector in golden.vectors}
    for stage in manifest.stages:
        if stage.name not in tested:
            raise FormatError(f"{where}: stage {stage.name[:100]!r} has no vector")


def golden_stage(vector: GoldenVector, manifest: BundleManifest, *, where: str) -> StageSpec:
    """The stage that a golden vector is for.

    Raises:
        FormatError: The manifest has no such stage, or several and the vector names none.
    """
    if not vector.stage and len(manifest.stages) == 1:
        return manifest.stages[0]
    for stage in manifest.stages:
        if stage.name == vector.stage:
            return stage
    raise FormatError(f"{where}: stage {vector.stage[:100]!r} is not in the manifest")


def _check_vector(vector: GoldenVector, stage: StageSpec, manifest: BundleManifest, at: str) -> None:
    shapes = {(a.file, o.name): o.shape for a in stage.artifacts for o in stage.outputs}
    if {(output.artifact, output.output) for output in vector.outputs} != set(shapes):
        raise FormatError(f"{at}: outputs are not those of the manifest's artifacts, each once")
    if len(vector.outputs) != len(shapes):
        raise FormatError(f"{at}: an output appears more than once")
    for output in vector.outputs:
        differs = f"{at}: shape or label of {output.artifact!r} differs from the manifest's"
        if output.shape != shapes[output.artifact, output.output]:
            raise FormatError(f"{differs}: {output.output[:100]!r} is {list(output.shape)[:8]}")
        if stage.task is Task.CLASSIFY and output.label not in manifest.labels_of(stage):
            raise FormatError(f"{differs}: label {output.label[:100]!r}")
        _check_values(output, at)


def _check_values(output: GoldenOutput, at: str) -> None:
    import numpy as np

    try:
        values = unpack_values(output)
    except FormatError as cause:
        raise FormatError(f"{at}: {cause.message}", hint=cause.hint) from cause
    if not np.isfinite(values).all():
        raise FormatError(f"{at}: golden values of {output.artifact!r} hold NaN or infinity")
