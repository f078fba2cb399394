"""Any bytes in the file of an outbox or its log: no crash, no other error, no wrong picture, and on it goes."""

from __future__ import annotations

import contextlib
import hashlib
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sample_values import make_sample, sample_of

from edge.errors import StorageError
from edge.outbox.base import EntryState, SampleOutbox
from edge.outbox.recovering import RecoveringOutbox
from edge.outbox.sqlite import SqliteOutbox
from edge.types import Feedback, FeedbackKind

ANSWER = Feedback(kind=FeedbackKind.CONFIRMED, label="tea", who="ann", at=1.0)
SIZES = (40, 700, 3_000, 9_000, 30_000)
V1 = Path(__file__).resolve().parents[1] / "compat" / "outbox_v1.sqlite"


def make(path: Path) -> None:
    outbox = SqliteOutbox(path)
    samples = [make_sample(number, size_bytes=SIZES[number % len(SIZES)], value=number % 7 / 7) for number in range(60)]
    outbox.put_many(samples, now=1.5)
    outbox.mark_sent(tuple(sample.digest for sample in samples[::4]), now=2.5)
    outbox.claim(limit=3, now=3.5, lease_s=60)
    outbox.park(samples[1].digest, reason="not a picture")
    for sample in samples[:9]:
        outbox.put_answer(sample.digest, ANSWER, now=4.5)
    outbox.close()


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an outbox that a killed process has left: some of it in the file, some in the log."""
    folder = tmp_path_factory.mktemp("original")
    make(folder / "outbox.sqlite")
    outbox = SqliteOutbox(folder / "outbox.sqlite")
    reader = sqlite3.connect(folder / "outbox.sqlite")
    for number in range(100, 110):
        outbox.put(make_sample(number, size_bytes=5_000), now=5.5)
    killed = folder / "killed"
    killed.mkdir()
    for name in ("outbox.sqlite", "outbox.sqlite-wal"):
        shutil.copy(folder / name, killed / name)
    reader.close()
    outbox.close()
    return killed


Damage = Callable[[random.Random, bytearray], None]


def flip(randomly: random.Random, data: bytearray) -> None:
    for _ in range(randomly.choice((1, 1, 3, 30, 300))):
        data[randomly.randrange(len(data))] ^= 1 << randomly.randrange(8)


def flip_in_a_page(randomly: random.Random, data: bytearray) -> None:
    """The first bytes of a page say what is in it."""
    begin = randomly.randrange(0, len(data), 4096)
    for _ in range(randomly.choice((1, 2, 5))):
        data[min(begin + randomly.randrange(120), len(data) - 1)] = randomly.randrange(256)


def overwrite(randomly: random.Random, data: bytearray) -> None:
    begin = randomly.randrange(len(data))
    end = min(len(data), begin + randomly.choice((1, 16, 512, 4096, 50_000)))
    filling = randomly.choice((b"\0", b"\xff", b"\xaa"))
    data[begin:end] = filling * (end - begin) if randomly.random() < 0.5 else randomly.randbytes(end - begin)


def truncate(randomly: random.Random, data: bytearray) -> None:
    del data[randomly.choice((randomly.randrange(len(data)), randomly.randrange(0, len(data), 4096))) :]


def swap_pages(randomly: random.Random, data: bytearray) -> None:
    """A write that went to the wrong place."""
    one, other = (randomly.randrange(len(data) // 4096) * 4096 for _ in range(2))
    data[one : one + 4096] = data[other : other + 4096]


DAMAGES: tuple[Damage, ...] = (flip, flip_in_a_page, overwrite, truncate, swap_pages)


def use(outbox: SampleOutbox) -> Iterator[Callable[[], object]]:
    """Everything that a device does with an outbox."""
    yield lambda: outbox.stats()
    yield lambda: outbox.waiting_answers(limit=99)
    yield lambda: outbox.audit(limit=99)
    yield lambda: check_payloads(outbox)
    yield lambda: outbox.claim(limit=5, now=1e9, lease_s=60)
    yield lambda: outbox.put_answer("a" * 64, ANSWER, now=1e9)
    yield lambda: outbox.release_all()
    yield lambda: outbox.park(make_sample(3).digest, reason="no")
    yield lambda: outbox.mark_sent((make_sample(104, size_bytes=5_000).digest,), now=1e9)
    yield lambda: outbox.put_many([make_sample(number, size_bytes=6_000) for number in range(200, 204)], now=1e9)
    yield lambda: outbox.maintain()


def check_payloads(outbox: SampleOutbox) -> None:
    for entry in outbox.entries():
        if entry.state is not EntryState.SENT:
            with contextlib.suppress(KeyError):
                assert hashlib.sha256(outbox.payload(entry.digest)).hexdigest() == entry.digest


def opened_or_none(path: Path, said: list[str]) -> RecoveringOutbox | None:
    """None where the damage makes it look like a newer outbox or another program's file, which is left alone."""
    try:
        return RecoveringOutbox(path, report=said.append, clock=lambda: 7.0)
    except StorageError as error:
        if any(words in str(error) for words in ("update edgeloop", "is not an outbox")):
            return None
        raise


def hold_against(folder: Path, seed: int) -> int:
    """One damaged outbox.

    Returns:
        How many times it was set aside.
    """
    said: list[str] = []
    path = folder / "outbox.sqlite"
    outbox = opened_or_none(path, said)
    if outbox is None:
        return 0
    for call in use(outbox):
        call()
    fresh = sample_of(b"fresh %d" % seed)
    assert outbox.put(fresh, now=1e9)
    assert outbox.payload(fresh.digest) == fresh.payload
    outbox.close()
    again = RecoveringOutbox(path, report=said.append, clock=lambda: 7.0)
    assert again.payload(fresh.digest) == fresh.payload
    check_payloads(again)
    again.close()
    return sum("set aside" in line for line in said)


def damaged_copy(original: Path, folder: Path, randomly: random.Random) -> None:
    shutil.copytree(original, folder)
    name = randomly.choice(("outbox.sqlite", "outbox.sqlite", "outbox.sqlite-wal"))
    data = bytearray((folder / name).read_bytes())
    randomly.choice(DAMAGES)(randomly, data)
    (folder / name).write_bytes(data)


def fuzz(original: Path, tmp_path: Path, seeds: range) -> int:
    num_set_aside = 0
    for seed in seeds:
        folder = tmp_path / str(seed)
        damaged_copy(original, folder, random.Random(seed))
        try:
            num_set_aside += hold_against(folder, seed)
        except Exception as error:
            raise AssertionError(f"seed {seed}") from error
        shutil.rmtree(folder)
    return num_set_aside


def test_a_damaged_outbox_is_gone_on_with(original: Path, tmp_path: Path) -> None:
    assert fuzz(original, tmp_path, range(40)) > 8


@pytest.mark.slow
def test_many_damaged_outboxes_are_gone_on_with(original: Path, tmp_path: Path) -> None:
    assert fuzz(original, tmp_path, range(1_000, 2_500)) > 250


def test_a_sound_one_is_left_as_it_is(original: Path, tmp_path: Path) -> None:
    shutil.copytree(original, tmp_path / "sound")
    assert hold_against(tmp_path / "sound", 0) == 0
