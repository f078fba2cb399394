"""What the kiosk API asks of the agent behind it."""

from __future__ import annotations

from typing import Protocol

from edge.answering import Answer
from edge.status import AgentState
from edge.telemetry import Counts
from edge.types import Feedback


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

    def counts(self) -> Counts:
        """What was counted since the start."""
        ...

    def state(self) -> AgentState:
        """What the agent says about itself."""
        ...
