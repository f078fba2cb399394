"""The conversion chain as one function: export, quantize, prove, choose golden vectors, write the bundle."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from converters.bundle_writer import BundleDraft, finished_bundle, remove_leftovers, working_folder, write_bundle
from converters.job import ConversionJob, LabelledPicture, Picture, check_job, job_digest
from converters.progress import shown_steps
from converters.recipes import FLOAT32
from converters.types import Artifact, ArtifactProof, Proof, QuantRecipe, Scheme
from edge import durable
from edge.bundle.manifest import ArtifactFormat, ArtifactSpec, OutputKind, OutputSpec, StageSpec, Verdict
from edge.errors import EdgeloopError

if TYPE_CHECKING:
    from converters.calibrate import Ranges
    from converters.golden import GoldenDraft
    from converters.types import CalibrationRange
    from edge.types import ByteArray, FloatArray

__all__ = ["ConversionJob", "LabelledPicture", "Picture", "convert"]

STAGE = "classify"
_STEPS = (
    "reading pictures",
    "asking the float network",
    "writing TFLite",
    "writing ONNX",
    "quantizing and proving",
    "choosing golden vectors",
    "checking the bundle",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Evidence:
    """What artifacts are weighed by.

    Attributes:
        calibration: uint8 (height, width, 3) each.
        validation: uint8 (height, width, 3) each.
        truths: The right class of each validation picture.
        reference: What the float network says about the validation pictures.
        output: Name of the output with the logits.
    """

    calibration: tuple[ByteArray, ...]
    validation: tuple[ByteArray, ...]
    truths: tuple[int, ...]
    reference: FloatArray
    output: OutputSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class _Proven:
    """One artifact with what it says and what that is worth."""

    artifact: Artifact
    proof: ArtifactProof
    logits: FloatArray


def convert(job: ConversionJob, *, progress: bool = True, now: Callable[[], float] = time.time) -> Path:
    """Turns a trained network into a proven bundle.

    Recipes are tried in the job's order; the first that the acceptance rule does not refuse becomes the TFLite model.
    A bundle that the same job has finished before is returned as it stands. The same job gives the same bundle digest.

    Args:
        job: What to convert, with what evidence, and where to.
        progress: Show a progress bar on stderr.
        now: Clock for the measurements.

    Returns:
        The bundle folder, `job.out`.

    Raises:
        UsageError: The job does not fit together.
        ImageError: A picture cannot be read.
        StorageError: The disk is full or failing.
        EdgeloopError: The network cannot be converted, or no recipe is good enough; nothing was left behind.
    """
    from converters.parity import one_thread

    job.network.eval().cpu()
    check_job(job)
    digest = job_digest(job)
    if finished_bundle(job.out, digest) is not None:
        remove_leftovers(job.out)
        return job.out
    with working_folder(job.out) as work, shown_steps("converting", _STEPS, visible=progress) as step, one_thread():
        draft = _draft(job, work, step, now)
        step()
        write_bundle(draft, job.out, work=work, job=digest)
    return job.out


def _draft(job: ConversionJob, work: Path, step: Callable[[], None], now: Callable[[], float]) -> BundleDraft:
    from converters.export import export_network
    from converters.measure import measure
    from converters.onnx import to_onnx
    from converters.tflite import to_tflite

    evidence = _evidence(job, step)
    step()
    exported = export_network(job.network, height=job.preprocess.height, width=job.preprocess.width)
    float_model = to_tflite(exported)
    step()
    onnx_model = to_onnx(exported)
    step()
    preferred, rejected = _first_good(job, float_model, evidence, work)
    proven = (preferred, _onnx(job, onnx_model, evidence, work))
    step()
    stage = _stage(job, proven, evidence.output)
    return BundleDraft(
        name=job.name,
        version=job.version,
        labels=job.labels,
        stage=stage,
        artifacts=tuple(item.artifact for item in proven),
        decision=job.decision,
        keep=job.keep,
        proof=_proof(job, proven, rejected),
        provenance=job.provenance,
        golden=_golden(job, stage, proven, evidence),
        measurements=measure(tuple(item.artifact for item in proven), evidence.validation[0], created_at=now()),
    )


def _evidence(job: ConversionJob, step: Callable[[], None]) -> _Evidence:
    from converters.export import OUTPUT_NAME
    from converters.parity import float_logits, load_pixels

    calibration = load_pixels([picture.path for picture in job.calibration], job.preprocess)
    validation = load_pixels([picture.path for picture in job.validation], job.preprocess)
    step()
    return _Evidence(
        calibration=calibration,
        validation=validation,
        truths=tuple(job.labels.index(picture.label) for picture in job.validation),
        reference=float_logits(job.network, validation),
        output=OutputSpec(
            name=OUTPUT_NAME, kind=OutputKind.LOGITS, shape=(1, len(job.labels)), temperature=job.temperature
        ),
    )


def _first_good(
    job: ConversionJob, float_model: bytes, evidence: _Evidence, work: Path
) -> tuple[_Proven, tuple[ArtifactProof, ...]]:
    """The first recipe that does not fail, and the proofs of those before it."""
    from converters.quantize import quantize

    known_ranges: dict[CalibrationRange, Ranges] = {}
    rejected: list[ArtifactProof] = []
    for recipe in job.recipes:
        ranges = _ranges(recipe, float_model, evidence, known_ranges)
        model = quantize(float_model, recipe, ranges=ranges, sample=evidence.calibration[0])
        proven = _prove(job, model, ArtifactFormat.TFLITE, recipe, evidence, work)
        if proven.proof.verdict is not Verdict.FAIL:
            return proven, tuple(rejected)
        rejected.append(proven.proof)
    reasons = "; ".join(f"{proof.recipe}: {proof.reason}" for proof in rejected)
    raise EdgeloopError(f"no quantization recipe is good enough: {reasons}", hint="train longer or widen the limits")


def _ranges(
    recipe: QuantRecipe, float_model: bytes, evidence: _Evidence, known: dict[CalibrationRange, Ranges]
) -> Ranges | None:
    from converters.calibrate import observe_ranges

    if recipe.scheme is not Scheme.STATIC_INT8:
        return None
    if recipe.ranges not in known:
        known[recipe.ranges] = observe_ranges(float_model, evidence.calibration, recipe.ranges)
    return known[recipe.ranges]


def _onnx(job: ConversionJob, model: bytes, evidence: _Evidence, work: Path) -> _Proven:
    proven = _prove(job, model, ArtifactFormat.ONNX, FLOAT32, evidence, work)
    if proven.proof.verdict is Verdict.FAIL:
        raise EdgeloopError(f"the ONNX model does not answer as the trained network does: {proven.proof.reason}")
    return proven


def _prove(
    job: ConversionJob, model: bytes, form: ArtifactFormat, recipe: QuantRecipe, evidence: _Evidence, work: Path
) -> _Proven:
    from converters.parity import artifact_logits
    from converters.proof import prove_artifact

    path = work / f"{STAGE}.{form.value}"
    durable.write_bytes(path, model, point="artifact")
    digest = hashlib.sha256(model).hexdigest()
    artifact = Artifact(path=path, format=form, recipe=recipe, sha256=digest, size_bytes=len(model))
    logits = artifact_logits(artifact, evidence.output.name, evidence.validation)
    proof = prove_artifact(
        artifact,
        output=evidence.output.name,
        reference=evidence.reference,
        found=logits,
        truths=evidence.truths,
        limits=job.limits,
    )
    return _Proven(artifact=artifact, proof=proof, logits=logits)


def _stage(job: ConversionJob, proven: tuple[_Proven, ...], output: OutputSpec) -> StageSpec:
    artifacts = tuple(
        ArtifactSpec(
            file=item.artifact.path.name,
            format=item.artifact.format,
            recipe=item.artifact.recipe.name,
            tolerance=item.artifact.recipe.tolerance,
        )
        for item in proven
    )
    return StageSpec(name=STAGE, preprocess=job.preprocess, outputs=(output,), artifacts=artifacts)


def _proof(job: ConversionJob, proven: tuple[_Proven, ...], rejected: tuple[ArtifactProof, ...]) -> Proof:
    return Proof(
        limits=job.limits,
        calibration_digests=tuple(picture.digest for picture in job.calibration),
        validation_digests=tuple(picture.digest for picture in job.validation),
        artifacts=tuple(item.proof for item in proven),
        rejected=rejected,
    )


def _golden(job: ConversionJob, stage: StageSpec, proven: tuple[_Proven, ...], evidence: _Evidence) -> GoldenDraft:
    from converters.golden import golden_draft

    return golden_draft(
        evidence.validation,
        {spec: item.logits for spec, item in zip(stage.artifacts, proven, strict=True)},
        output=evidence.output,
        labels=job.labels,
        policy=job.decision,
        preprocess=job.preprocess,
    )
