"""What every `MetaStore` promises."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sample_values import make_metadata

from cloud_train.errors import UnknownSampleError
from cloud_train.store.meta import MetaStore
from cloud_train.store.sql import open_meta_store
from cloud_train.types import DeviceRecord, Label, SampleRecord
from edge.types import FeedbackKind, KeepReason, Outcome
from edge.update.types import Release

SERVER = pytest.mark.server


@pytest.fixture(params=["sqlite file", "sqlite url", pytest.param("postgresql", marks=SERVER)])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], MetaStore]:
    path = tmp_path / "meta.sqlite"
    match request.param:
        case "sqlite file":
            where: Path | str = path
        case "sqlite url":
            where = f"sqlite:///{path}"
        case _:
            where = request.getfixturevalue("postgres_url")
    return lambda: open_meta_store(where)


@pytest.fixture
def meta(reopen: Callable[[], MetaStore]) -> Iterator[MetaStore]:
    store = reopen()
    yield store
    store.close()


def record(number: int, *, value: float = 0.5, received_at: float = 10.0) -> SampleRecord:
    digest = hashlib.sha256(b"%d" % number).hexdigest()
    metadata = make_metadata(
        value=value, outcome=list(Outcome)[number % 3], reason=list(KeepReason)[number % 4], source=f"zażółć {number}"
    )
    return SampleRecord(digest=digest, size_bytes=number, received_at=received_at + number, metadata=metadata)


def label(digest: str, name: str = "red", *, who: str = "ann", at: float = 1.0) -> Label:
    return Label(digest=digest, kind=FeedbackKind.CORRECTED, label=name, who=who, at=at)


def test_samples_come_back_as_they_went_in_also_after_reopening(
    meta: MetaStore, reopen: Callable[[], MetaStore]
) -> None:
    records = tuple(record(number) for number in range(7))
    meta.add_samples(records[:3])
    meta.add_samples(records[3:])
    assert meta.samples() == records
    meta.close()
    again = reopen()
    assert again.samples() == records
    assert again.sample(records[2].digest) == records[2]
    assert again.sample("0" * 64) is None
    again.close()


def test_a_sample_that_is_there_keeps_its_first_record(meta: MetaStore) -> None:
    first = record(1)
    meta.add_samples((first,))
    meta.add_samples((dataclasses.replace(first, received_at=99.0), record(2)))
    assert meta.samples() == (first, record(2))


def test_no_samples_is_no_error(meta: MetaStore) -> None:
    meta.add_samples(())
    assert meta.samples() == ()
    assert meta.known(()) == frozenset()


def test_known_answers_for_more_digests_than_one_query_takes(meta: MetaStore) -> None:
    records = tuple(record(number) for number in range(1200))
    meta.add_samples(records)
    strangers = [record(number).digest for number in range(5000, 5800)]
    assert meta.known([*(item.digest for item in records), *strangers]) == {item.digest for item in records}


def test_unlabelled_are_those_without_answer_most_valuable_first(meta: MetaStore) -> None:
    low, high, oldest = record(5, value=0.1), record(6, value=0.9), record(1, value=0.5)
    newest, answered = record(9, value=0.5), record(3, value=1.0)
    meta.add_samples((low, high, oldest, newest, answered))
    meta.add_label(label(answered.digest))
    assert meta.unlabelled(limit=10) == (high, oldest, newest, low)
    assert meta.unlabelled(limit=2) == (high, oldest)


def test_labels_are_appended_and_never_changed(meta: MetaStore) -> None:
    meta.add_samples((record(1), record(2)))
    said = (label(record(1).digest), label(record(1).digest, "blue", at=2.0), label(record(2).digest, who="bob"))
    for answer in said:
        meta.add_label(answer)
    meta.add_label(said[0])
    assert meta.labels() == said
    assert meta.labels(record(1).digest) == said[:2]
    assert meta.labels("0" * 64) == ()


def test_an_answer_about_a_stranger_is_refused(meta: MetaStore) -> None:
    with pytest.raises(UnknownSampleError, match="0000"):
        meta.add_label(label("0" * 64))
    assert meta.labels() == ()


def test_a_device_is_its_newest_word(meta: MetaStore) -> None:
    old = DeviceRecord(device_id="b", last_seen=1.0, bundle_digest="", bundle_version=0, frames=0, last_error="")
    new = dataclasses.replace(old, last_seen=2.0, frames=2**40, last_error="disk")
    other = dataclasses.replace(old, device_id="a")
    for device in (old, new, other):
        meta.record_device(device)
    assert meta.devices() == (other, new)


def test_releases_are_history(meta: MetaStore) -> None:
    first = Release(channel="stable", bundle_digest="a" * 64, name="n", version=1, metadata_version=2)
    second = dataclasses.replace(first, bundle_digest="b" * 64, version=2, metadata_version=3)
    other = dataclasses.replace(first, channel="beta")
    for number, release in enumerate((first, second, other, first)):
        meta.add_release(release, now=float(number))
    assert meta.releases("stable") == (first, second)
    assert meta.releases("beta") == (other,)
    assert meta.releases("none") == ()


def test_threads_may_write_at_the_same_time(meta: MetaStore) -> None:
    records = tuple(record(number) for number in range(80))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda start: meta.add_samples(records[start : start + 20]), range(0, 80, 10)))
        list(pool.map(lambda item: meta.add_label(label(item.digest)), records))
    assert set(meta.samples()) == set(records)
    assert len(meta.labels()) == 80


def test_closing_twice_is_harmless(meta: MetaStore) -> None:
    meta.close()
    meta.close()
