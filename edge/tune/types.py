"""The values of a trial: what can be run, what it took, what was chosen."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from edge.backends.base import RuntimeOptions
from edge.bundle.manifest import ArtifactSpec
from edge.tune.choice import Choice, TunedStage


class Standing(enum.Enum):
    """How a candidate came out. WRONG did not give the golden outputs, FAILED did not run, SLOW was given up early."""

    CHOSEN = "chosen"
    RIGHT = "right"
    SLOW = "slow"
    WRONG = "wrong"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One way to run a stage.

    Attributes:
        artifact: Which model file.
        options: Threads and delegate.
        workers: How many copies side by side, at least 1.
    """

    artifact: ArtifactSpec
    options: RuntimeOptions
    workers: int = 1

    @property
    def title(self) -> str:
        """For people: `m.tflite with cpu, 2 threads, 1 copy`."""
        threads = _amount(self.options.threads, "thread", "threads")
        return (
            f"{self.artifact.file} with {self.options.delegate}, {threads}, {_amount(self.workers, 'copy', 'copies')}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What became of one candidate.

    Attributes:
        candidate: Which.
        standing: How it came out.
        median_ms: Of one picture or crop; 0 where it did not run.
        p90_ms: The slowest tenth begins here; 0 where it did not run.
        num_runs: How many measurements those are of.
        reason: Why it is out, in one line; empty where it is not.
    """

    candidate: Candidate
    standing: Standing
    median_ms: float = 0.0
    p90_ms: float = 0.0
    num_runs: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTrials:
    """The trials of one stage.

    Attributes:
        stage: Its name.
        reads_crops: Whether the figures are for a crop, with its preparation, or for a whole picture's tensor.
        trials: One for each candidate, in the order of preference; exactly one is CHOSEN.
    """

    stage: str
    reads_crops: bool
    trials: tuple[Trial, ...]

    @property
    def chosen(self) -> Trial:
        """The best."""
        return next(trial for trial in self.trials if trial.standing is Standing.CHOSEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneResult:
    """The trials of a bundle on this device.

    Attributes:
        bundle_digest: SHA-256 of the bundle, hex.
        fingerprint: Of the hardware and the runtimes' versions.
        has_golden: Whether golden vectors judged; else every candidate was compared with its model's plain run here.
        stages: One for each stage, in order.
    """

    bundle_digest: str
    fingerprint: str
    has_golden: bool
    stages: tuple[StageTrials, ...]

    @property
    def choice(self) -> Choice:
        """What to remember."""
        return Choice(
            bundle_digest=self.bundle_digest,
            fingerprint=self.fingerprint,
            stages=tuple(_tuned(stage) for stage in self.stages),
        )


def _tuned(stage: StageTrials) -> TunedStage:
    trial = stage.chosen
    return TunedStage(
        stage=stage.stage,
        artifact=trial.candidate.artifact.file,
        delegate=trial.candidate.options.delegate,
        threads=trial.candidate.options.threads,
        workers=trial.candidate.workers,
        median_ms=trial.median_ms,
    )


def _amount(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
