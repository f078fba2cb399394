"""The sentences and figures that the page and the terminal share."""

from __future__ import annotations

from collections.abc import Iterator

from cloud_train.evaluation.gates import format_gain
from cloud_train.evaluation.metrics import accuracy
from cloud_train.evaluation.story import LoopStory, VersionFacts
from cloud_train.types import Interval


def summary(story: LoopStory) -> str:
    """What came of it, in one sentence."""
    old, new = story.v1.report.accuracy.value, story.v2.report.accuracy.value
    return (
        f"Version 1 recognised {old:.1f} % of the frozen test pictures, version 2 {new:.1f} %: "
        f"{gain_text(story.gain)} points (paired, 95 % interval)."
    )


def control_verdict(story: LoopStory) -> str:
    """Whether choosing samples beat drawing them, said whichever way it fell."""
    gain = story.gain_over_control
    if gain is None:
        return (
            "No control with randomly drawn samples was trained, so this shows that labels help, not that choosing did."
        )
    lead = f"Against a version 2' trained on as many randomly drawn samples: {gain_text(gain)} points. "
    if gain.lower > 0:
        return lead + "The samples that the device chose taught more than random ones."
    if gain.upper < 0:
        return lead + "The samples that the device chose taught less than random ones."
    return lead + "The interval holds 0: here choosing cannot be told from drawing at random."


def gain_text(gain: Interval) -> str:
    """A gain with true minus signs."""
    return format_gain(gain).replace("-", "\N{MINUS SIGN}")


def percent(part: float, whole: float) -> str:
    """A share, or `none` of nothing."""
    return f"{100 * part / whole:.1f} %" if whole else "none"


def accuracy_rows(story: LoopStory) -> Iterator[tuple[str, ...]]:
    """The figures of each version, a column each."""
    facts = [one for _, one in story.versions]
    yield ("accuracy, % (95 % interval)", *(interval_text(one.report.accuracy) for one in facts))
    for what, unknown in (("classes v1 knew", False), ("classes new to v1", True)):
        if story.unknown_classes or not unknown:
            yield (f"… on {what}, %", *(_part_accuracy(one, story.unknown_classes, unknown) for one in facts))
    yield ("macro-F1, %", *(f"{one.report.macro_f1:.1f}" for one in facts))
    yield ("test pictures", *(f"{len(one.report.pictures):,}" for one in facts))
    yield ("training pictures", *(f"{one.num_train:,}" for one in facts))
    yield ("commonest class, %", *(f"{one.report.majority_baseline:.1f}" for one in facts))
    yield ("colour histograms, %", *(f"{one.report.histogram_baseline:.1f}" for one in facts))
    yield ("picture to decision, ms (median)", *(f"{one.report.latency_p50_ms:.2f}" for one in facts))


def interval_text(exact: Interval) -> str:
    """A figure and its bounds."""
    return f"{exact.value:.1f} ({exact.lower:.1f} to {exact.upper:.1f})"


def _part_accuracy(facts: VersionFacts, unknown_classes: tuple[str, ...], unknown: bool) -> str:
    part = [one for one in facts.report.pictures if (one.truth in unknown_classes) == unknown]
    return f"{accuracy(part).value:.1f}" if part else "none"
