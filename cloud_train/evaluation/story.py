"""Everything that one turn of the loop has to tell, as data."""

from __future__ import annotations

from dataclasses import dataclass

from cloud_train.types import EvalReport, GateResult, Interval
from converters.types import ConversionRecord, Measurements, Proof


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamFacts:
    """What passed before the device.

    Attributes:
        captured: Frames the source gave.
        answered: Frames that got an answer.
        dropped: Frames that got none.
        by_bundle: Name of a bundle, for people, and the frames it answered, in the order they ran.
        accepted: Answers that were ACCEPT, in the first pass.
        confirmed: Answers that were CONFIRM, in the first pass.
        unknown: Answers that were UNKNOWN, in the first pass.
        kept: Samples put into the outbox, in the first pass.
        bytes_seen: Encoded size of the first pass's pictures.
        bytes_uploaded: Bytes that travelled to the server for them.
    """

    captured: int
    answered: int
    dropped: int
    by_bundle: tuple[tuple[str, int], ...]
    accepted: int
    confirmed: int
    unknown: int
    kept: int
    bytes_seen: int
    bytes_uploaded: int

    @property
    def judged(self) -> int:
        """Frames of the first pass."""
        return self.accepted + self.confirmed + self.unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What one version said about a picture.

    Attributes:
        label: Its best class.
        confidence: Its calibrated probability, in [0, 1].
        outcome: `accept`, `confirm` or `unknown`.
    """

    label: str
    confidence: float
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptSample:
    """A sample for the gallery.

    Attributes:
        digest: SHA-256 of the picture, hex.
        picture: The encoded picture.
        truth: Its label.
        reason: Why the device kept it.
        v1: What version 1 said, on the device.
        v2: What version 2 says now.
    """

    digest: str
    picture: bytes
    truth: str
    reason: str
    v1: Opinion
    v2: Opinion


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTime:
    """How long one step took.

    Attributes:
        name: The step.
        seconds: Wall time.
    """

    name: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionFacts:
    """One version of the model.

    Attributes:
        report: On the frozen test split.
        num_train: Pictures it was trained on.
        proof: What its conversion proved; None where nothing was converted.
        measurements: What was timed at conversion; None where nothing was.
        record: How its models came about; None for bundles that do not tell.
        reference_bytes: Size of the float model file that the proof holds all others against; 0 where there is none.
    """

    report: EvalReport
    num_train: int
    proof: Proof | None = None
    measurements: Measurements | None = None
    record: ConversionRecord | None = None
    reference_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopStory:
    """One turn of the loop, from version 1 to version 2.

    Attributes:
        title: Headline.
        command: What was typed.
        hardware: Processor, cores and system.
        data: The pictures, in one line.
        answers: Who labelled the samples, in one line.
        unknown_classes: Classes that version 1 did not know.
        v1: Version 1.
        v2: Version 2, from what the device kept.
        control: Version 2', from as many samples drawn at random; None where it was not trained.
        gain: v2 minus v1, paired, in points.
        gain_over_control: v2 minus v2', paired, in points.
        gate: v2 against v1; None where nothing was gated.
        stream: What passed before the device.
        num_labels: Samples that were labelled.
        kept: Samples for the gallery.
        chain: Name and digest of everything, from the pictures to the published bundle.
        steps: Where the time went.
        created_at: Seconds since the epoch, UTC.
    """

    title: str
    command: str
    hardware: str
    data: str
    answers: str
    unknown_classes: tuple[str, ...]
    v1: VersionFacts
    v2: VersionFacts
    control: VersionFacts | None
    gain: Interval
    gain_over_control: Interval | None
    gate: GateResult | None
    stream: StreamFacts
    num_labels: int
    kept: tuple[KeptSample, ...]
    chain: tuple[tuple[str, str], ...]
    steps: tuple[StepTime, ...]
    created_at: float

    @property
    def versions(self) -> tuple[tuple[str, VersionFacts], ...]:
        """Name and facts of every version there is."""
        named = (("v1", self.v1), ("v2", self.v2), ("v2' (random)", self.control))
        return tuple((name, facts) for name, facts in named if facts is not None)
