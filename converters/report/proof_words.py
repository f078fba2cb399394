"""The sentences and figures of the proof page."""

from __future__ import annotations

from collections.abc import Iterator

from converters.report.proof_facts import EQUAL_DB, ProofFacts
from converters.types import ArtifactProof
from edge.bundle.manifest import QualityLimits, Verdict

_LEADS = {
    Verdict.PASS: "Passed.",
    Verdict.UNDECIDED: "Undecided: too few pictures to be sure. It may be published, with that word.",
    Verdict.FAIL: "Failed.",
    Verdict.NONE: "Not proven.",
}


def summary(facts: ProofFacts) -> Iterator[str]:
    """What came of the conversion, in a few sentences."""
    lead = _LEADS[facts.manifest.proof.verdict]
    if facts.preferred is None:
        yield f"{lead} No quantized model is in the bundle: devices run the float model."
    else:
        yield f"{lead} {_loss(facts, facts.preferred)}"
        if facts.manifest.proof.verdict is not Verdict.PASS and facts.preferred.reason:
            yield f"Why: {facts.preferred.reason}."
    ways = " ".join(_ways(facts))
    if ways:
        yield ways


def _loss(facts: ProofFacts, one: ArtifactProof) -> str:
    """What the preferred model loses against the float model."""
    if one.drop_points > 0:
        lost = f"loses {points(one.drop_points)} points of {facts.metric} against the float model"
    elif one.drop_points < 0:
        lost = f"gets {points(-one.drop_points)} points of {facts.metric} more than the float model"
    else:
        lost = f"gets the same {facts.metric} as the float model"
    limit = points(facts.proof.limits.max_drop_points)
    return (
        f"{one.file} ({one.recipe}) {lost} on {one.num_pictures:,} validation pictures; "
        f"the 95 % interval of the loss is {points(one.drop_lower_points)} to {points(one.drop_upper_points)}, "
        f"and a loss of {limit} is allowed."
    )


def _ways(facts: ProofFacts) -> Iterator[str]:
    """What it took."""
    failed = [one.recipe for one in facts.trials if one.verdict is Verdict.FAIL]
    if failed:
        yield f"Of {len(facts.trials)} recipes tried, {len(failed)} failed: {', '.join(failed)}."
    if facts.record.float_layers:
        yield f"{counted(len(facts.record.float_layers), 'layer')} had to stay float."
    if facts.record.fine_tuned:
        yield "The weights were fine-tuned with quantization in the loop first."


def headline_figures(facts: ProofFacts) -> Iterator[tuple[str, str]]:
    """What it is, and a large figure."""
    one = facts.preferred
    if one is None:
        return
    yield (
        f"points of {facts.metric} lost ({points(one.drop_lower_points)} to {points(one.drop_upper_points)})",
        points(one.drop_points),
    )
    if facts.reference_bytes and one.size_bytes:
        ratio, word = times(facts.reference_bytes / one.size_bytes, "smaller", "larger")
        yield f"{word}: {size_text(one.size_bytes)} against {size_text(facts.reference_bytes)} float", ratio
    fast, slow = facts.latency(one.file, one.recipe), facts.latency(facts.reference_file)
    if fast and slow and fast.p50_ms > 0 and slow.p50_ms > 0:
        ratio, word = times(slow.p50_ms / fast.p50_ms, "faster", "slower")
        yield f"{word}: {fast.p50_ms:.2f} ms against {slow.p50_ms:.2f} ms float", ratio
    yield "of the float model's answers are given too", f"{100 * one.agreement:.1f} %"


def times(ratio: float, more: str, less: str) -> tuple[str, str]:
    """A ratio above 1 and the word that makes it true: 0.5 is 2.0 times `less`."""
    value, word = (ratio, more) if ratio >= 1 else (1 / ratio, less)
    return f"{value:.1f}\N{MULTIPLICATION SIGN}", word


def limit_rows(limits: QualityLimits) -> Iterator[tuple[str, str]]:
    """What was allowed, without what was not limited."""
    yield "loss", f"at most {limits.max_drop_points:g} points"
    yield "upper 95 % bound of the loss", f"at most {limits.max_drop_upper_points:g} points, above that undecided"
    if limits.max_size_bytes:
        yield "size of the model file", f"at most {size_text(limits.max_size_bytes)}"
    if limits.min_agreement > 0:
        yield "same answer as the float model", f"on at least {100 * limits.min_agreement:g} % of the pictures"
    if limits.min_cosine > -1:
        yield "mean cosine of every output", f"at least {limits.min_cosine:g}"
    if limits.max_latency_ms:
        yield "median time of one run", f"at most {limits.max_latency_ms:g} ms"


def points(value: float) -> str:
    """One decimal with a true minus sign, and never a negative zero."""
    return f"{round(value, 1) + 0.0:.1f}".replace("-", "\N{MINUS SIGN}")


def decibels(value: float | None) -> str:
    """Signal to noise; `equal` where there is no noise."""
    if value is None:
        return ""
    return "equal" if value >= EQUAL_DB else points(value)


def size_text(size_bytes: int) -> str:
    """A size in the unit that suits it."""
    return f"{size_bytes / 1e6:.2f} MB" if size_bytes >= 1e6 else f"{size_bytes / 1e3:.1f} kB"


def counted(num: int, thing: str) -> str:
    """`1 layer`, `2 layers`."""
    return f"{num:,} {thing}" if num == 1 else f"{num:,} {thing}s"
