"""The acceptance rule: what quantization may cost. Pure. Format page: docs/formats/proof.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from converters.types import Estimate, OutputError
from edge.bundle.manifest import QualityLimits, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What the rule looks at.

    Attributes:
        drop: Paired drop of the metric, float minus artifact, in points.
        size_bytes: Of the model file.
        agreement: Share of the float model's answers that stand, in [0, 1].
        errors: Per output.
    """

    drop: Estimate
    size_bytes: int
    agreement: float = 1.0
    errors: Sequence[OutputError] = ()


def judge(figures: Figures, limits: QualityLimits) -> tuple[Verdict, str]:
    """Weighs an artifact.

    Args:
        figures: What it costs.
        limits: What is allowed.

    Returns:
        FAIL when the size, the drop, the agreement or a cosine is beyond its limit; UNDECIDED when only the upper bound
        of the drop is; else PASS; and why.
    """
    broken = _beyond(figures, limits)
    if broken:
        return Verdict.FAIL, broken
    drop, upper = figures.drop.value, figures.drop.upper
    if upper > limits.max_drop_upper_points:
        limit = limits.max_drop_upper_points
        return (
            Verdict.UNDECIDED,
            f"loses {drop:.2f} points, but up to {upper:.2f} cannot be ruled out (limit {limit:.2f})",
        )
    return Verdict.PASS, f"loses {drop:.2f} points, at most {upper:.2f} with 95 % confidence"


def _beyond(figures: Figures, limits: QualityLimits) -> str:
    """Why it fails; empty where it does not."""
    if limits.max_size_bytes and figures.size_bytes > limits.max_size_bytes:
        return f"{figures.size_bytes} bytes, at most {limits.max_size_bytes} are allowed"
    if figures.drop.value > limits.max_drop_points:
        return f"loses {figures.drop.value:.2f} points, at most {limits.max_drop_points:.2f} are allowed"
    if figures.agreement < limits.min_agreement:
        return f"{figures.agreement:.1%} of the answers stand, at least {limits.min_agreement:.1%} are asked"
    for error in figures.errors:
        if error.cosine < limits.min_cosine:
            return f"output {error.output!r} has cosine {error.cosine:.4f}, at least {limits.min_cosine:.4f} is asked"
    return ""


def judge_latency(p50_ms: float, limits: QualityLimits) -> str:
    """Why a model is too slow on the machine that measured it; empty where it is not.

    The measured time is not in the words: they go into a manifest, which must not differ from run to run.
    """
    if limits.max_latency_ms and p50_ms > limits.max_latency_ms:
        return f"slower than {limits.max_latency_ms:g} ms on the machine that converted it"
    return ""
