"""A pool of backends: at most so many, side by side, in order, and nothing lost when one fails."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from edge.backends.base import InferenceBackend
from edge.backends.pool import BackendPool
from edge.backends.select import open_backend
from edge.bundle.manifest import ArtifactFormat
from edge.errors import BackendError, UsageError
from edge.types import RawOutputs

MODELS = Path(__file__).resolve().parent.parent / "models"
WAIT_S = 10


class Echo:
    """A backend that gives back what it is given, notices two threads at once, and can be held up."""

    name = "echo"
    input_shape: tuple[int, ...] = (1,)
    input_dtype = "float32"

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.closed = 0
        self._alone = threading.Lock()

    def run(self, tensor: np.ndarray) -> RawOutputs:
        assert self._alone.acquire(blocking=False), "two threads in one backend"
        try:
            self.entered.set()
            assert self.gate.wait(WAIT_S)
            if tensor[0] < 0:
                raise BackendError(f"cannot do {tensor[0]:.0f}")
            return RawOutputs(by_name={"out": tensor.copy()})
        finally:
            self._alone.release()

    def close(self) -> None:
        self.closed += 1


class Maker:
    """Opens echoes and keeps them in view."""

    def __init__(self) -> None:
        self.made: list[Echo] = []

    def __call__(self) -> Echo:
        self.made.append(Echo())
        return self.made[-1]


def number(value: int) -> np.ndarray:
    return np.array([value], np.float32)


def test_opens_the_second_only_when_the_first_is_busy() -> None:
    maker = Maker()
    pool = BackendPool(maker, size=2)
    for value in range(5):
        assert pool.run(number(value)).by_name["out"][0] == value
    assert len(maker.made) == 1
    maker.made[0].entered.clear()
    maker.made[0].gate.clear()
    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(pool.run, number(7))
        assert maker.made[0].entered.wait(WAIT_S)
        assert pool.run(number(8)).by_name["out"][0] == 8
        assert len(maker.made) == 2
        maker.made[0].gate.set()
        assert slow.result(WAIT_S).by_name["out"][0] == 7


def test_never_more_than_its_size_and_never_two_threads_in_one() -> None:
    maker = Maker()
    pool = BackendPool(maker, size=3)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda value: pool.run(number(value)).by_name["out"][0], range(400)))
    assert answers == list(range(400))
    assert len(maker.made) <= 3


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("num_items", [0, 1, 2, 60])
def test_map_keeps_the_order(size: int, num_items: int) -> None:
    answers = BackendPool(Maker(), size=size).map(number, range(num_items))
    assert [int(answer.by_name["out"][0]) for answer in answers] == list(range(num_items))


def test_map_prepares_on_several_threads_at_once() -> None:
    """Each of two items waits for the other's preparation to begin: one thread alone would wait for ever."""
    both = threading.Barrier(2)

    def prepare(value: int) -> np.ndarray:
        both.wait(WAIT_S)
        return number(value)

    assert len(BackendPool(Maker(), size=2).map(prepare, range(2))) == 2


def test_maps_within_maps_do_not_wait_for_each_other() -> None:
    """More rounds at once than there are threads: each caller does its own work."""
    pool = BackendPool(Maker(), size=4)

    def outer(value: int) -> np.ndarray:
        inner = pool.map(number, range(value, value + 3))
        return number(sum(int(answer.by_name["out"][0]) for answer in inner))

    with ThreadPoolExecutor(8) as threads:
        rounds = [threads.submit(pool.map, outer, range(20)) for _ in range(8)]
        for done in rounds:
            assert [int(a.by_name["out"][0]) for a in done.result(60)] == [3 * value + 3 for value in range(20)]


def test_error_of_a_backend_or_a_preparation_surfaces_and_the_pool_goes_on() -> None:
    pool = BackendPool(Maker(), size=2)
    begun: list[int] = []

    def prepare(value: int) -> np.ndarray:
        begun.append(value)
        if value == 50:
            raise ValueError("no picture 50")
        return number(-1 if value == 3 else value)

    with pytest.raises(BackendError, match="cannot do -1"):
        pool.map(prepare, range(1000))
    assert len(begun) < 1000
    with pytest.raises(ValueError, match="no picture 50"):
        pool.map(prepare, range(40, 60))
    assert len(pool.map(prepare, range(10, 40))) == 30


def test_backend_that_cannot_be_opened_leaves_its_place_free() -> None:
    maker, refusals = Maker(), [BackendError("no memory")]

    def open_one() -> InferenceBackend:
        if maker.made and refusals:
            raise refusals.pop()
        return maker()

    pool = BackendPool(open_one, size=2)
    maker.made[0].gate.clear()
    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(pool.run, number(1))
        assert maker.made[0].entered.wait(WAIT_S)
        with pytest.raises(BackendError, match="no memory"):
            pool.run(number(2))
        assert pool.run(number(3)).by_name["out"][0] == 3
        maker.made[0].gate.set()
        assert slow.result(WAIT_S).by_name["out"][0] == 1


def test_close_waits_for_what_runs_and_refuses_what_comes() -> None:
    maker = Maker()
    pool = BackendPool(maker, size=1)
    maker.made[0].gate.clear()
    with ThreadPoolExecutor(3) as threads:
        running = threads.submit(pool.run, number(1))
        assert maker.made[0].entered.wait(WAIT_S)
        waiting = threads.submit(pool.run, number(2))
        closing = threads.submit(pool.close)
        with pytest.raises(BackendError, match="the pool of backends is closed"):
            waiting.result(WAIT_S)
        assert not closing.done()
        assert maker.made[0].closed == 0
        maker.made[0].gate.set()
        assert running.result(WAIT_S).by_name["out"][0] == 1
        closing.result(WAIT_S)
    assert maker.made[0].closed == 1
    pool.close()


def test_a_pool_of_none() -> None:
    with pytest.raises(UsageError, match="a pool needs at least 1 backend, found 0"):
        BackendPool(Maker(), size=0)


@pytest.mark.parametrize("kind", list(ArtifactFormat), ids=lambda item: item.value)
def test_same_bits_as_one_backend(kind: ArtifactFormat) -> None:
    path = MODELS / f"tiny_fp32.{kind.value}"
    pictures = np.random.default_rng(0).uniform(0, 255, (40, 1, 32, 32, 3)).astype(np.float32)
    backend, pool = open_backend(path, kind), BackendPool(lambda: open_backend(path, kind), size=2)
    alone = [backend.run(picture).by_name["logits"].tobytes() for picture in pictures]
    together = pool.map(lambda index: pictures[index], range(40))
    assert [answer.by_name["logits"].tobytes() for answer in together] == alone
    pool.close()
