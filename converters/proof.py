"""The proof that a bundle carries: what each model costs against the float one. Format page: docs/formats/proof.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from converters.acceptance import Figures, judge
from converters.answers import Answers
from converters.compare import output_error
from converters.distribution import distribution_of
from converters.examples import LabelledPicture
from converters.metrics import agreement, named, paired_drop, score_of, tally
from converters.types import AnswerPair, Artifact, ArtifactProof, Estimate, OutputError, Proof, Scheme
from edge.bundle.manifest import ProofSummary, QualityLimits, Verdict
from edge.types import Prediction

PROOF_FILE = "proof.json"


def prove_artifact(
    artifact: Artifact,
    *,
    reference: Answers,
    found: Answers,
    truths: Sequence[LabelledPicture],
    metric: str,
    limits: QualityLimits,
) -> ArtifactProof:
    """Weighs an artifact against the float model of the same network.

    Args:
        artifact: The model file.
        reference: What the float model says.
        found: What the artifact says about the same pictures.
        truths: What is right.
        metric: What the drop is measured in.
        limits: What quantization may cost.

    Returns:
        The proof with its verdict.
    """
    before = tally(metric, reference.predictions, truths)
    if found.broken:
        return _broken(artifact, found.broken, score_of(before).value, len(truths))
    after = tally(metric, found.predictions, truths)
    drop = paired_drop(before, after, exact=artifact.recipe.scheme is Scheme.FLOAT32)
    errors = output_errors(reference, found)
    share = round(agreement(reference.predictions, found.predictions), 6)
    figures = Figures(drop=drop, size_bytes=artifact.size_bytes, agreement=share, errors=errors)
    verdict, reason = judge(figures, limits)
    return ArtifactProof(
        file=artifact.path.name,
        recipe=artifact.recipe.name,
        size_bytes=artifact.size_bytes,
        num_pictures=len(truths),
        float_accuracy=score_of(before).value,
        accuracy=score_of(after).value,
        drop_points=drop.value,
        drop_lower_points=drop.lower,
        drop_upper_points=drop.upper,
        agreement=share,
        errors=errors,
        verdict=verdict,
        reason=reason,
        answers=answer_pairs(reference.predictions, found.predictions),
        distribution=distribution_of(found.predictions),
    )


def output_errors(reference: Answers, found: Answers) -> tuple[OutputError, ...]:
    """How far each output is from the float model's, on the pictures whose raw outputs were kept."""
    return tuple(output_error(name, reference.raw[name], found.raw[name]) for name in reference.raw)


def answer_pairs(before: Sequence[Prediction], after: Sequence[Prediction]) -> tuple[AnswerPair, ...]:
    """How often the two models named which labels, sorted by label."""
    pairs = Counter((named(one), named(other)) for one, other in zip(before, after, strict=True))
    return tuple(AnswerPair(before=one, after=other, num=num) for (one, other), num in sorted(pairs.items()))


def summarise(proof: Proof, rejected: Sequence[ArtifactProof]) -> ProofSummary:
    """The proof in one line for the manifest; its first artifact is the one a device prefers.

    Args:
        proof: Of the models in the bundle.
        rejected: Of those that were tried before and failed.
    """
    first = proof.artifacts[0]
    return ProofSummary(
        verdict=first.verdict,
        file=PROOF_FILE,
        drop_points=first.drop_points,
        drop_upper_points=first.drop_upper_points,
        fallbacks=tuple(f"{one.recipe}: {one.reason}" for one in rejected),
    )


def _broken(artifact: Artifact, why: str, float_score: float, num: int) -> ArtifactProof:
    """Of a model that gives no answers."""
    lost = Estimate(value=float_score, lower=float_score, upper=float_score)
    return ArtifactProof(
        file=artifact.path.name,
        recipe=artifact.recipe.name,
        size_bytes=artifact.size_bytes,
        num_pictures=num,
        float_accuracy=float_score,
        accuracy=0.0,
        drop_points=lost.value,
        drop_lower_points=lost.lower,
        drop_upper_points=lost.upper,
        agreement=0.0,
        errors=(),
        verdict=Verdict.FAIL,
        reason=why,
    )
