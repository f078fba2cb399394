"""The plots of the report, each a stand-alone SVG. The same values give the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cloud_train.evaluation.metrics import confusion
from cloud_train.evaluation.story import LoopStory, VersionFacts
from cloud_train.types import ClassScoreRow, EvalReport, PictureResult
from converters.report.draw import ASK, BAD, BLANK, GOOD, bars, draw, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from converters.types import ArtifactProof

COLOURS = {"v1": "#E69F00", "v2": "#0072B2", "v2' (random)": "#7A7A7A"}
MAX_CLASSES = 40


def accuracy_plot(story: LoopStory) -> bytes:
    """Accuracy of every version with its interval, beside the two baselines."""

    def paint(axes: Axes) -> None:
        for row, (name, facts) in enumerate(story.versions):
            exact = facts.report.accuracy
            axes.plot(
                [exact.lower, exact.upper], [row, row], color=COLOURS[name], linewidth=2.5, solid_capstyle="round"
            )
            axes.plot(exact.value, row, "o", color=COLOURS[name], markersize=8)
            axes.annotate(f"{exact.value:.1f} %", (exact.value, row), (0, 8), textcoords="offset points", ha="center")
        report = story.v2.report
        for value, style, name in (
            (report.majority_baseline, ":", "commonest class"),
            (report.histogram_baseline, "--", "colour histograms"),
        ):
            axes.axvline(value, color="#555555", linestyle=style, linewidth=1, label=f"{name}: {value:.1f} %")
        axes.set_yticks(range(len(story.versions)), [name for name, _ in story.versions])
        axes.set_ylim(len(story.versions) - 0.5, -0.7)
        axes.set_xlim(0, 100)
        axes.set_xlabel("accuracy on the frozen test split, % (bar: 95 % interval)")
        axes.grid(axis="x")
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.28), ncols=2)

    return draw(0.5 * len(story.versions) + 1.5, paint)


def gain_plot(story: LoopStory) -> bytes:
    """What v2 gained, paired, over v1 and over the control."""
    named = (("over v1", "v1", story.gain), ("over v2' (random)", "v2' (random)", story.gain_over_control))
    rows = [(name, COLOURS[against], gain) for name, against, gain in named if gain is not None]

    def paint(axes: Axes) -> None:
        axes.axvline(0, color="#555555", linewidth=1)
        for row, (_, colour, gain) in enumerate(rows):
            axes.plot([gain.lower, gain.upper], [row, row], color=colour, linewidth=2.5, solid_capstyle="round")
            axes.plot(gain.value, row, "o", color=colour, markersize=8)
            axes.annotate(f"{gain.value:+.1f}", (gain.value, row), (0, 8), textcoords="offset points", ha="center")
        axes.set_yticks(range(len(rows)), [name for name, _, _ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.7)
        axes.margins(x=0.1)
        axes.set_xlabel("gain of v2, points, paired (bar: 95 % interval)")
        axes.grid(axis="x")

    return draw(0.5 * len(rows) + 1.0, paint)


def class_plot(story: LoopStory) -> bytes:
    """Share of each class that v1 and v2 recognise."""
    pairs = shown_classes(story.v1.report, story.v2.report)

    def paint(axes: Axes) -> None:
        for offset, name, rows in ((-0.2, "v1", [old for old, _ in pairs]), (0.2, "v2", [new for _, new in pairs])):
            places = [number + offset for number in range(len(rows))]
            axes.barh(places, [row.recall for row in rows], height=0.36, color=COLOURS[name], label=name)
        names = [class_name(row, story.unknown_classes) for row, _ in pairs]
        axes.set_yticks(range(len(pairs)), names)
        axes.set_ylim(len(pairs) - 0.4, -0.6)
        axes.set_xlim(0, 100)
        axes.set_xlabel("recognised, % of the test pictures of the class")
        axes.grid(axis="x")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)

    return draw(0.34 * len(pairs) + 1.0, paint)


def shown_classes(v1: EvalReport, v2: EvalReport) -> list[tuple[ClassScoreRow, ClassScoreRow]]:
    """The classes of the plot, by name; of more than 40 those whose share changed most."""
    old = {row.label: row for row in v1.classes}
    pairs = [(old[row.label], row) for row in v2.classes if row.label in old]
    moved = sorted(pairs, key=lambda pair: (-abs(pair[1].recall - pair[0].recall), pair[0].label))
    return sorted(moved[:MAX_CLASSES], key=lambda pair: pair[0].label)


def class_name(row: ClassScoreRow, unknown: Sequence[str]) -> str:
    """Label for an axis: with the number of pictures, and whether v1 knew it."""
    return f"{short(row.label)}{' [new]' if row.label in unknown else ''} ({row.num})"


def decision_plot(story: LoopStory) -> bytes:
    """What a device does with the test pictures, by version."""
    parts = (("accepted, right", GOOD), ("accepted, wrong", BAD), ("asks", ASK), ("names nothing", BLANK))

    def paint(axes: Axes) -> None:
        left = [0.0] * len(story.versions)
        shares = [decision_shares(facts.report.pictures) for _, facts in story.versions]
        for part, (name, colour) in enumerate(parts):
            widths = [share[part] for share in shares]
            bars = axes.barh(range(len(widths)), widths, left=left, height=0.6, color=colour, label=name)
            texts = [f"{width:.0f}" if width >= 4 else "" for width in widths]
            axes.bar_label(bars, texts, label_type="center", color="black" if colour in (ASK, BLANK) else "white")
            left = [start + width for start, width in zip(left, widths, strict=True)]
        axes.set_yticks(range(len(story.versions)), [name for name, _ in story.versions])
        axes.invert_yaxis()
        axes.set_xlim(0, 100)
        axes.set_xlabel("share of the test pictures, %")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, handlelength=0.9, columnspacing=0.9, fontsize=8)

    return draw(0.45 * len(story.versions) + 1.1, paint)


def decision_shares(results: Sequence[PictureResult]) -> tuple[float, float, float, float]:
    """Points of accepted and right, accepted and wrong, confirm, unknown."""
    num = max(1, len(results))
    right = sum(one.outcome == "accept" and one.predicted == one.truth for one in results)
    accepted = sum(one.outcome == "accept" for one in results)
    asks = sum(one.outcome == "confirm" for one in results)
    unknown = len(results) - accepted - asks
    return 100 * right / num, 100 * (accepted - right) / num, 100 * asks / num, 100 * unknown / num


def artifacts_of(facts: VersionFacts) -> tuple[ArtifactProof, ...]:
    """The proven artifacts of a version."""
    return facts.proof.artifacts if facts.proof else ()


def drop_plot(story: LoopStory) -> bytes:
    """What quantization costs: paired drop on the validation split, against what is allowed."""
    rows = [(f"{name} {one.recipe}", name, one) for name, facts in story.versions for one in artifacts_of(facts)]

    def paint(axes: Axes) -> None:
        for row, (_, name, proof) in enumerate(rows):
            span = [proof.drop_lower_points, proof.drop_upper_points]
            axes.plot(span, [row, row], color=COLOURS[name], linewidth=2.5, solid_capstyle="round")
            axes.plot(proof.drop_points, row, "o", color=COLOURS[name], markersize=7)
        limits = next(facts.proof.limits for _, facts in story.versions if facts.proof)
        axes.axvline(0, color="#555555", linewidth=0.8)
        for value, style, name in (
            (limits.max_drop_points, "--", "drop allowed"),
            (limits.max_drop_upper_points, ":", "upper bound allowed"),
        ):
            axes.axvline(value, color=BAD, linestyle=style, linewidth=1.2, label=f"{name}: {value:g}")
        axes.set_yticks(range(len(rows)), [label for label, _, _ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel("accuracy, float minus converted, points (bar: 95 % interval)")
        axes.grid(axis="x")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=1)

    return draw(0.35 * len(rows) + 1.2, paint) if rows else b""


def size_plot(facts: VersionFacts) -> bytes:
    """Size of each artifact, and of the float model they were held against."""
    rows = [(one.recipe, one.size_bytes / 1e3) for one in artifacts_of(facts)]
    if facts.reference_bytes:
        rows.append(("float reference", facts.reference_bytes / 1e3))
    return bars(rows, "size of the model file, kB", "{:,.0f} kB") if rows else b""


def bytes_plot(story: LoopStory) -> bytes:
    """Bytes the device saw against bytes it sent."""
    seen, sent = story.stream.bytes_seen / 1e6, story.stream.bytes_uploaded / 1e6
    return bars([("seen", seen), ("uploaded", sent)], "first pass of the field's pictures, MB", "{:.2f} MB")


def latency_plot(facts: VersionFacts) -> bytes:
    """Time of one run of the network, by artifact."""
    if not (facts.measurements and facts.measurements.latencies):
        return b""
    recipes = {one.file: one.recipe for one in artifacts_of(facts)}
    rows = [(one.recipe or recipes.get(one.file, one.file), one.p50_ms) for one in facts.measurements.latencies]
    tails = [one.p95_ms for one in facts.measurements.latencies]
    return bars(rows, "one run, one thread, ms (bar: median, tick: 95th percentile)", "{:.2f} ms", tails=tails)


def confusion_plot(report: EvalReport) -> bytes:
    """How often each class was called what, in shares of the class."""
    labels = [row.label for row in report.classes][:MAX_CLASSES]
    counts = confusion(report.pictures, labels)
    shares = 100 * counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    small = len(labels) > 16

    def paint(axes: Axes) -> None:
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
        if not small:
            for row, line in enumerate(counts):
                for column, count in enumerate(line):
                    colour = "white" if shares[row, column] > 55 else "black"
                    axes.text(column, row, str(count) if count else "", ha="center", va="center", color=colour)
        names, size = [short(label) for label in labels], 6 if small else 9
        axes.set_xticks(range(len(labels)), names, rotation=60, ha="right", rotation_mode="anchor", fontsize=size)
        axes.set_yticks(range(len(labels)), names, fontsize=size)
        axes.set_xlabel("v2 said")
        axes.set_ylabel("truth")
        axes.spines[["top", "right"]].set_visible(True)

    side = min(6.6, 0.36 * len(labels) + 2.2)
    return draw(side, paint, width=side)
