"""A turn of the loop with made-up, plausible figures, for tests of the report."""

from __future__ import annotations

import hashlib
import io
import random
from collections.abc import Callable

from cloud_train.evaluation.baselines import majority_accuracy
from cloud_train.evaluation.gates import judge_gates
from cloud_train.evaluation.metrics import accuracy, class_rows, macro_f1, paired_gain
from cloud_train.evaluation.story import KeptSample, LoopStory, Opinion, StepTime, StreamFacts, VersionFacts
from cloud_train.types import EvalReport, PictureResult, SnapshotItem, Split
from converters.types import ArtifactProof, ConversionRecord, Estimate, Latency, Measurements, OutputError, Proof
from edge.bundle.manifest import QualityLimits, Verdict

LABELS = ("berry-tea", "cocoa", "crackers", "green-tea", "honey", "instant-soup", "jam", "lentils", "mint", "oat-bar")
UNKNOWN = ("jam", "mint")


def digest_of(text: str) -> str:
    """A digest for made-up things."""
    return hashlib.sha256(text.encode()).hexdigest()


def made_report(
    name: str,
    right: Callable[[str], float],
    *,
    labels: tuple[str, ...] = LABELS,
    per_class: int = 32,
    confident: float = 0.7,
) -> EvalReport:
    """A report in which each picture is recognised with the probability `right(label)`.

    Args:
        name: Of the bundle; also seeds the draws.
        right: Label to probability.
        labels: Classes of the test split.
        per_class: Pictures of each.
        confident: Share of the answers that are accepted.
    """
    rng = random.Random(name)
    results = []
    for label in labels:
        for number in range(per_class):
            said = label if rng.random() < right(label) else rng.choice([one for one in labels if one != label])
            outcome = "accept" if rng.random() < confident else rng.choice(("confirm", "unknown"))
            picture = digest_of(f"{label} {number}")
            results.append(
                PictureResult(digest=picture, truth=label, predicted=said, confidence=rng.random(), outcome=outcome)
            )
    results.sort(key=lambda one: one.digest)
    rows = class_rows(results, labels)
    items = [
        SnapshotItem(digest=one.digest, label=one.truth, split=Split.TEST, group=one.digest, origin="file:x")
        for one in results
    ]
    return EvalReport(
        bundle=digest_of(name),
        artifact="model_static_wi8_ai8.tflite",
        snapshot=digest_of("snapshot"),
        split=Split.TEST,
        accuracy=accuracy(results),
        macro_f1=macro_f1(rows),
        classes=rows,
        pictures=tuple(results),
        majority_baseline=majority_accuracy(items, items),
        histogram_baseline=38.2,
        latency_p50_ms=2.31,
    )


def made_artifact_proof(file: str, recipe: str, *, drop: float, spread: float, verdict: Verdict) -> ArtifactProof:
    """What an int8 model costs."""
    return ArtifactProof(
        file=file,
        recipe=recipe,
        size_bytes=702_000,
        num_pictures=180,
        float_accuracy=83.3,
        accuracy=83.3 - drop,
        drop_points=drop,
        drop_lower_points=drop - spread,
        drop_upper_points=drop + spread,
        agreement=0.983,
        errors=(OutputError(output="logits", max_abs=0.2, mean_abs=0.03, sqnr_db=31.0, cosine=0.999),),
        verdict=verdict,
        reason="paired drop 3.9 points, at most 1.0 allowed" if verdict is Verdict.FAIL else "within the limits",
    )


def made_proof() -> Proof:
    """An int8 model against a float one."""
    return Proof(
        limits=QualityLimits(),
        calibration_digests=tuple(digest_of(f"c{number}") for number in range(200)),
        validation_digests=tuple(digest_of(f"v{number}") for number in range(180)),
        artifacts=(
            made_artifact_proof(
                "model_static_wi8_ai8.tflite", "static_wi8_ai8", drop=0.6, spread=1.3, verdict=Verdict.PASS
            ),
        ),
        reference="model_fp32.onnx",
        score=Estimate(value=83.3, lower=77.2, upper=88.1),
    )


def made_record() -> ConversionRecord:
    """One recipe failed before another one passed."""
    failed = made_artifact_proof("x.tflite", "static_wi8_ai8", drop=3.9, spread=2.0, verdict=Verdict.FAIL)
    return ConversionRecord(parity=(), trials=(failed, *made_proof().artifacts), chosen=("static_wi8_ai8",))


