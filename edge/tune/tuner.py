"""`edgeloop device tune`: tries every way to run a bundle on this device and takes the fastest that is right."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from edge.backends.base import InferenceBackend, RuntimeOptions
from edge.backends.pool import num_processors
from edge.backends.select import available_delegates, open_backend
from edge.bundle.golden import GoldenSet
from edge.bundle.golden_reader import load_golden
from edge.bundle.manifest import ArtifactFormat, ArtifactSpec, StageInput, StageSpec
from edge.bundle.reader import Bundle
from edge.errors import MissingExtraError, UsageError
from edge.tune.candidates import candidates
from edge.tune.race import Race, Runner, run_race
from edge.tune.sanity import Check, agreement_check, golden_check
from edge.tune.trial import make_work
from edge.tune.types import StageTrials, TuneResult

DEFAULT_BUDGET_S = 20.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What a trial may use of this machine.

    Attributes:
        open_one: Opens a model of a bundle.
        delegates: Which delegates there are for a format; none where its runtime is not installed.
        libraries: Paths of external delegates for LiteRT.
        num_processors: How many threads and copies are tried at most, at least 1.
        clock: Seconds.
    """

    open_one: Callable[[Bundle, ArtifactSpec, RuntimeOptions], InferenceBackend]
    delegates: Callable[[ArtifactFormat], tuple[str, ...]]
    libraries: tuple[str, ...]
    num_processors: int
    clock: Callable[[], float]

    def __post_init__(self) -> None:
        """Refuses a machine without a processor."""
        if self.num_processors < 1:
            raise UsageError(f"threads must be at least 1, found {self.num_processors}")


def this_device(
    *,
    libraries: tuple[str, ...] = (),
    max_threads: int | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Device:
    """The machine that this process runs on.

    Args:
        libraries: Paths of external delegates for LiteRT.
        max_threads: How many threads and copies are tried at most; None for one a processor.
        clock: Seconds.

    Raises:
        UsageError: `max_threads` is below 1.
    """
    return Device(
        open_one=_open,
        delegates=available_delegates,
        libraries=libraries,
        num_processors=num_processors() if max_threads is None else max_threads,
        clock=clock,
    )


def tune(
    bundle: Bundle,
    *,
    fingerprint: str,
    budget_s: float = DEFAULT_BUDGET_S,
    device: Device | None = None,
    say: Say = lambda line: None,
) -> TuneResult:
    """Measures every model of a bundle with every runtime, delegate and number of threads that this device has.

    Each candidate must first give the bundle's golden outputs as the self-test asks for them; one that does not is out
    however fast it is. Where the bundle has no golden vectors (imported, not yet proven), it must agree with the same
    model's plain run here. Of those that are right the fastest is chosen; of those within 5 % of it, the first.

    Args:
        bundle: An open bundle.
        fingerprint: Of this device (`hardware_fingerprint`).
        budget_s: About how long the measuring takes; opening, checking and one visit to each come on top.
        device: What may be used; None for all of this machine.
        say: Told in one line what is out and why, and what each stage came to.

    Raises:
        MissingExtraError: No runtime for any model of a stage is installed.
        SelfTestError: No candidate of a stage is right.
        FormatError: The golden vectors are damaged.
    """
    used = device or this_device()
    golden = load_golden(bundle) if bundle.manifest.golden_file else None
    if golden is None:
        say(f"{bundle.folder}: no golden vectors, so every candidate is compared with its model's plain run here")
    share_s = budget_s / len(bundle.manifest.stages)
    return TuneResult(
        bundle_digest=bundle.digest,
        fingerprint=fingerprint,
        has_golden=golden is not None,
        stages=tuple(_tune_stage(bundle, stage, golden, used, share_s, say) for stage in bundle.manifest.stages),
    )


def _tune_stage(
    bundle: Bundle, stage: StageSpec, golden: GoldenSet | None, device: Device, budget_s: float, say: Say
) -> StageTrials:
    found = candidates(
        stage, delegates=device.delegates, libraries=device.libraries, num_processors=device.num_processors
    )
    if not found:
        extra = stage.artifacts[0].format.value
        raise MissingExtraError(f"a runtime for stage {stage.name!r}", extra)
    race = Race(
        stage=stage.name,
        work=make_work(stage),
        check=_check(bundle, stage, golden, device),
        open_one=lambda candidate: device.open_one(bundle, candidate.artifact, candidate.options),
        clock=device.clock,
        budget_s=budget_s,
        say=say,
    )
    trials = run_race(race, [Runner(candidate=candidate) for candidate in found])
    result = StageTrials(stage=stage.name, reads_crops=stage.reads is StageInput.CROPS, trials=trials)
    say(f"stage {stage.name}: {result.chosen.candidate.title}: {result.chosen.median_ms:.2f} ms")
    return result


def _check(bundle: Bundle, stage: StageSpec, golden: GoldenSet | None, device: Device) -> Check:
    if golden is not None:
        return golden_check(bundle, golden)
    return agreement_check(stage, lambda artifact: device.open_one(bundle, artifact, RuntimeOptions()))


def _open(bundle: Bundle, artifact: ArtifactSpec, options: RuntimeOptions) -> InferenceBackend:
    path, content = bundle.path(artifact.file), bundle.opener(artifact.file)
    return open_backend(path, artifact.format, options=options, content=content)
