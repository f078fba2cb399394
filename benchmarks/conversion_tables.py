"""Outcomes of conversions as Markdown: every figure side by side, and below it what was aimed at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.conversion_baselines import TIMES_BASELINE, counts
from benchmarks.conversion_candidates import FLOAT_TFLITE, OURS, REFERENCE, STATIC
from benchmarks.conversion_cost import Costs
from benchmarks.conversion_outcome import Figures, Outcome
from benchmarks.table import Row
from converters.types import Estimate

MOST_SIZE = 0.32
LEAST_SPEED = 1.7
_VNNI = ("avx512_vnni", "avx_vnni", "amx_int8")
_EMPTY = "none"


def vnni_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> tuple[str, ...]:
    """Which instructions for int8 this processor has; empty for none, or where nobody knows."""
    try:
        lines = cpuinfo.read_text(errors="replace").splitlines()
    except OSError:
        return ()
    flags = next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())
    return tuple(flag for flag in _VNNI if flag in flags)


def show_accuracy(outcome: Outcome) -> None:
    """Prints the figures of a trained network."""
    head = ("model", outcome.metric, "drop, points", "agreement", "kB", "of fp32", "ms", "against fp32")
    _print(
        f"{outcome.name}: {outcome.num_pictures} held-out pictures, {outcome.num_calibration} for calibration",
        head,
        [_accuracy_cells(one, outcome) for one in outcome.figures],
    )
    print(f"\nThe default chain: {outcome.choice}.\n\n({outcome.machine})", flush=True)


def show_agreement(outcome: Outcome) -> None:
    """Prints the figures of a network that learnt nothing."""
    head = ("model", "SQNR, dB", "cosine", "agreement", "kB", "of fp32", "ms", "against fp32")
    _print(
        f"{outcome.name}, agreement only: {outcome.num_pictures} pictures, {outcome.num_calibration} for calibration",
        head,
        [_agreement_cells(one, outcome) for one in outcome.figures],
    )
    print(f"\n({outcome.machine})", flush=True)


def accuracy_targets(outcome: Outcome, *, is_mobile: bool) -> list[Row]:
    """What was aimed at, of one trained network.

    Args:
        outcome: Its figures.
        is_mobile: Whether it is the MobileNetV2 whose speed has a target.
    """
    rows = [_counting(outcome)]
    static = outcome.find(STATIC)
    if static is None:
        return [*rows, _absent(outcome, STATIC)]
    rows.append(_dropping(outcome, static))
    rows.append(_size(outcome, static))
    rows.append(_speed(outcome, static, is_mobile=is_mobile))
    return [*rows, *(_peer(outcome, one) for one in outcome.figures if one.maker != OURS)]


def agreement_targets(outcome: Outcome) -> list[Row]:
    """What was aimed at, of a network that learnt nothing: size alone."""
    static = outcome.find(STATIC)
    if static is None:
        return [_absent(outcome, STATIC)]
    return [_size(outcome, static), _speed(outcome, static, is_mobile=False)]


def cost_rows(costs: Costs) -> list[Row]:
    """Seconds and memory."""
    share = costs.again.seconds / costs.first.seconds
    return [
        Row(
            what=f"{costs.name}: first conversion, empty cache",
            figures=f"{costs.first.seconds:.1f} s, {costs.first.peak_mb:.0f} MB at most",
        ),
        Row(
            what=f"{costs.name}: the same again, other folder, same cache",
            figures=f"{costs.again.seconds:.1f} s ({share:.0%} of the first), {costs.again.peak_mb:.0f} MB at most",
        ),
    ]


def _counting(outcome: Outcome) -> Row:
    reference = outcome.find(REFERENCE)
    points = reference.score.value if reference and reference.score else 0.0
    beside = ", ".join(f"{one.name} {one.points:.1f}" for one in outcome.baselines)
    return Row(
        what=f"{outcome.name}: does the row count?",
        figures=f"float {points:.1f} points; {beside}",
        target=f"at least {TIMES_BASELINE:.0f} times {outcome.baselines[-1].name}",
        met=counts(points, outcome.baselines),
        note="the row does not count",
    )


def _dropping(outcome: Outcome, static: Figures) -> Row:
    drop = static.drop or Estimate(value=0.0, lower=0.0, upper=0.0)
    return Row(
        what=f"{outcome.name}: {STATIC} ({static.recipe}), drop",
        figures=f"{_points(drop)} points",
        target=f"≤ {outcome.most_drop:g} points",
        met=outcome.most_drop is None or drop.value <= outcome.most_drop,
    )


def _size(outcome: Outcome, static: Figures) -> Row:
    share = _share(static, outcome)
    return Row(
        what=f"{outcome.name}: {STATIC}, size",
        figures=f"{static.size_bytes / 1000:.0f} kB, {share:.3f} of {FLOAT_TFLITE}",
        target=f"≤ {MOST_SIZE:g}",
        met=share <= MOST_SIZE,
    )


def _speed(outcome: Outcome, static: Figures, *, is_mobile: bool) -> Row:
    """The target is for processors with VNNI; elsewhere the figure is reported."""
    what = f"{outcome.name}: {STATIC}, speed"
    if static.pace is None:
        return _absent(outcome, STATIC)
    ratio = static.pace.ratio
    faster = 1 / ratio.value
    figures = f"{faster:.2f} ({1 / ratio.high:.2f} to {1 / ratio.low:.2f}) times as fast as {FLOAT_TFLITE}"
    if not is_mobile:
        return Row(what=what, figures=figures)
    target = f"≥ {LEAST_SPEED:g} times with VNNI"
    if not vnni_flags():
        return Row(what=what, figures=figures, target=target, note="reported: this processor has no VNNI")
    return Row(what=what, figures=figures, target=target, met=faster >= LEAST_SPEED)


def _peer(outcome: Outcome, peer: Figures) -> Row:
    what = f"{outcome.name}: {peer.name} minus our {peer.against}"
    target = "never better beyond the interval"
    if peer.failed:
        return Row(what=what, figures=_EMPTY, target=target, note=f"no such model: {peer.failed}")
    if peer.lead is None:
        return _absent(outcome, peer.against)
    return Row(what=what, figures=f"{_points(peer.lead)} points", target=target, met=peer.lead.lower <= 0)


def _absent(outcome: Outcome, name: str) -> Row:
    found = next((one.failed for one in outcome.figures if one.name == name), "")
    return Row(what=f"{outcome.name}: {name}", figures=_EMPTY, met=False, note=found or "there is none")


def _accuracy_cells(one: Figures, outcome: Outcome) -> tuple[str, ...]:
    if one.failed or one.score is None or one.drop is None:
        return (_named(one), f"not made: {one.failed}", *[_EMPTY] * 6)
    return (_named(one), _points(one.score), _points(one.drop), f"{one.agreement:.1%}", *_weight_and_time(one, outcome))


def _agreement_cells(one: Figures, outcome: Outcome) -> tuple[str, ...]:
    if one.failed:
        return (_named(one), f"not made: {one.failed}", *[_EMPTY] * 6)
    figures = (f"{one.sqnr_db:.1f}", f"{one.cosine:.4f}", f"{one.agreement:.1%}")
    return (_named(one), *figures, *_weight_and_time(one, outcome))


def _named(one: Figures) -> str:
    return f"{one.name} ({one.recipe})" if one.name == STATIC else one.name


def _weight_and_time(one: Figures, outcome: Outcome) -> tuple[str, ...]:
    size = (f"{one.size_bytes / 1000:.0f}", f"{_share(one, outcome):.2f}")
    return (*size, f"{one.pace.median_ms:.2f}", str(one.pace.ratio)) if one.pace else (*size, _EMPTY, _EMPTY)


def _share(one: Figures, outcome: Outcome) -> float:
    whole = outcome.find(FLOAT_TFLITE)
    return one.size_bytes / whole.size_bytes if whole else 0.0


def _points(estimate: Estimate) -> str:
    value, lower, upper = (f"{round(one, 2) + 0.0:.2f}" for one in (estimate.value, estimate.lower, estimate.upper))
    return f"{value} ({lower} to {upper})"


def _print(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    print(f"\n{title}\n")
    print(f"| {' | '.join(head)} |")
    print(f"|{'---|' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")
