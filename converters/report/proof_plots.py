"""The plots that compare the recipes of one conversion, and the confusion of float with quantized."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from converters.report.draw import ASK, BAD, GOOD, INK, bars, draw, short
from converters.report.proof_facts import ProofFacts, model_name
from converters.report.proof_words import points
from converters.types import AnswerPair, ArtifactProof
from edge.bundle.manifest import Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_MATRIX = 30
NOTHING = "(nothing)"
_MARKS = {
    Verdict.PASS: (GOOD, "o"),
    Verdict.UNDECIDED: (ASK, "s"),
    Verdict.FAIL: (BAD, "X"),
    Verdict.NONE: (INK, "D"),
}
_MAX_COUNTED = 16


def score_plot(facts: ProofFacts) -> bytes:
    """Score of every recipe with the interval of its loss, and how low it may be."""
    trials, score = facts.trials, facts.score()
    if score is None or not trials:
        return b""
    limits = facts.proof.limits
    # One hopeless recipe must not squeeze all others together.
    least = score - max(10.0, 4 * limits.max_drop_upper_points)

    def paint(axes: Axes) -> None:
        for verdict in dict.fromkeys(one.verdict for one in trials):
            colour, mark = _MARKS[verdict]
            axes.plot([], [], mark, color=colour, markersize=8, label=verdict.value)
        for value, style, name in (
            (score, "-", "float model"),
            (score - limits.max_drop_points, "--", "least score"),
            (score - limits.max_drop_upper_points, ":", "least lower bound"),
        ):
            axes.axvline(value, color=INK, linestyle=style, linewidth=1, label=f"{name}: {points(value)}")
        for row, one in enumerate(trials):
            _paint_score(axes, row, one, least)
        _name_rows(axes, facts)
        axes.set_ylim(len(trials) - 0.5, -0.7)
        axes.margins(x=0.08)
        axes.set_xlabel(f"{short(facts.metric, 40)}, points (bar: 95 % interval of the loss)")
        axes.grid(axis="x")
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, fontsize=8)

    return draw(0.42 * len(trials) + 1.6, paint)


def _paint_score(axes: Axes, row: int, one: ArtifactProof, least: float) -> None:
    """One row; what lies below `least` stands there as an arrow."""
    colour, mark = _MARKS[one.verdict]
    ends = [max(least, one.float_accuracy - drop) for drop in (one.drop_upper_points, one.drop_lower_points)]
    axes.plot(ends, [row, row], color=colour, linewidth=2.5, solid_capstyle="round")
    shown, below = max(least, one.accuracy), one.accuracy < least
    axes.plot(shown, row, "<" if below else mark, color=colour, markersize=8)
    axes.annotate(points(one.accuracy), (shown, row), (0, 8), textcoords="offset points", ha="center")


def _name_rows(axes: Axes, facts: ProofFacts) -> None:
    names = [short(model_name(one.file, one.recipe)) for one in facts.trials]
    axes.set_yticks(range(len(names)), names)
    for label, one in zip(axes.get_yticklabels(), facts.trials, strict=True):
        label.set_fontweight("bold" if facts.place(one) == "preferred" else "normal")


def size_plot(facts: ProofFacts) -> bytes:
    """Size of every model file, the float one's too."""
    rows = [(short(model_name(one.file, one.recipe)), one.size_bytes / 1e3) for one in facts.trials]
    if facts.reference_bytes:
        rows.append(("float reference", facts.reference_bytes / 1e3))
    return bars(rows, "size of the model file, kB", "{:,.0f} kB") if rows else b""


def latency_plot(facts: ProofFacts) -> bytes:
    """Time of one run of every model that was timed."""
    timed = facts.measurements.latencies if facts.measurements else ()
    rows = [(short(_timed_name(facts, one.file, one.recipe)), one.p50_ms) for one in timed]
    tails = [one.p95_ms for one in timed]
    return (
        bars(rows, "one run, one thread, ms (bar: median, tick: 95th percentile)", "{:.2f} ms", tails=tails)
        if rows
        else b""
    )


def _timed_name(facts: ProofFacts, file: str, recipe: str) -> str:
    """The recipe, which old measurements do not name."""
    if file == facts.reference_file:
        return "float reference"
    known = (one.recipe for one in facts.proof.artifacts if one.file == file)
    return model_name(file, recipe or next(known, ""))


def confused_labels(answers: Sequence[AnswerPair], labels: Sequence[str]) -> list[str]:
    """Every label that either model named, in the order of the manifest, then the others; the empty one last."""
    said = {label for one in answers for label in (one.before, one.after)}
    known = dict.fromkeys(label for label in labels if label in said)
    return [*known, *sorted(said - known.keys() - {""}), *([""] if "" in said - known.keys() else [])]


def confusion_plot(answers: Sequence[AnswerPair], labels: Sequence[str]) -> bytes:
    """How often the float model said one thing and the quantized one another; empty for more labels than one can read.

    Args:
        answers: As in `ArtifactProof`.
        labels: Of the bundle, in order.
    """
    import numpy as np

    named = confused_labels(answers, labels)
    if not named or len(named) > MAX_MATRIX:
        return b""
    place = {label: number for number, label in enumerate(named)}
    counts = np.zeros((len(named), len(named)), dtype=np.int64)
    for one in answers:
        counts[place[one.before], place[one.after]] += one.num
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    same = np.eye(len(named), dtype=bool)

    def paint(axes: Axes) -> None:
        axes.imshow(np.ma.masked_where(~same, shares), cmap="Blues", vmin=0, vmax=1.4)
        axes.imshow(np.ma.masked_where(same, shares), cmap="Oranges", vmin=0, vmax=0.5)
        for row, column in zip(*np.nonzero(counts), strict=True):
            if row != column or len(named) <= _MAX_COUNTED:
                axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=size - 1)
        axes.set_xticks(range(len(named)), names, rotation=60, ha="right", rotation_mode="anchor", fontsize=size)
        axes.set_yticks(range(len(named)), names, fontsize=size)
        axes.set_xlabel("quantized model said")
        axes.set_ylabel("float model said")
        axes.spines[["top", "right"]].set_visible(True)

    names, size = [short(label or NOTHING) for label in named], 9 if len(named) <= _MAX_COUNTED else 6
    return draw(min(5.4, 0.36 * len(named) + 1.6), paint)
