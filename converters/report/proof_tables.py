"""The tables of the proof page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from converters.report.html import paragraph, table
from converters.report.proof_facts import ProofFacts, model_name, worst_cosine, worst_sqnr
from converters.report.proof_plots import NOTHING
from converters.report.proof_words import counted, decibels, points
from converters.types import AnswerPair, ArtifactProof, Parity

MAX_DISAGREEMENTS = 20


def recipe_table(facts: ProofFacts) -> str:
    """Every recipe with all its figures, the float model first."""
    head = (
        "recipe",
        "in the bundle",
        "size, kB",
        "score, points",
        "loss, points",
        "same answer, %",
        "worst SQNR, dB",
        "worst cosine",
        "median, ms",
    )
    return table(head, [*_reference_row(facts), *(_trial_row(facts, one) for one in facts.trials)], dense=True)


def verdict_table(facts: ProofFacts) -> str:
    """Every recipe with the reason why it was taken or not."""
    rows = [(model_name(one.file, one.recipe), one.verdict.value, one.reason) for one in facts.trials]
    return table(("recipe", "verdict", "why"), rows, texts=True) if rows else ""


def _reference_row(facts: ProofFacts) -> Iterator[tuple[str, ...]]:
    file, score = facts.reference_file, facts.score()
    if not file or any(one.file == file for one in facts.trials):
        return
    exact = facts.proof.score
    told = f"{points(exact.value)} ({points(exact.lower)} to {points(exact.upper)})" if exact else ""
    told = told or (points(score) if score is not None else "")
    size = f"{facts.reference_bytes / 1e3:,.0f}" if facts.reference_bytes else ""
    yield ("float reference", "yes", size, told, "", "", "", "", _median(facts, file))


def _trial_row(facts: ProofFacts, one: ArtifactProof) -> tuple[str, ...]:
    sqnr, cosine = worst_sqnr(one.errors), worst_cosine(one.errors)
    return (
        model_name(one.file, one.recipe),
        facts.place(one),
        f"{one.size_bytes / 1e3:,.0f}",
        points(one.accuracy),
        f"{points(one.drop_points)} ({points(one.drop_lower_points)} to {points(one.drop_upper_points)})",
        f"{100 * one.agreement:.1f}",
        decibels(sqnr),
        "" if cosine is None else f"{cosine:.4f}",
        _median(facts, one.file, one.recipe),
    )


def _median(facts: ProofFacts, file: str, recipe: str = "") -> str:
    timed = facts.latency(file, recipe)
    return f"{timed.p50_ms:.2f}" if timed else ""


def parity_table(parity: Sequence[Parity]) -> str:
    """How far the float32 files are from the trained network; nothing where nobody looked."""
    rows = [
        (
            one.format.value,
            f"{one.num_pictures:,}",
            f"{100 * one.agreement:.1f}",
            f"{max((error.max_abs for error in one.errors), default=0.0):.2g}",
            decibels(worst_sqnr(one.errors)),
        )
        for one in parity
    ]
    head = ("float32 file against torch", "pictures", "same answer, %", "greatest difference", "worst SQNR, dB")
    return table(head, rows) if rows else ""


def error_table(artifacts: Sequence[ArtifactProof]) -> str:
    """How far every output of the bundle's models is from the float model's."""
    rows = [
        (
            f"{one.file}: {error.output}",
            f"{error.max_abs:.3g}",
            f"{error.mean_abs:.3g}",
            decibels(error.sqnr_db),
            f"{error.cosine:.4f}",
        )
        for one in artifacts
        for error in one.errors
    ]
    return table(("output", "greatest difference", "mean difference", "SQNR, dB", "cosine"), rows) if rows else ""


def disagreements(answers: Sequence[AnswerPair]) -> str:
    """The commonest pairs of different answers; nothing where all are the same."""
    apart = [one for one in answers if one.before != one.after]
    shown = sorted(apart, key=lambda one: (-one.num, one.before, one.after))[:MAX_DISAGREEMENTS]
    if not shown:
        return ""
    rows = [(one.before or NOTHING, one.after or NOTHING, f"{one.num:,}") for one in shown]
    more = len(apart) - len(shown)
    note = f"And {counted(more, 'other pair')} that came up no more often." if more else ""
    made = table(("float model said", "quantized model said", "pictures"), rows, texts=True)
    return f"<div>{made}{paragraph(note, soft=True) if note else ''}</div>"


def origin_table(facts: ProofFacts) -> str:
    """From the pictures to the bundle."""
    source = facts.manifest.provenance
    rows = (
        ("snapshot", source.snapshot),
        ("training run", source.run),
        ("training recipe", source.train_recipe),
        ("weights", source.weights),
        ("bundle", facts.digest),
        ("made by", source.producer),
    )
    return table(("what", "name or SHA-256"), [row for row in rows if row[1]], texts=True)
