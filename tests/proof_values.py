"""Bundles' records with made-up, plausible figures, for tests of the proof page."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass

from converters.types import (
    AnswerPair,
    ArtifactProof,
    ConversionRecord,
    Estimate,
    Latency,
    LayerError,
    Measurements,
    OutputError,
    Parity,
    Proof,
    StepTime,
)
from edge.bundle.manifest import (
    ArtifactFormat,
    ArtifactSpec,
    BundleManifest,
    DecisionPolicy,
    Decoder,
    DetectSpec,
    FileEntry,
    KeepPolicy,
    Origin,
    OutputKind,
    OutputSpec,
    PreprocessSpec,
    ProofSummary,
    Provenance,
    QualityLimits,
    StageSpec,
    Task,
    Verdict,
)

SHAPES = ("circle", "cross", "hexagon", "ring", "square", "star", "triangle", "wedge")


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """What `proof_page` takes.

    Attributes:
        manifest: Of a bundle.
        digest: Of the bundle.
        proof: What its models cost.
        record: How they came about.
        measurements: What was timed.
    """

    manifest: BundleManifest
    digest: str
    proof: Proof
    record: ConversionRecord
    measurements: Measurements | None


def digest_of(text: str) -> str:
    """A digest for made-up things."""
    return hashlib.sha256(text.encode()).hexdigest()


def made_trial(
    recipe: str,
    drop: float,
    verdict: Verdict = Verdict.PASS,
    *,
    file: str = "classify.tflite",
    size: int = 702_000,
    score: float = 91.4,
    spread: float = 0.9,
    outputs: tuple[str, ...] = ("logits",),
    reason: str = "",
    answers: tuple[AnswerPair, ...] = (),
) -> ArtifactProof:
    """What one recipe costs."""
    errors = tuple(
        OutputError(output=name, max_abs=0.21 + drop, mean_abs=0.031, sqnr_db=34.2 - 4 * drop - place, cosine=0.9991)
        for place, name in enumerate(outputs)
    )
    return ArtifactProof(
        file=file,
        recipe=recipe,
        size_bytes=size,
        num_pictures=400,
        float_accuracy=score,
        accuracy=score - drop,
        drop_points=drop,
        drop_lower_points=drop - spread,
        drop_upper_points=drop + spread,
        agreement=max(0.0, 0.99 - drop / 50),
        errors=errors,
        verdict=verdict,
        reason=reason or f"paired drop {drop:.1f} points (up to {drop + spread:.1f}), at most 1.0 allowed",
        answers=answers,
    )


def made_answers(
    labels: tuple[str, ...], *, seed: int = 3, each: int = 50, apart: float = 0.03
) -> tuple[AnswerPair, ...]:
    """A confusion that is nearly a diagonal."""
    rng = random.Random(seed)
    counts: dict[tuple[str, str], int] = {}
    for label in labels:
        for _ in range(each):
            pair = (label, rng.choice(labels) if rng.random() < apart else label)
            counts[pair] = counts.get(pair, 0) + 1
    return tuple(AnswerPair(before=old, after=new, num=num) for (old, new), num in sorted(counts.items()))


def made_layers(num: int, *, seed: int = 5) -> tuple[LayerError, ...]:
    """Noise that grows from layer to layer."""
    rng = random.Random(seed)
    operations = ("CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "MEAN", "FULLY_CONNECTED")
    return tuple(
        LayerError(
            layer=f"model/blocks.{number // 3}/conv_{number % 3}/convolution;Relu6",
            operation=operations[number % 5],
            sqnr_db=round(48 - 20 * number / num + rng.uniform(-6, 6), 2),
        )
        for number in range(num)
    )


def made_classifier(
    labels: tuple[str, ...] = SHAPES, *, name: str = "shapes", trials: tuple[ArtifactProof, ...] = (), **record: object
) -> Records:
    """An int8 classifier that passed at once, or whatever `trials` say; the last of them is in the bundle."""
    made = trials or (made_trial("static_wi8_ai8", 0.3, answers=made_answers(labels)),)
    output = OutputSpec(name="logits", kind=OutputKind.LOGITS, shape=(1, len(labels)))
    stage = StageSpec(
        name="classify",
        preprocess=PreprocessSpec(width=160, height=160),
        outputs=(output,),
        artifacts=_artifacts(made[-1], "classify.onnx"),
    )
    fields: dict[str, object] = {"layers": made_layers(18)}
    return _records(name, labels, stage, made, fields | record)


def made_fallback() -> Records:
    """81 classes; int8 needed some layers left float."""
    labels = tuple(f"product {number:02d}" for number in range(81))
    layers = made_layers(96)
    noisy = sorted(layers, key=lambda one: one.sqnr_db)[:34]
    trials = (
        made_trial("static_wi8_ai8", 14.8, Verdict.FAIL, score=78.0, spread=2.9),
        made_trial("static_wi8_ai8_p99.999", 3.1, Verdict.FAIL, score=78.0, spread=1.6),
        made_trial(
            "static_wi8_ai8_sensitive",
            0.8,
            Verdict.UNDECIDED,
            score=78.0,
            spread=2.1,
            size=1_311_000,
            answers=made_answers(labels, apart=0.08, each=8),
            reason="paired drop 0.8 points, up to 2.9 cannot be ruled out: 400 pictures are too few",
        ),
    )
    kept = tuple(one.layer for one in noisy[:4])
    return made_classifier(
        labels, name="shelf", trials=trials, layers=layers, sensitivity=tuple(noisy), float_layers=kept, fine_tuned=True
    )


def made_detector() -> Records:
    """Boxes, measured by average precision, that a picture may have none of."""
    labels = ("leaf spot", "rust", "mildew")
    answers = (*made_answers(labels, each=100), AnswerPair(before="", after="rust", num=2))
    answers += (AnswerPair(before="mildew", after="", num=5), AnswerPair(before="", after="", num=61))
    outputs = ("boxes", "scores")
    int8 = made_trial(
        "static_wi8_ai8", 0.6, file="detect.tflite", size=3_204_000, score=61.7, outputs=outputs, answers=answers
    )
    stage = StageSpec(
        name="detect",
        preprocess=PreprocessSpec(width=320, height=320),
        outputs=(
            OutputSpec(name="boxes", kind=OutputKind.BOXES, shape=(1, 2100, 4)),
            OutputSpec(name="scores", kind=OutputKind.SCORES, shape=(1, 2100, 3)),
        ),
        artifacts=_artifacts(int8, "detect.onnx"),
        task=Task.DETECT,
        detect=DetectSpec(decoder=Decoder.YOLO),
    )
    return _records("leaf", labels, stage, (int8,), {"layers": made_layers(64)}, metric="ap50", size=12_240_000)


def _artifacts(chosen: ArtifactProof, reference: str) -> tuple[ArtifactSpec, ...]:
    return (
        ArtifactSpec(file=chosen.file, format=ArtifactFormat.TFLITE, recipe=chosen.recipe, tolerance=0.0),
        ArtifactSpec(file=reference, format=ArtifactFormat.ONNX, recipe="fp32", tolerance=1e-4),
    )


def _records(
    name: str,
    labels: tuple[str, ...],
    stage: StageSpec,
    trials: tuple[ArtifactProof, ...],
    record: dict[str, object],
    *,
    metric: str = "top1",
    size: int = 2_430_000,
) -> Records:
    chosen, reference = trials[-1], stage.artifacts[-1].file
    score = chosen.float_accuracy
    manifest = _manifest(name, labels, stage, chosen, size)
    proof = Proof(
        limits=QualityLimits(),
        calibration_digests=tuple(digest_of(f"c{number}") for number in range(200)),
        validation_digests=tuple(digest_of(f"v{number}") for number in range(chosen.num_pictures)),
        artifacts=(chosen,),
        metric=metric,
        reference=reference,
        score=Estimate(value=score, lower=score - 3.1, upper=score + 2.6),
    )
    parity = Parity(
        format=ArtifactFormat.ONNX,
        num_pictures=64,
        agreement=1.0,
        errors=(OutputError(output="logits", max_abs=3.1e-6, mean_abs=4e-7, sqnr_db=131.0, cosine=1.0),),
    )
    fields: dict[str, object] = {
        "parity": (parity,),
        "trials": trials,
        "chosen": (chosen.recipe,),
        "tools": (("ai-edge-quantizer", "0.10.0"), ("litert-torch", "0.10.1"), ("torch", "2.9.1")),
    }
    return Records(
        manifest=manifest,
        digest=digest_of(name),
        proof=proof,
        record=ConversionRecord(**(fields | record)),
        measurements=_measurements(trials, reference),
    )


def _manifest(name: str, labels: tuple[str, ...], stage: StageSpec, chosen: ArtifactProof, size: int) -> BundleManifest:
    sizes = {chosen.file: chosen.size_bytes, stage.artifacts[-1].file: size, "proof.json": 40_000}
    return BundleManifest(
        format_version=1,
        name=name,
        version=3,
        task=stage.task,
        origin=Origin.TRAINED,
        labels=labels,
        stages=(stage,),
        decision=DecisionPolicy(),
        keep=KeepPolicy(),
        limits=QualityLimits(),
        proof=ProofSummary(
            verdict=chosen.verdict,
            file="proof.json",
            drop_points=chosen.drop_points,
            drop_upper_points=chosen.drop_upper_points,
        ),
        provenance=Provenance(
            run=digest_of("run"),
            snapshot=digest_of("snapshot"),
            train_recipe="mobilenet_v2_small",
            seed=7,
            weights=digest_of("weights"),
            producer="edgeloop 0.2.0",
        ),
        golden_file="",
        files=tuple(FileEntry(name=one, sha256=digest_of(one), size_bytes=num) for one, num in sorted(sizes.items())),
    )


def _measurements(trials: tuple[ArtifactProof, ...], reference: str) -> Measurements:
    timed = tuple(
        Latency(file=one.file, p50_ms=0.71 + place / 9, p95_ms=0.93 + place / 6, runs=30, recipe=one.recipe)
        for place, one in enumerate(trials)
    )
    return Measurements(
        created_at=1_760_000_000.0,
        machine="Example CPU, 2 cores, Linux",
        latencies=(*timed, Latency(file=reference, p50_ms=1.62, p95_ms=2.4, runs=30, recipe="fp32")),
        steps=(StepTime(step="export", seconds=14.2), StepTime(step="calibrate", seconds=8.1)),
        peak_memory_mb=2_140.0,
    )
