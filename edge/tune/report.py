"""A trial as a table for people."""

from __future__ import annotations

from edge.tune.types import StageTrials, Standing, Trial, TuneResult

_HEAD = ("model", "delegate", "threads", "copies", "median ms", "p90 ms", "runs", "")


def tune_lines(result: TuneResult) -> list[str]:
    """One table for each stage, the chosen row marked, and why each of the others is out.

    Args:
        result: Of `tune`.
    """
    lines = [f"bundle {result.bundle_digest[:12]} on {result.fingerprint}"]
    if not result.has_golden:
        lines.append("no golden vectors: compared with each model's plain run on this device")
    for stage in result.stages:
        lines += ["", *_stage_lines(stage)]
    return lines


def _stage_lines(stage: StageTrials) -> list[str]:
    what = "a crop with its preparation" if stage.reads_crops else "a prepared picture"
    rows = [_HEAD, *(_row(trial) for trial in stage.trials)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD) - 1)]
    return [f"stage {stage.stage}, milliseconds for {what}", *(_line(row, widths) for row in rows)]


def _row(trial: Trial) -> tuple[str, ...]:
    candidate = trial.candidate
    measured = trial.num_runs > 0
    return (
        candidate.artifact.file,
        candidate.options.delegate,
        str(candidate.options.threads),
        str(candidate.workers),
        f"{trial.median_ms:.2f}" if measured else "-",
        f"{trial.p90_ms:.2f}" if measured else "-",
        str(trial.num_runs),
        _remark(trial),
    )


def _remark(trial: Trial) -> str:
    if trial.standing is Standing.RIGHT:
        return ""
    return f"{trial.standing.value}: {trial.reason}" if trial.reason else trial.standing.value


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    words = (cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True))
    numbers = (cell.rjust(width) for cell, width in zip(row[2:-1], widths[2:], strict=True))
    return "  ".join(["", *words, *numbers, row[-1]]).rstrip()
