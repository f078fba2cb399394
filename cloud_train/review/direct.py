"""Answers that go into the store itself, where its server asks callers for a certificate that people do not have."""

from __future__ import annotations

from typing import Protocol

from cloud_train.review.labels import record_feedback
from cloud_train.store.meta import MetaStore
from edge.types import Feedback


class AnswerRoad(Protocol):
    """Where an answer goes: a server, or a store."""

    def annotate(self, digest: str, feedback: Feedback) -> None:
        """Tells a person's answer about a sample that has arrived."""
        ...


class DirectAnswers:
    """`AnswerRoad` into a store.

    Args:
        meta: Where answers are.
    """

    def __init__(self, meta: MetaStore) -> None:
        self._meta = meta

    def annotate(self, digest: str, feedback: Feedback) -> None:
        """See `AnswerRoad.annotate`."""
        record_feedback(self._meta, digest, feedback)
