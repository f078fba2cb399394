"""Answering many waiting samples at once, from a folder whose pictures are labelled already."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from cloud_train.review.direct import AnswerRoad
from cloud_train.store.digests import digest_of_file
from cloud_train.types import ReviewTask, SampleRecord
from edge.errors import UsageError
from edge.types import Feedback, FeedbackKind


def folder_labels(folder: Path, *, progress: Callable[[list[Path]], Iterable[Path]] = iter) -> dict[str, str]:
    """Digest of every picture of an ImageFolder to its class; a picture that lies in two classes is left out.

    Args:
        folder: One subfolder a class.
        progress: Wraps the list of files, to show how far it is.

    Raises:
        UsageError: There is no such folder, or nothing in it.
    """
    if not folder.is_dir():
        raise UsageError(f"no folder {folder}", hint="give a folder with one subfolder a class")
    files = sorted(path for path in folder.glob("*/**/*") if path.is_file() and not path.name.startswith("."))
    if not files:
        raise UsageError(f"no pictures in {folder}", hint="give a folder with one subfolder a class")
    found: dict[str, set[str]] = {}
    for path in progress(files):
        found.setdefault(digest_of_file(path), set()).add(path.relative_to(folder).parts[0])
    return {digest: labels.pop() for digest, labels in found.items() if len(labels) == 1}


def answer_tasks(
    tasks: Iterable[ReviewTask], labels: dict[str, str], transport: AnswerRoad, *, who: str, now: Callable[[], float]
) -> int:
    """Sends an answer about every task whose label is known, by the call that a person's click makes.

    Args:
        tasks: Samples that wait.
        labels: Digest to class.
        transport: The road to the server.
        who: Who answers.
        now: Seconds since the epoch, UTC.

    Returns:
        How many were answered.

    Raises:
        RoadError: The road failed; what was answered stays answered.
        RefusedError: The server said no.
    """
    known = [task.record for task in tasks if task.record.digest in labels]
    for record in known:
        transport.annotate(record.digest, answer_about(record, labels[record.digest], who=who, at=now()))
    return len(known)


def answer_about(record: SampleRecord, label: str, *, who: str, at: float) -> Feedback:
    """An answer that names a class: CONFIRMED when the device had said the same, CORRECTED otherwise."""
    kind = FeedbackKind.CONFIRMED if label == record.metadata.label else FeedbackKind.CORRECTED
    return Feedback(kind=kind, label=label, who=who, at=at)
