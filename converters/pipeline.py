"""The conversion chain as one function: export, quantize, prove, choose golden vectors, write the bundle."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from converters.bundle_writer import BundleDraft, finished_bundle, remove_leftovers, working_folder, write_bundle
from converters.cache import ConversionCache
from converters.examples import LabelledPicture, Picture
from converters.fit import check_job
from converters.golden import GoldenDraft, draft_golden
from converters.job import ConversionJob, job_digest, tool_versions
from converters.measure import machine, peak_memory_mb
from converters.progress import Steps, shown_steps
from converters.recipes import ONNX_FLOAT32
from converters.references import embed_references
from converters.search import find_model, try_recipe
from converters.tolerance import tolerance_of
from converters.types import Artifact, ConversionRecord, LayerError, Measurements, Proof, Scheme
from converters.workshop import Trial, Workshop, renamed
from edge.bundle.manifest import ArtifactFormat, ArtifactSpec, StageSpec, Verdict
from edge.errors import EdgeloopError

__all__ = ["ConversionJob", "LabelledPicture", "Picture", "convert"]

NO_CACHE = ConversionCache()


def convert(
    job: ConversionJob,
    *,
    cache: ConversionCache = NO_CACHE,
    progress: bool = True,
    now: Callable[[], float] = time.time,
) -> Path:
    """Turns a trained network into a proven bundle.

    Recipes are tried in the job's order (`converters.search`), and the best that the acceptance rule does not refuse
    becomes the TFLite model.
    A bundle that the same job has finished before is returned as it stands. The same job gives the same bundle digest.

    Args:
        job: What to convert, with what evidence, and where to.
        cache: What was made before, for this job or another one.
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
    with ExitStack() as stack:
        work = stack.enter_context(working_folder(job.out))
        steps = stack.enter_context(shown_steps("converting", visible=progress))
        stack.enter_context(one_thread())
        draft = draft_bundle(job, work, cache=cache, steps=steps, now=now)
        with steps.step("checking the bundle"):
            write_bundle(draft, job.out, work=work, job=digest)
    return job.out


def draft_bundle(
    job: ConversionJob,
    work: Path,
    *,
    cache: ConversionCache = NO_CACHE,
    steps: Steps | None = None,
    now: Callable[[], float] = time.time,
) -> BundleDraft:
    """Everything that goes into the bundle of a job.

    Args:
        job: Already checked.
        work: Folder for model files.
        cache: What was made before.
        steps: Told of every long step.
        now: Clock for the measurements.
    """
    shop = Workshop(job, work, cache, steps or Steps())
    if job.references and job.match is not None:
        shop.files[job.match.gallery[0]] = embed_references(shop)
    parity = tuple(shop.parity(form) for form in (ArtifactFormat.ONNX, ArtifactFormat.TFLITE))
    search = find_model(shop)
    if search.chosen is None:
        raise _nothing_good(search.trials)
    preferred = renamed(search.chosen, f"{job.task.value}.tflite")
    tried = {trial.artifact.recipe.name: trial for trial in search.trials}
    further = [tried.get(recipe.name) or try_recipe(shop, recipe) for recipe in job.also if recipe != ONNX_FLOAT32]
    kept = [preferred, *(one for one in further if _is_good(one) and one is not search.chosen)]
    reference = shop.trial(ONNX_FLOAT32)
    stage = job.stage(tuple(_spec(trial.artifact) for trial in (*kept, reference)))
    trials = [preferred if one is search.chosen else one for one in search.trials]
    trials += [one for one in further if one.artifact.recipe.name not in tried]
    record = ConversionRecord(
        parity=parity,
        trials=tuple(trial.proof for trial in trials),
        chosen=(search.chosen.artifact.recipe.name, *(trial.artifact.recipe.name for trial in kept[1:])),
        layers=_layers(shop, preferred),
        sensitivity=search.sensitivity,
        float_layers=search.float_layers,
        fine_tuned=search.fine_tuned,
        tools=tuple(sorted(tool_versions().items())),
    )
    golden = _golden(shop, stage, [*kept, reference])
    rejected = [trial for trial in search.trials if trial.proof.verdict is Verdict.FAIL]
    return BundleDraft(
        name=job.name,
        version=job.version,
        labels=job.labels,
        stage=stage,
        artifacts=tuple(trial.artifact for trial in (*kept, reference)),
        files=shop.files,
        decision=job.decision,
        keep=job.keep,
        proof=_proof(shop, kept),
        record=record,
        rejected=tuple(trial.proof for trial in rejected),
        provenance=job.provenance,
        golden=golden,
        measurements=_measurements(shop, [*trials, reference], now()),
        capture=job.capture,
    )


def _is_good(trial: Trial) -> bool:
    return trial.proof.verdict in (Verdict.PASS, Verdict.UNDECIDED)


def _spec(artifact: Artifact) -> ArtifactSpec:
    return ArtifactSpec(
        file=artifact.path.name, format=artifact.format, recipe=artifact.recipe.name, tolerance=tolerance_of(artifact)
    )


def _proof(shop: Workshop, kept: Sequence[Trial]) -> Proof:
    job = shop.job
    return Proof(
        limits=job.limits,
        calibration_digests=tuple(picture.digest for picture in job.calibration),
        validation_digests=tuple(picture.digest for picture in job.validation),
        artifacts=tuple(trial.proof for trial in kept),
        metric=shop.metric,
        reference=shop.reference.path.name,
        score=shop.reference_score(),
    )


def _layers(shop: Workshop, preferred: Trial) -> tuple[LayerError, ...]:
    """Noise layer by layer, where there are int8 layers."""
    if preferred.artifact.recipe.scheme is not Scheme.STATIC_INT8:
        return ()
    return shop.layers(preferred.artifact)


def _golden(shop: Workshop, stage: StageSpec, trials: Sequence[Trial]) -> GoldenDraft:
    artifacts = {spec: trial.artifact.path for spec, trial in zip(stage.artifacts, trials, strict=True)}
    pixels = [picture.pixels for picture in shop.validation]
    with shop.steps.step("choosing golden vectors"):
        return draft_golden(shop.recorder(stage), artifacts, pixels, [trial.answers for trial in trials])


def _measurements(shop: Workshop, trials: Sequence[Trial], created_at: float) -> Measurements:
    return Measurements(
        created_at=created_at,
        machine=machine(),
        latencies=tuple(trial.latency for trial in trials),
        steps=shop.steps.times,
        peak_memory_mb=peak_memory_mb(),
    )


def _nothing_good(trials: Sequence[Trial]) -> EdgeloopError:
    reasons = "; ".join(f"{trial.proof.recipe}: {trial.proof.reason}" for trial in trials)
    return EdgeloopError(
        f"no quantization recipe is good enough: {reasons}",
        hint="train longer, widen the limits, or convert with --auto, which also looks for layers to leave float",
    )
