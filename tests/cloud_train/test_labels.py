"""People's answers: what is taken down, what they come to together, who is asked next."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from sample_values import make_metadata

from cloud_train.errors import UnknownSampleError
from cloud_train.review.answers import answer_about, folder_labels
from cloud_train.review.labels import is_settled, record_feedback, settled_label, settled_labels
from cloud_train.review.tasks import next_tasks
from cloud_train.store.meta import MetaStore
from cloud_train.store.sql import open_meta_store
from cloud_train.types import Label, SampleRecord
from edge.errors import UsageError
from edge.types import Feedback, FeedbackKind

CONFIRMED, CORRECTED, NONE = FeedbackKind.CONFIRMED, FeedbackKind.CORRECTED, FeedbackKind.NONE_OF_THESE


@pytest.fixture
def meta(tmp_path: Path) -> Iterator[MetaStore]:
    store = open_meta_store(tmp_path / "meta.sqlite")
    yield store
    store.close()


def record(number: int, *, value: float = 0.5, label: str = "red") -> SampleRecord:
    digest = hashlib.sha256(b"%d" % number).hexdigest()
    metadata = make_metadata(value=value, label=label)
    return SampleRecord(digest=digest, size_bytes=1, received_at=float(number), metadata=metadata)


def answers(*said: tuple[str, str], digest: str = "a" * 64) -> tuple[Label, ...]:
    """`(who, label)` in the order they were given; the label "-" is none of these, "!red" confirms red."""
    return tuple(
        Label(
            digest=digest,
            kind=NONE if name == "-" else CONFIRMED if name.startswith("!") else CORRECTED,
            label="" if name == "-" else name.removeprefix("!"),
            who=who,
            at=float(at),
        )
        for at, (who, name) in enumerate(said)
    )


@pytest.mark.parametrize(
    ("said", "settled"),
    [
        ((), None),
        ((("ann", "red"),), "red"),
        ((("ann", "!red"), ("bob", "red")), "red"),
        ((("ann", "red"), ("bob", "blue")), None),
        ((("ann", "red"), ("bob", "blue"), ("cid", "!blue")), "blue"),
        ((("ann", "red"), ("ann", "blue")), "blue"),
        ((("ann", "red"), ("bob", "blue"), ("ann", "blue")), "blue"),
        ((("ann", "red"), ("ann", "red"), ("ann", "red"), ("bob", "blue"), ("cid", "blue")), "blue"),
        ((("ann", "-"),), None),
        ((("ann", "red"), ("ann", "-")), None),
        ((("ann", "-"), ("ann", "red")), "red"),
        ((("ann", "-"), ("bob", "-"), ("cid", "red")), None),
        ((("ann", "-"), ("bob", "red"), ("cid", "red")), "red"),
        ((("ann", "-"), ("bob", "red")), None),
    ],
)
def test_the_class_with_the_most_votes_wins(said: tuple[tuple[str, str], ...], settled: str | None) -> None:
    assert settled_label(answers(*said)) == settled


def test_the_newest_answer_counts_in_whatever_order_they_arrive() -> None:
    said = answers(("ann", "red"), ("bob", "green"), ("ann", "green"), ("cid", "red"))
    assert {settled_label(order) for order in itertools.permutations(said)} == {"green"}


def test_none_of_these_is_settled_and_a_tie_is_not() -> None:
    assert is_settled(answers(("ann", "-")))
    assert not is_settled(answers(("ann", "red"), ("bob", "-")))
    assert not is_settled(())


def test_an_answer_is_taken_down_as_given(meta: MetaStore) -> None:
    meta.add_samples((record(1),))
    feedback = Feedback(kind=CORRECTED, label="blue", who="ann", at=7.5)
    label = record_feedback(meta, record(1).digest, feedback)
    assert meta.labels() == (label,)
    assert (label.kind, label.label, label.who, label.at) == (CORRECTED, "blue", "ann", 7.5)
    with pytest.raises(UnknownSampleError):
        record_feedback(meta, record(2).digest, feedback)


@pytest.mark.parametrize(
    ("feedback", "words"),
    [
        (Feedback(kind=CORRECTED, label=" ", who="ann", at=1.0), "kind corrected needs a label"),
        (Feedback(kind=CONFIRMED, label="", who="ann", at=1.0), "kind confirmed needs a label"),
        (Feedback(kind=NONE, label="red", who="ann", at=1.0), "kind none_of_these has no label"),
        (Feedback(kind=CORRECTED, label="red", who="", at=1.0), "needs the name"),
        (Feedback(kind=CORRECTED, label="red", who="ann", at=float("nan")), "needs the time"),
        (Feedback(kind=CORRECTED, label="r" * 513, who="ann", at=1.0), "more than 512 characters"),
    ],
)
def test_an_answer_that_contradicts_itself_is_refused(meta: MetaStore, feedback: Feedback, words: str) -> None:
    meta.add_samples((record(1),))
    with pytest.raises(UsageError, match=words):
        record_feedback(meta, record(1).digest, feedback)
    assert meta.labels() == ()


def test_settled_labels_are_those_of_all_samples(meta: MetaStore) -> None:
    meta.add_samples((record(1), record(2), record(3), record(4)))
    said = {1: [("ann", "red")], 2: [("ann", "red"), ("bob", "blue")], 3: [("ann", "-")]}
    for number, given in said.items():
        for label in answers(*given, digest=record(number).digest):
            meta.add_label(label)
    assert settled_labels(meta) == {record(1).digest: "red"}


def test_who_waits_is_asked_for_most_instructive_first_ties_included(meta: MetaStore) -> None:
    tied, dull, sharp, done, none = (
        record(1, value=0.6),
        record(2, value=0.1),
        record(3, value=0.9),
        record(4),
        record(5),
    )
    meta.add_samples((tied, dull, sharp, done, none))
    for label in (
        *answers(("ann", "red"), ("bob", "blue"), digest=tied.digest),
        *answers(("ann", "red"), digest=done.digest),
        *answers(("ann", "-"), digest=none.digest),
    ):
        meta.add_label(label)
    assert [task.record for task in next_tasks(meta, limit=9)] == [sharp, tied, dull]
    assert [task.record for task in next_tasks(meta, limit=2)] == [sharp, tied]
    meta.add_label(Label(digest=tied.digest, kind=CORRECTED, label="blue", who="cid", at=9.0))
    assert [task.record for task in next_tasks(meta, limit=9)] == [sharp, dull]


def test_equal_values_are_asked_for_in_the_order_they_came(meta: MetaStore) -> None:
    records = tuple(record(number) for number in range(5))
    meta.add_samples(records[::-1])
    assert tuple(task.record for task in next_tasks(meta, limit=9)) == records


def test_a_folder_answers_by_content_and_skips_what_is_in_two_classes(tmp_path: Path) -> None:
    for name, content in (
        ("red/1.png", b"1"),
        ("red/deep/2.png", b"2"),
        ("blue/3.png", b"3"),
        ("blue/1b.png", b"1"),
        ("red/.x", b"4"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "loose.png").write_bytes(b"5")
    assert folder_labels(tmp_path) == {
        hashlib.sha256(b"2").hexdigest(): "red",
        hashlib.sha256(b"3").hexdigest(): "blue",
    }


def test_a_folder_without_pictures_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no pictures in"):
        folder_labels(tmp_path)
    with pytest.raises(UsageError, match="no folder"):
        folder_labels(tmp_path / "none")


def test_saying_what_the_device_said_confirms_it() -> None:
    assert answer_about(record(1, label="red"), "red", who="ann", at=1.0).kind is CONFIRMED
    assert answer_about(record(1, label="red"), "blue", who="ann", at=1.0).kind is CORRECTED
