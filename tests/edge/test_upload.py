"""The messages of a push: every byte once and in order, no message larger than a piece, nobody kept waiting."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_values import make_sample

from edge.outbox.base import Sample
from edge.sync.throttle import Throttle
from edge.sync.types import Chunk
from edge.sync.upload import Upload
from edge.wire import convert, limits

SIZES = st.lists(st.sampled_from((40, 500, 30_000, limits.CHUNK_BYTES, limits.CHUNK_BYTES + 1)), max_size=90)


def messages_of(samples: list[Sample], throttle: Throttle, *, patient: random.Random) -> list[list[Chunk]]:
    """Pieces by message. Samples are at hand as often as `patient` wants, and then small enough."""
    waiting = list(samples)

    def one_by_one() -> Iterator[tuple[Sample, int]]:
        while waiting:
            yield waiting.pop(0), 0

    def at_hand(most_bytes: int) -> bool:
        return bool(waiting) and len(waiting[0].payload) <= most_bytes and patient.random() < 0.9

    upload = Upload(one_by_one(), at_hand, lambda: None, throttle)
    got = [list(convert.chunks_from_message(message)) for message in upload.messages()]
    assert upload.failure is None
    return got


@given(sizes=SIZES, seed=st.integers(0, 99), rate=st.sampled_from((0, 10_000)))
def test_every_sample_goes_once_and_in_order(sizes: list[int], seed: int, rate: int) -> None:
    throttle = Throttle(rate, sleep=lambda _: None)
    throttle.end()  # no waiting here
    samples = [make_sample(number, size_bytes=size) for number, size in enumerate(sizes)]
    messages = messages_of(samples, throttle, patient=random.Random(seed))
    most = throttle.piece_bytes(limits.CHUNK_BYTES)
    assert all(sum(len(chunk.data) for chunk in message) <= most for message in messages)
    assert all(len(message) <= limits.MAX_TOGETHER for message in messages)
    chunks = [chunk for message in messages for chunk in message]
    arrived: dict[str, bytes] = {}
    for chunk in chunks:
        assert (chunk.offer is not None) == (chunk.offset == 0)
        assert chunk.offset == len(arrived.get(chunk.digest, b""))
        arrived[chunk.digest] = arrived.get(chunk.digest, b"") + chunk.data
    assert [chunk.digest for chunk in chunks if chunk.last] == [sample.digest for sample in samples]
    assert list(arrived.items()) == [(sample.digest, sample.payload) for sample in samples]


def test_a_message_goes_before_a_sample_is_waited_for() -> None:
    samples = [make_sample(number) for number in range(3)]
    given_out: list[str] = []

    def one_by_one() -> Iterator[tuple[Sample, int]]:
        for sample in samples:
            given_out.append(sample.digest)
            yield sample, 0

    messages = Upload(one_by_one(), lambda _: False, lambda: None, Throttle(0)).messages()
    for number in range(3):
        next(messages)
        assert len(given_out) == number + 1


def test_what_was_put_together_before_a_failure_is_lost_with_it_and_the_failure_is_kept() -> None:
    def broken() -> Iterator[tuple[Sample, int]]:
        yield make_sample(1), 0
        raise KeyError("the outbox is gone")

    upload = Upload(broken(), lambda _: True, lambda: None, Throttle(0))
    assert list(upload.messages()) == []
    with pytest.raises(KeyError, match="the outbox is gone"):
        raise upload.failure
