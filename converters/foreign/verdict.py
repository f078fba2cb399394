"""Whether an imported model is good enough: pure functions of how it fared. Format page: docs/formats/proof.md."""

from __future__ import annotations

import math

from converters.acceptance import Figures, judge
from converters.types import Estimate
from edge.bundle.manifest import QualityLimits, Verdict

# 97.5 % point of the normal distribution: intervals of 95 %.
_Z = 1.959964
_ORDER = (Verdict.PASS, Verdict.UNDECIDED, Verdict.FAIL)


def wilson_interval(right: int, num: int) -> Estimate:
    """Share of right answers, in points, with the score interval of Wilson (1927), which holds for few pictures too.

    Args:
        right: 0 to `num`.
        num: At least 1.
    """
    share = right / num
    centre = share + _Z**2 / (2 * num)
    spread = _Z * math.sqrt(share * (1 - share) / num + _Z**2 / (4 * num**2))
    below = 1 + _Z**2 / num
    lower, upper = max(0.0, (centre - spread) / below), min(1.0, (centre + spread) / below)
    return Estimate(value=_points(share), lower=_points(min(lower, share)), upper=_points(max(upper, share)))


def judge_imported(
    score: Estimate, drop: Estimate | None, *, min_points: float | None, size_bytes: int, limits: QualityLimits
) -> tuple[Verdict, str]:
    """The rule for models that edgeloop did not make; the worse of two verdicts counts.

    Args:
        score: What the model gets, in points.
        drop: What it loses against its reference; None without one.
        min_points: Least score, None where only the drop counts.
        size_bytes: Size of the model file.
        limits: Of the drop and of the size.

    Returns:
        FAIL when the score is below its limit, or the drop or the size above theirs; UNDECIDED when only a bound is;
        else PASS; and why.
    """
    said = []
    if min_points is not None:
        said.append(_by_score(score, min_points))
    if drop is not None or limits.max_size_bytes:
        lost = drop or Estimate(value=0.0, lower=0.0, upper=0.0)
        verdict, reason = judge(Figures(drop=lost, size_bytes=size_bytes), limits)
        if drop is not None or verdict is Verdict.FAIL:
            said.append((verdict, reason))
    return max(said, key=lambda pair: _ORDER.index(pair[0]))


def _by_score(score: Estimate, least: float) -> tuple[Verdict, str]:
    if score.value < least:
        return Verdict.FAIL, f"gets {score.text()}, at least {least:.1f} are asked"
    if score.lower < least:
        return Verdict.UNDECIDED, f"gets {score.text()}, fewer than {least:.1f} cannot be ruled out"
    return Verdict.PASS, f"gets {score.text()}, at least {least:.1f} are asked"


def _points(share: float) -> float:
    """Points with six digits, and never a negative zero."""
    return round(100 * share, 6) + 0.0