def made_measurements() -> Measurements:
    """Latencies of the int8 model and of the reference."""
    return Measurements(
        created_at=1_700_000_000.0,
        machine="Example CPU, 2 cores, Linux",
        latencies=(
            Latency(file="model_static_wi8_ai8.tflite", p50_ms=0.71, p95_ms=0.93, runs=200, recipe="static_wi8_ai8"),
            Latency(file="model_fp32.onnx", p50_ms=1.62, p95_ms=2.4, runs=200),
        ),
    )


def made_version(report: EvalReport, num_train: int, *, record: ConversionRecord | None = None) -> VersionFacts:
    """A version that was converted."""
    return VersionFacts(
        report=report,
        num_train=num_train,
        proof=made_proof(),
        measurements=made_measurements(),
        record=record,
        reference_bytes=2_430_000,
    )


def made_picture(number: int) -> bytes:
    """A small JPEG that shows something."""
    from PIL import Image, ImageDraw

    rng = random.Random(number)
    picture = Image.new("RGB", (120, 90 + 10 * (number % 5)), tuple(rng.randrange(256) for _ in range(3)))
    ImageDraw.Draw(picture).ellipse((20, 15, 90, 80), fill=tuple(rng.randrange(256) for _ in range(3)))
    target = io.BytesIO()
    picture.save(target, "JPEG")
    return target.getvalue()


def made_kept(num: int = 30, *, labels: tuple[str, ...] = LABELS) -> tuple[KeptSample, ...]:
    """Samples for the gallery."""
    rng = random.Random(5)
    made = []
    for number in range(num):
        truth, other = rng.sample(labels, 2)
        opinions = [
            Opinion(label=rng.choice((truth, other)), confidence=rng.random(), outcome=outcome)
            for outcome in (rng.choice(("confirm", "unknown")), "accept")
        ]
        picture = made_picture(number)
        made.append(
            KeptSample(
                digest=hashlib.sha256(picture).hexdigest(),
                picture=picture,
                truth=truth,
                reason="low_confidence",
                v1=opinions[0],
                v2=opinions[1],
            )
        )
    return tuple(made)


def made_story(*, labels: tuple[str, ...] = LABELS, control: bool = True, **changes: object) -> LoopStory:
    """A whole story; `changes` replace its fields."""
    unknown = tuple(label for label in UNKNOWN if label in labels) or labels[-1:]
    v1 = made_report("v1", lambda label: 0.0 if label in unknown else 0.78, labels=labels, confident=0.55)
    v2 = made_report("v2", lambda label: 0.84, labels=labels, confident=0.75)
    drawn = made_report("random", lambda label: 0.6 if label in unknown else 0.82, labels=labels, confident=0.7)
    fields: dict[str, object] = {
        "title": "edgeloop: one turn of the loop",
        "command": "edgeloop demo --work work/demo --seed 7",
        "hardware": "Example CPU, 2 cores, Linux",
        "data": "1,440 drawn shelf products of 10 classes",
        "answers": "the data set's own label, in place of a person, through the call that a person's click makes",
        "unknown_classes": unknown,
        "v1": made_version(v1, 310),
        "v2": made_version(v2, 452, record=made_record()),
        "control": VersionFacts(report=drawn, num_train=452) if control else None,
        "gain": paired_gain(v1, v2),
        "gain_over_control": paired_gain(drawn, v2) if control else None,
        "gate": judge_gates(v1, v2),
        "stream": StreamFacts(
            captured=1302,
            answered=1302,
            dropped=0,
            by_bundle=(("version 1", 1031), ("version 2", 271)),
            accepted=401,
            confirmed=130,
            unknown=88,
            kept=171,
            bytes_seen=5_310_000,
            bytes_uploaded=1_502_000,
        ),
        "num_labels": 171,
        "kept": made_kept(labels=labels),
        "chain": tuple((name, digest_of(name)) for name in ("snapshot", "run v1", "bundle v1", "run v2", "bundle v2")),
        "steps": tuple(
            StepTime(name=name, seconds=seconds)
            for name, seconds in (("pictures", 4.2), ("train v1", 61.0), ("convert v1", 22.4), ("field", 31.9))
        ),
        "created_at": 1_700_000_000.0,
    }
    return LoopStory(**(fields | changes))
