"""Makes a bundle's proof again, from the bundle and its pictures alone: does it still hold, here?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from converters.answers import Answers, Reading, SeenPicture, ask_file, see
from converters.examples import LabelledPicture
from converters.metrics import score_of, tally
from converters.proof import prove_artifact
from converters.recipes import described
from converters.records import read_trained_proof
from converters.types import Artifact, Proof
from edge import jsonvalue
from edge.bundle.manifest import ArtifactSpec
from edge.bundle.reader import Bundle
from edge.errors import UsageError
from edge.postprocess.select import load_stage_files


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproved:
    """A proof that was made again.

    Attributes:
        stated: What the bundle carries.
        found: What was found now.
        differences: Every field that differs, as `path: stated, found`.
    """

    stated: Proof
    found: Proof
    differences: tuple[str, ...]


def reprove(
    bundle: Bundle, pictures: Sequence[LabelledPicture], *, tick: Callable[[], None] = lambda: None
) -> Reproved:
    """Runs every model of a bundle over the pictures that its proof rests on.

    On the kind of processor that made the proof every figure is the same. On others the float model may differ in its
    last bits, and figures of ONNX int8 models by more.

    Args:
        bundle: An open bundle that was trained here.
        pictures: With their truths; those of the proof are picked by digest.
        tick: Called after each picture of each model.

    Raises:
        UsageError: The bundle has no such proof, or a picture is not among those given.
        ImageError: A picture cannot be read.
        BackendError: A model fails.
    """
    stated = read_trained_proof(bundle)
    if stated is None or not stated.reference or len(bundle.manifest.stages) != 1:
        raise UsageError(
            f"{bundle.folder}: its proof cannot be made again: it holds no float model that it was made against",
            hint="convert the network again",
        )
    truths = _in_order(stated, pictures, bundle)
    stage = bundle.manifest.stages[0]
    reading = Reading(stage=stage, labels=bundle.manifest.labels_of(stage), files=load_stage_files(stage, bundle.read))
    seen = see([picture.path for picture in truths], stage.preprocess)
    answers = {spec.file: _ask(bundle, spec, seen, reading, tick) for spec in stage.artifacts}
    found = _proof(bundle, stated, truths, answers)
    return Reproved(stated=stated, found=found, differences=tuple(_differences(stated, found)))


def _in_order(proof: Proof, pictures: Sequence[LabelledPicture], bundle: Bundle) -> list[LabelledPicture]:
    known = {picture.digest: picture for picture in pictures}
    missing = [digest for digest in proof.validation_digests if digest not in known]
    if missing:
        raise UsageError(
            f"{len(missing)} pictures of the proof are not in the snapshot, the first: {missing[0]}",
            hint=f"give snapshot {bundle.manifest.provenance.snapshot}",
        )
    return [known[digest] for digest in proof.validation_digests]


def _ask(
    bundle: Bundle, spec: ArtifactSpec, seen: Sequence[SeenPicture], reading: Reading, tick: Callable[[], None]
) -> Answers:
    return ask_file(bundle.path(spec.file), spec.format, seen, reading, tick=tick)


def _proof(bundle: Bundle, stated: Proof, truths: Sequence[LabelledPicture], answers: dict[str, Answers]) -> Proof:
    specs = {spec.file: spec for spec in bundle.manifest.stages[0].artifacts}
    entries = {entry.name: entry for entry in bundle.manifest.files}
    proofs = [
        prove_artifact(
            Artifact(
                path=bundle.path(one.file),
                format=specs[one.file].format,
                recipe=described(specs[one.file]),
                sha256=entries[one.file].sha256,
                size_bytes=entries[one.file].size_bytes,
            ),
            reference=answers[stated.reference],
            found=answers[one.file],
            truths=truths,
            metric=stated.metric,
            limits=bundle.manifest.limits,
        )
        for one in stated.artifacts
    ]
    return Proof(
        limits=bundle.manifest.limits,
        calibration_digests=stated.calibration_digests,
        validation_digests=tuple(picture.digest for picture in truths),
        artifacts=tuple(proofs),
        metric=stated.metric,
        reference=stated.reference,
        score=score_of(tally(stated.metric, answers[stated.reference].predictions, truths)),
    )


def _differences(stated: object, found: object) -> list[str]:
    return list(_walk("proof", jsonvalue.to_json(stated), jsonvalue.to_json(found)))


def _walk(path: str, one: jsonvalue.Json, other: jsonvalue.Json) -> list[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        return [line for key in sorted({*one, *other}) for line in _walk(f"{path}.{key}", one.get(key), other.get(key))]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [line for number, (a, b) in pairs for line in _walk(f"{path}[{number}]", a, b)]
    return [] if one == other else [f"{path}: stated {one}, found {other}"]
