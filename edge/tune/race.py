"""The candidates of one stage against each other: round after round, the wrong and the slow dropping out."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field

from edge.errors import EdgeloopError, SelfTestError
from edge.tune.sanity import Check
from edge.tune.trial import Clock, OpenCandidate, Work, visit
from edge.tune.types import Candidate, Standing, Trial

_NUM_ROUNDS = 3
# Given up when even its fastest run took that many times as long as the best's median: noise only ever slows.
_SLOW_FACTOR = 2.0
# Nearer than this is equal, and the simpler of two equal ones is taken.
_EQUAL_FACTOR = 1.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Race:
    """What all candidates of a stage have in common.

    Attributes:
        stage: Its name, for errors.
        work: What is measured.
        check: Whether a candidate is right.
        open_one: Opens one copy of a candidate.
        clock: Seconds.
        budget_s: About how long the measuring takes.
        say: Told in one line who is out for being wrong.
    """

    stage: str
    work: Work
    check: Check
    open_one: OpenCandidate
    clock: Clock
    budget_s: float
    say: Callable[[str], None]


@dataclass(slots=True, kw_only=True)
class Runner:
    """One candidate on its way through the rounds.

    Attributes:
        candidate: Which.
        times_ms: One figure for each measured run so far.
        standing: RIGHT as long as it is in the race.
        reason: Why it is out.
    """

    candidate: Candidate
    times_ms: list[float] = field(default_factory=list)
    standing: Standing = Standing.RIGHT
    reason: str = ""

    @property
    def median_ms(self) -> float:
        """Of all runs so far; 0 before the first."""
        return statistics.median(self.times_ms) if self.times_ms else 0.0

    def trial(self) -> Trial:
        """What became of it."""
        times = sorted(self.times_ms)
        return Trial(
            candidate=self.candidate,
            standing=self.standing,
            median_ms=self.median_ms,
            p90_ms=times[len(times) * 9 // 10] if times else 0.0,
            num_runs=len(times),
            reason=self.reason,
        )


def run_race(race: Race, runners: list[Runner]) -> tuple[Trial, ...]:
    """Visits every candidate in turn, three times or until the budget is spent; the first round is always whole.

    Args:
        race: What they have in common.
        runners: At least one, in the order in which equal ones are preferred.

    Returns:
        One trial a runner; exactly one is CHOSEN.

    Raises:
        SelfTestError: None is right; names the stage and the first one's reason.
    """
    end = race.clock() + race.budget_s
    for round_ in range(_NUM_ROUNDS):
        running = [runner for runner in runners if runner.standing is Standing.RIGHT]
        for runner in running:
            left_s = end - race.clock()
            if round_ and left_s <= 0:
                break
            slice_s = max(0.0, left_s) / (len(running) * (_NUM_ROUNDS - round_))
            _visit(race, runner, slice_s, best_ms=_best_ms(runners), is_first=round_ == 0)
        _give_up_slow(runners)
    _fastest(race, runners).standing = Standing.CHOSEN
    return tuple(runner.trial() for runner in runners)


def _visit(race: Race, runner: Runner, slice_s: float, *, best_ms: float, is_first: bool) -> None:
    try:
        times, pool = visit(runner.candidate, race.work, open_one=race.open_one, clock=race.clock, slice_s=slice_s)
        runner.times_ms += times
        try:
            # Whoever is out for being slow need not be right, and its check could take longer than all the rest.
            if is_first and min(times) <= _SLOW_FACTOR * best_ms:
                race.check(runner.candidate.artifact, pool)
        finally:
            pool.close()
    except EdgeloopError as cause:
        runner.standing = Standing.WRONG if isinstance(cause, SelfTestError) else Standing.FAILED
        runner.reason = cause.message.removeprefix(f"{runner.candidate.artifact.file}: ")
        race.say(f"out: {runner.candidate.title}: {runner.reason}")


def _best_ms(runners: list[Runner]) -> float:
    """Of those measured and found right so far; infinite before the first."""
    right = [runner for runner in runners if runner.standing is Standing.RIGHT and runner.times_ms]
    return min((runner.median_ms for runner in right), default=float("inf"))


def _give_up_slow(runners: list[Runner]) -> None:
    best_ms = _best_ms(runners)
    for runner in runners:
        if runner.standing is Standing.RIGHT and min(runner.times_ms) > _SLOW_FACTOR * best_ms:
            runner.standing = Standing.SLOW
            runner.reason = f"{runner.median_ms / best_ms:.1f} times as long as the best"


def _fastest(race: Race, runners: list[Runner]) -> Runner:
    best_ms = _best_ms(runners)
    for runner in runners:
        if runner.standing is Standing.RIGHT and runner.median_ms <= _EQUAL_FACTOR * best_ms:
            return runner
    first = next(runner for runner in runners if runner.reason)
    raise SelfTestError(
        f"stage {race.stage!r}: nothing on this device runs it right: {first.candidate.title}: {first.reason}",
        hint="import or convert it again for the runtimes of this device",
    )
