"""What a trial has found, remembered by bundle and hardware in one small JSON file.

The file is a convenience: whoever cannot read it runs as if there had been no trial, so a damaged one is told and
passed over, never an error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge import durable, jsonvalue
from edge.backends.base import MAX_THREADS, RuntimeOptions
from edge.bundle.reader import Bundle
from edge.errors import EdgeloopError, FormatError
from edge.loading import StageChoice

FORMAT_VERSION = 1
MAX_BYTES = 1_000_000
# A device has two slots; a bench may try some more bundles and runtimes.
MAX_CHOICES = 8

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TunedStage:
    """How one stage runs best.

    Attributes:
        stage: Its name.
        artifact: File name of the model.
        delegate: As in `RuntimeOptions`.
        threads: As in `RuntimeOptions`, at least 1.
        workers: How many copies of the model answer side by side, at least 1.
        median_ms: What one picture or crop took in the trial, above 0.
    """

    stage: str
    artifact: str
    delegate: str
    threads: int
    workers: int
    median_ms: float

    def __post_init__(self) -> None:
        """Refuses what cannot be run."""
        if not (min(self.threads, self.workers) >= 1 and max(self.threads, self.workers) <= MAX_THREADS):
            raise ValueError(f"stage {self.stage!r} needs threads and workers of 1 to {MAX_THREADS}")
        if not self.delegate or not self.median_ms > 0:
            raise ValueError(f"stage {self.stage!r} needs a delegate, and median_ms > 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """How one bundle runs best on one device.

    Attributes:
        bundle_digest: SHA-256 of the bundle, hex.
        fingerprint: Of the hardware and the runtimes' versions (`hardware_fingerprint`).
        stages: One for each stage of the bundle, in order.
    """

    bundle_digest: str
    fingerprint: str
    stages: tuple[TunedStage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Memory:
    """The file.

    Attributes:
        format_version: 1.
        choices: The latest first.
    """

    format_version: int
    choices: tuple[Choice, ...]

    def __post_init__(self) -> None:
        """Refuses what a newer edgeloop may mean otherwise."""
        if self.format_version != FORMAT_VERSION:
            raise ValueError(f"format_version {self.format_version} is not known")


def stage_choices(choice: Choice, bundle: Bundle) -> tuple[StageChoice, ...]:
    """What `open_engine(choices=…)` takes.

    Args:
        choice: Found for this bundle.
        bundle: An open bundle.

    Raises:
        FormatError: The choice has other stages or models than the bundle.
    """
    stages = bundle.manifest.stages
    if [stage.name for stage in stages] != [tuned.stage for tuned in choice.stages]:
        raise FormatError(f"the remembered trial is of other stages than {bundle.folder}", hint="tune it again")
    found = []
    for stage, tuned in zip(stages, choice.stages, strict=True):
        artifact = next((item for item in stage.artifacts if item.file == tuned.artifact), None)
        if artifact is None:
            raise FormatError(f"stage {stage.name!r} has no model {tuned.artifact!r}", hint="tune it again")
        options = RuntimeOptions(threads=tuned.threads, delegate=tuned.delegate)
        found.append(StageChoice(artifact=artifact, options=options, workers=tuned.workers))
    return tuple(found)


def load_choice(path: Path, bundle_digest: str, fingerprint: str, *, say: Say = lambda line: None) -> Choice | None:
    """What was found for this bundle on this hardware with these runtimes.

    Args:
        path: The file; it need not exist.
        bundle_digest: Of the bundle.
        fingerprint: Of this device now.
        say: Told in one line when the file cannot be used.

    Returns:
        None where there was no trial, or the bundle, the hardware or a runtime has changed since.
    """
    for choice in _remembered(path, say):
        if (choice.bundle_digest, choice.fingerprint) == (bundle_digest, fingerprint):
            return choice
    return None


def remember_choice(path: Path, choice: Choice, *, say: Say = lambda line: None) -> None:
    """Writes a choice durably, in place of an earlier one of the same bundle and hardware; the oldest is forgotten.

    Args:
        path: The file; its folder must exist.
        choice: What was found.
        say: Told in one line when the file that is there cannot be used, and is replaced.

    Raises:
        StorageError: The disk is full, read-only or failing; the old file stands.
    """
    key = (choice.bundle_digest, choice.fingerprint)
    others = [item for item in _remembered(path, say) if (item.bundle_digest, item.fingerprint) != key]
    memory = _Memory(format_version=FORMAT_VERSION, choices=(choice, *others[: MAX_CHOICES - 1]))
    durable.write_bytes(path, jsonvalue.pretty_bytes(memory), point="tune.remember")


def _remembered(path: Path, say: Say) -> tuple[Choice, ...]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        return jsonvalue.from_json(
            _Memory, jsonvalue.parse(data, where=str(path), max_bytes=MAX_BYTES), where=str(path)
        ).choices
    except FileNotFoundError:
        return ()
    except OSError as cause:
        say(f"{path}: cannot be read, so nothing is known of earlier trials: {(cause.strerror or '').lower()}")
    except EdgeloopError as cause:
        say(f"{cause.message}; the trials in it are passed over")
    return ()
