"""People's answers: taking them down, and what they come to together."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable

from cloud_train.store.meta import MetaStore
from cloud_train.types import Label
from edge.errors import UsageError
from edge.types import Feedback, FeedbackKind

_MAX_TEXT = 512


def record_feedback(
    meta: MetaStore, digest: str, feedback: Feedback, *, through: str = "", now: float | None = None
) -> Label:
    """Appends a person's answer about a sample, and that to the audit; the same answer twice is recorded once.

    Args:
        meta: Where answers are.
        digest: The sample.
        feedback: What was said.
        through: Who brought it, as the audit names callers; empty for the person themselves.
        now: When it was brought, for the audit; None for the moment that the answer names.

    Raises:
        UnknownSampleError: The store holds no such sample.
        UsageError: The answer contradicts itself.
        StorageError: The database failed; nothing was recorded.
    """
    _check(feedback)
    label = Label(digest=digest, kind=feedback.kind, label=feedback.label, who=feedback.who, at=feedback.at)
    meta.add_label(label, through=through, now=now)
    return label


def settled_label(labels: Iterable[Label]) -> str | None:
    """What a sample is, by the people who answered.

    Everybody has one vote, their newest answer. The class with the most votes wins; None of these is a vote as well.

    Args:
        labels: All answers about one sample, in the order they came.

    Returns:
        The class, or None when none of these won, when votes are tied, and when nobody answered.
    """
    leaders = _leaders(labels)
    return leaders[0] if len(leaders) == 1 else None


def is_settled(labels: Iterable[Label]) -> bool:
    """Whether the answers about one sample agree on something, none of these included."""
    return len(_leaders(labels)) == 1


def settled_labels(meta: MetaStore) -> dict[str, str]:
    """Digest to class of every sample whose class is settled."""
    settled = {digest: settled_label(labels) for digest, labels in labels_by_sample(meta).items()}
    return {digest: label for digest, label in settled.items() if label is not None}


def labels_by_sample(meta: MetaStore) -> dict[str, tuple[Label, ...]]:
    """Digest to its answers, in the order they came."""
    grouped: defaultdict[str, list[Label]] = defaultdict(list)
    for label in meta.labels():
        grouped[label.digest].append(label)
    return {digest: tuple(labels) for digest, labels in grouped.items()}


def _leaders(labels: Iterable[Label]) -> tuple[str | None, ...]:
    newest: dict[str, Label] = {}
    for label in labels:
        if label.who not in newest or label.at >= newest[label.who].at:
            newest[label.who] = label
    votes = Counter(None if label.kind is FeedbackKind.NONE_OF_THESE else label.label for label in newest.values())
    most = max(votes.values(), default=0)
    return tuple(answer for answer, count in votes.items() if count == most)


def _check(feedback: Feedback) -> None:
    names_class = feedback.kind is not FeedbackKind.NONE_OF_THESE
    if names_class != bool(feedback.label.strip()):
        raise UsageError(
            f"an answer of kind {feedback.kind.value} {'needs a label' if names_class else 'has no label'}"
        )
    if not feedback.who.strip():
        raise UsageError("an answer needs the name of who gives it")
    if max(len(feedback.label), len(feedback.who)) > _MAX_TEXT:
        raise UsageError(f"a label or a name has more than {_MAX_TEXT} characters")
    if not math.isfinite(feedback.at):
        raise UsageError("an answer needs the time it was given")
