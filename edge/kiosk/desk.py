"""What the kiosk API asks of the agent behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from edge.answering import Answer
from edge.status import AgentState
from edge.telemetry import Counts
from edge.types import Feedback

if TYPE_CHECKING:
    from edge.bundle.manifest import BundleManifest
    from edge.engine import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """The bundle that answers now.

    Attributes:
        manifest: Of the bundle.
        digest: SHA-256 of the bundle, hex.
        artifact: File name of the model that runs; several are joined by `+`.
        labels: Every class that an answer may name, those of galleries included, each once.
    """

    manifest: BundleManifest
    digest: str
    artifact: str
    labels: tuple[str, ...]


def serving_of(engine: Engine) -> Serving:
    """What an engine serves; of a pipeline the first reader names things, else the one stage does."""
    manifest, stages = engine.bundle.manifest, engine.bundle.manifest.stages
    naming = stages[1] if len(stages) > 1 else stages[0]
    labels = engine.gallery_labels().get(naming.name) or manifest.labels_of(naming)
    return Serving(
        manifest=manifest,
        digest=engine.bundle.digest,
        artifact="+".join(artifact.file for artifact in engine.artifacts),
        labels=tuple(dict.fromkeys(labels)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Watching:
    """The source of frames.

    Attributes:
        name: What is watched, for people; empty where nothing is.
        lost: Why the camera gives no frames, in one line; empty while it does.
    """

    name: str = ""
    lost: str = ""


class Desk(Protocol):
    """The agent as the kiosk sees it. Thread-safe."""

    def recognise(self, picture: bytes, *, source: str, top_k: int | None = None) -> Answer:
        """Answers for one encoded picture, and keeps it where the bundle's keep policy asks for it.

        Args:
            picture: JPEG, PNG or WebP.
            source: Who sent it, for the journal.
            top_k: How many classes to name; None for what the bundle says.

        Raises:
            ImageError: It is no usable picture.
            UsageError: There is no bundle to answer with yet.
            BackendError: The network failed.
        """
        ...

    def feedback(self, answer: Answer, feedback: Feedback) -> str:
        """Stores what a person says about an answer, durably, with the sample; keeps the sample if it was not yet.

        Returns:
            Digest of the sample in the outbox.

        Raises:
            StorageError: The disk is full or failing; nothing was stored.
            RefusedError: The picture may not be kept: it shows what nobody may see.
        """
        ...

    def latest(self) -> Answer | None:
        """The newest answer for a frame of the source; None before the first, or where there is no source."""
        ...

    def serving(self) -> Serving | None:
        """The bundle that answers now; None before the first. Cheap: it is asked for many times a second."""
        ...

    def watching(self) -> Watching:
        """The source, and whether it gives frames."""
        ...

    def counts(self) -> Counts:
        """What was counted since the start."""
        ...

    def state(self) -> AgentState:
        """What the agent says about itself."""
        ...
