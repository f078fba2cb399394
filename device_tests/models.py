"""What every model of a bundle says, to the bit, so that two machines can be compared."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from device_tests.plan import VECTORS, Check, Finding, Plan, SkippedError, bundle_name, opened
from device_tests.report import OutputDigest
from edge.backends.select import open_backend, runtime_installed
from edge.bundle.golden_reader import load_golden
from edge.bundle.manifest import ArtifactSpec, StageSpec
from edge.bundle.reader import Bundle
from edge.image.decode import read_picture
from edge.preprocess import preprocess

if TYPE_CHECKING:
    from edge.types import FloatArray

# PNG only: every decoder gives the same pixels for them, so that a difference is the model's.
PICTURES = ("rgb.png", "grey.png", "rgb-alpha.png", "turned-6.png")
MAX_VALUES = 16_384


def output_checks(plan: Plan) -> Iterator[Check]:
    """One check for each bundle."""
    for path in plan.bundles:
        yield Check(group="outputs", name=bundle_name(path), run=partial(_digest_outputs, plan, path))


def runnable(bundle: Bundle) -> list[tuple[StageSpec, ArtifactSpec]]:
    """Every model of a bundle whose runtime is installed, with its stage.

    Raises:
        SkippedError: There is none.
    """
    stages = bundle.manifest.stages
    found = [(stage, item) for stage in stages for item in stage.artifacts if runtime_installed(item.format)]
    if not found:
        raise SkippedError("no runtime for any of its models is installed")
    return found


def variants(bundle: Bundle) -> list[str]:
    """Every way to run the whole bundle here, as `open_engine` takes it: each model file of the only stage, or each
    format that all stages have.

    Raises:
        SkippedError: There is none.
    """
    found = runnable(bundle)
    if len(bundle.manifest.stages) == 1:
        return [artifact.file for _, artifact in found]
    formats = dict.fromkeys(artifact.format for _, artifact in found)
    stages = [{artifact.format for artifact in stage.artifacts} for stage in bundle.manifest.stages]
    if whole := [item.value for item in formats if all(item in known for known in stages)]:
        return whole
    raise SkippedError("no format is in all of its stages")


def artifact_digest(bundle: Bundle, *artifacts: ArtifactSpec) -> str:
    """SHA-256 of a model file, from the manifest; of several, that of their digests one after the other."""
    digests = {entry.name: entry.sha256 for entry in bundle.manifest.files}
    found = [digests[artifact.file] for artifact in artifacts]
    return found[0] if len(found) == 1 else hashlib.sha256("".join(found).encode()).hexdigest()


def bundle_title(bundle: Bundle) -> str:
    """Name and version."""
    return f"{bundle.manifest.name} {bundle.manifest.version}"


def _digest_outputs(plan: Plan, path: Path) -> Finding:
    pictures = {picture.name: read_picture(picture) for picture in plan.pictures}
    with opened(path) as bundle:
        digests = tuple(_digests(bundle, pictures))
    names = sorted({digest.artifact for digest in digests})
    return Finding(detail=f"{len(digests)} outputs of {', '.join(names)}", outputs=digests)


def _inputs(bundle: Bundle, stage: StageSpec) -> dict[str, bytes]:
    """The pictures of every bundle, and the golden ones of this stage."""
    golden = load_golden(bundle).vectors if bundle.manifest.golden_file else ()
    names = [item.input_file for item in golden if item.stage in ("", stage.name)]
    return {name: (VECTORS / name).read_bytes() for name in PICTURES} | {name: bundle.read(name) for name in names}


def _digests(bundle: Bundle, pictures: dict[str, bytes]) -> Iterator[OutputDigest]:
    for stage, artifact in runnable(bundle):
        backend = open_backend(bundle.path(artifact.file), artifact.format)
        try:
            for name, data in (_inputs(bundle, stage) | pictures).items():
                raw = backend.run(preprocess(data, stage.preprocess, name=name).tensor).by_name
                for output in stage.outputs:
                    yield _digest(bundle, artifact, (name, output.name), raw[output.name])
        finally:
            backend.close()


def _digest(bundle: Bundle, artifact: ArtifactSpec, place: tuple[str, str], array: FloatArray) -> OutputDigest:
    flat = array.astype("<f4").ravel()
    step = -(-flat.size // MAX_VALUES)
    return OutputDigest(
        bundle=bundle_title(bundle),
        artifact=artifact.file,
        artifact_sha256=artifact_digest(bundle, artifact),
        recipe=artifact.recipe,
        tolerance=artifact.tolerance,
        input=place[0],
        output=place[1],
        shape=tuple(array.shape),
        sha256=hashlib.sha256(flat.tobytes()).hexdigest(),
        step=step,
        values=base64.b64encode(flat[::step].tobytes()).decode(),
    )
