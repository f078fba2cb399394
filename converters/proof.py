"""The acceptance rule, and the proof that a bundle carries. Format page: docs/formats/proof.md."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from converters.compare import agreement, output_error, paired_interval, unseen_bound
from converters.types import Artifact, ArtifactProof, Proof, Scheme
from edge.bundle.manifest import ProofSummary, QualityLimits, Verdict

if TYPE_CHECKING:
    from edge.types import FloatArray

    # (pictures, classes) outputs and the right class of each picture to a score in [0, 1] for each picture.
    Score = Callable[[FloatArray, Sequence[int]], FloatArray]

PROOF_FILE = "proof.json"


def top1(logits: FloatArray, truths: Sequence[int]) -> FloatArray:
    """1 where the best class is the right one, else 0."""
    import numpy as np

    right: FloatArray = (logits.argmax(axis=1) == np.asarray(truths)).astype(np.float32)
    return right


def prove_artifact(
    artifact: Artifact,
    *,
    output: str,
    reference: FloatArray,
    found: FloatArray,
    truths: Sequence[int],
    limits: QualityLimits,
    score: Score = top1,
) -> ArtifactProof:
    """Weighs an artifact against the float network it was made from.

    Args:
        artifact: The model file.
        output: Name of its output.
        reference: What the float network says, (pictures, classes).
        found: What the artifact says on the same pictures.
        truths: The right class of each picture.
        limits: What quantization may cost.
        score: How good an answer is, in [0, 1].

    Returns:
        The proof with its verdict.
    """
    import numpy as np

    finite = bool(np.isfinite(found).all())
    found = np.nan_to_num(found, nan=0.0, posinf=0.0, neginf=0.0)
    before, after = score(reference, truths), score(found, truths)
    drop, lower, upper = (100 * value for value in paired_interval(before - after))
    if artifact.recipe.scheme is not Scheme.FLOAT32 and not (after < before).any():
        upper = max(upper, drop + 100 * unseen_bound(len(truths)))
    verdict, reason = judge(drop=drop, upper=upper, size_bytes=artifact.size_bytes, limits=limits)
    if not finite:
        verdict, reason = Verdict.FAIL, "some outputs are not finite numbers"
    return ArtifactProof(
        file=artifact.path.name,
        recipe=artifact.recipe.name,
        size_bytes=artifact.size_bytes,
        num_pictures=len(truths),
        float_accuracy=_points(100 * float(before.mean(dtype="float64"))),
        accuracy=_points(100 * float(after.mean(dtype="float64"))),
        drop_points=_points(drop),
        drop_lower_points=_points(lower),
        drop_upper_points=_points(upper),
        agreement=round(agreement(reference, found), 6),
        errors=(output_error(output, reference, found),),
        verdict=verdict,
        reason=reason,
    )


def judge(*, drop: float, upper: float, size_bytes: int, limits: QualityLimits) -> tuple[Verdict, str]:
    """The acceptance rule.

    Args:
        drop: Paired drop of accuracy, float minus artifact, in points.
        upper: Its upper 95 % bound.
        size_bytes: Size of the model file.
        limits: What is allowed.

    Returns:
        FAIL when the drop or the size is above its limit, UNDECIDED when only the bound is, else PASS; and why.
    """
    if limits.max_size_bytes and size_bytes > limits.max_size_bytes:
        return Verdict.FAIL, f"{size_bytes} bytes, at most {limits.max_size_bytes} are allowed"
    drop, upper = _points(drop), _points(upper)
    if drop > limits.max_drop_points:
        return Verdict.FAIL, f"loses {drop:.2f} points, at most {limits.max_drop_points:.2f} are allowed"
    if upper > limits.max_drop_upper_points:
        limit = limits.max_drop_upper_points
        return (
            Verdict.UNDECIDED,
            f"loses {drop:.2f} points, but up to {upper:.2f} cannot be ruled out (limit {limit:.2f})",
        )
    return Verdict.PASS, f"loses {drop:.2f} points, at most {upper:.2f} with 95 % confidence"


def summarise(proof: Proof) -> ProofSummary:
    """The proof in one line for the manifest; its first artifact is the one a device prefers."""
    first = proof.artifacts[0]
    return ProofSummary(
        verdict=first.verdict,
        file=PROOF_FILE,
        drop_points=first.drop_points,
        drop_upper_points=first.drop_upper_points,
        fallbacks=tuple(f"{rejected.recipe}: {rejected.reason}" for rejected in proof.rejected),
    )


def _points(value: float) -> float:
    """Six digits after the point, and never a negative zero."""
    return round(value, 6) + 0.0
