"""An engine is swapped without waiting, and closed by the last who uses it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from edge.engine import Engine, open_engine
from edge.errors import BackendError
from edge.swap import EngineSlot


@pytest.fixture
def open_one(tiny_bundle: Path):
    return lambda: open_engine(tiny_bundle).load()


def is_open(engine: Engine) -> bool:
    try:
        engine.load()
    except BackendError:
        return False
    return True


def test_an_idle_engine_is_closed_by_the_swap(open_one) -> None:
    slot, first, second = EngineSlot(), open_one(), open_one()
    slot.swap(first)
    slot.swap(second)
    assert (is_open(first), is_open(second)) == (False, True)
    slot.swap(None)
    assert not is_open(second)
    with slot.lease() as nothing:
        assert nothing is None


def test_a_used_one_is_closed_by_its_last_user(open_one) -> None:
    slot, first = EngineSlot(), open_one()
    slot.swap(first)
    with slot.lease() as outer:
        with slot.lease() as inner:
            assert outer is inner is first
            slot.swap(open_one())
            assert is_open(first)
        assert is_open(first)
        with slot.lease() as newer:
            assert newer is not first
    assert not is_open(first)
    slot.swap(None)


def test_putting_the_same_one_in_again_keeps_it_open(open_one) -> None:
    slot, first = EngineSlot(), open_one()
    slot.swap(first)
    slot.swap(first)
    assert is_open(first)
    slot.swap(None)


def test_many_threads_and_many_swaps(open_one, picture_bytes) -> None:
    slot, failures, done = EngineSlot(), [], threading.Event()
    slot.swap(open_one())
    data = picture_bytes("red")

    def ask() -> None:
        while not done.is_set():
            with slot.lease() as engine:
                try:
                    engine.infer(data)
                except Exception as error:
                    failures.append(error)
                    return

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    made = [open_one() for _ in range(30)]
    for engine in made:
        slot.swap(engine)
    done.set()
    for thread in threads:
        thread.join(10)
    assert failures == []
    assert [is_open(engine) for engine in made] == [False] * 29 + [True]
    slot.swap(None)
