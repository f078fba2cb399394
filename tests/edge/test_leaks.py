"""An engine that runs for months: nothing grows with openings, frames, bad pictures or closings in between."""

from __future__ import annotations

import asyncio
import gc
import itertools
import multiprocessing
import os
import random
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from pipeline_bundles import COLOURS, YELLOW, build_pipeline, squares

from edge.engine import Engine, open_engine
from edge.errors import BackendError, ImageError

MB = 1 << 20
SCENE = squares((1, 1, COLOURS["red"]), (3, 2, COLOURS["green"]), (6, 6, COLOURS["blue"]), side=160)
CELLS = tuple((x, x // 2, colour) for x, colour in zip((1, 3, 5, 7), (*COLOURS.values(), YELLOW), strict=True))
# Of none to four things; what a camera sends, and what lies in a folder.
FRAMES = tuple(squares(*CELLS[:number], side=320, kind=kind) for number in range(5) for kind in ("PNG", "JPEG"))
FOLDER = tuple(squares(*CELLS[:number], side=side) for number in range(5) for side in (96, 224, 480, 640))
BAD = (SCENE[:200], b"no picture", b"", np.zeros((4, 4, 3), np.float32), "gone.png", squares(kind="JPEG")[:-400])
RUNTIMES = ("tflite", "onnx")


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a process holds.

    Attributes:
        files: Open file descriptors.
        threads: Threads, those of the runtimes included.
        rss_bytes: Resident memory.
        blocks: Pieces of memory that Python's objects take.
    """

    files: int
    threads: int
    rss_bytes: int
    blocks: int


# After the warm-up, at half-time, at the end.
Measured = tuple[Held, Held, Held]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_pipeline(tmp_path_factory.mktemp("leaks") / "bundle")


@pytest.mark.parametrize("artifact", RUNTIMES)
def test_a_hundred_openings_leave_nothing_behind(folder: Path, artifact: str) -> None:
    held = _alone(_open_and_close, folder, artifact, 20, 100)
    _assert_flat(held, rss_bytes=2 * MB)


@pytest.mark.slow
@pytest.mark.parametrize("artifact", RUNTIMES)
def test_three_thousand_frames_leave_memory_flat(folder: Path, artifact: str) -> None:
    held = _alone(_look_at_frames, folder, artifact, 500, 3000)
    _assert_flat(held, rss_bytes=2 * MB)


@pytest.mark.slow
def test_pictures_of_many_sizes_leave_memory_flat(folder: Path) -> None:
    held = _alone(_look_at_folder, folder, "tflite", 500, 1500)
    _assert_flat(held, rss_bytes=1 * MB)


def test_bad_pictures_in_between_leave_nothing_behind(folder: Path) -> None:
    held = _alone(_look_at_bad_frames, folder, "tflite", 300, 1200)
    _assert_flat(held, rss_bytes=1 * MB)


@pytest.mark.parametrize("artifact", RUNTIMES)
def test_models_that_fail_to_load_leave_nothing_behind(folder: Path, artifact: str) -> None:
    held = _alone(_fail_to_load, folder, artifact, 20, 100)
    _assert_flat(held, rss_bytes=2 * MB)


@pytest.mark.parametrize("artifact", RUNTIMES)
@pytest.mark.parametrize("way", ["infer", "infer_batch", "ainfer"])
def test_closing_while_others_ask(folder: Path, artifact: str, way: str) -> None:
    """Each call answers as ever, or says that the engine is closed; nothing else, and nobody waits for ever."""
    with open_engine(folder, artifact=artifact) as engine:
        expected = engine.infer(SCENE).prediction
    rng = random.Random(7)
    for _ in range(25):
        engine = open_engine(folder, artifact=artifact, workers=2)
        outcomes = _ask_and_close(engine, WAYS[way], delay_s=rng.uniform(0, 0.03))
        assert all(outcome == expected or _says_closed(outcome) for outcome in outcomes), outcomes
        assert any(_says_closed(outcome) for outcome in outcomes)


def test_closing_while_a_batch_is_handed_in(folder: Path) -> None:
    engine = open_engine(folder)

    def pictures() -> Iterator[bytes]:
        yield SCENE
        engine.close()
        yield SCENE

    assert _says_closed(_outcome(lambda: engine.infer_batch(pictures())))


def test_a_long_batch_does_not_hold_all_its_pictures(folder: Path) -> None:
    alive: list[weakref.ref[np.ndarray]] = []
    most = 0

    def frames() -> Iterator[np.ndarray]:
        nonlocal most
        for _ in range(200):
            frame = np.zeros((240, 320, 3), np.uint8)
            alive.append(weakref.ref(frame))
            yield frame
            del frame
            most = max(most, sum(reference() is not None for reference in alive))

    with open_engine(folder) as engine:
        assert len(engine.load().infer_batch(frames())) == 200
    assert most < 100


def test_closing_one_engine_leaves_its_twin_at_work(folder: Path) -> None:
    """Both share their models; only the last one frees them."""
    with open_engine(folder, workers=2) as stays:
        expected = stays.infer(SCENE).prediction
        for _ in range(10):
            twin = open_engine(folder, workers=2)
            closing = threading.Timer(0.01, twin.close)
            closing.start()
            answers = [stays.infer(SCENE).prediction for _ in range(8)]
            _join([closing])
            assert answers == [expected] * 8
            assert _says_closed(_outcome(lambda engine=twin: engine.infer(SCENE).prediction))


def test_many_threads_open_and_close_the_same_bundle(folder: Path) -> None:
    with open_engine(folder) as engine:
        expected = engine.infer(SCENE).prediction
    outcomes: list[object] = []

    def work() -> None:
        for _ in range(8):
            with open_engine(folder, workers=2) as engine:
                outcomes.append(_outcome(lambda: engine.infer(SCENE).prediction))

    _join(_started([work] * 6))
    assert outcomes == [expected] * 48


def _infer(engine: Engine) -> object:
    return engine.infer(SCENE).prediction


def _infer_batch(engine: Engine) -> object:
    first, second = engine.infer_batch([SCENE, SCENE])
    assert first.prediction == second.prediction
    return first.prediction


def _ainfer(engine: Engine) -> object:
    return asyncio.run(engine.ainfer(SCENE)).prediction


WAYS: dict[str, Callable[[Engine], object]] = {"infer": _infer, "infer_batch": _infer_batch, "ainfer": _ainfer}


def _ask_and_close(engine: Engine, ask: Callable[[Engine], object], *, delay_s: float) -> list[object]:
    """What four threads are told that ask until the engine is closed from elsewhere."""
    outcomes: list[object] = []

    def work() -> None:
        while True:
            outcome = _outcome(lambda: ask(engine))
            outcomes.append(outcome)
            if isinstance(outcome, BaseException):
                return

    asking = _started([work] * 4)
    closing = threading.Timer(delay_s, engine.close)
    closing.start()
    _join([closing, *asking])
    return outcomes


def _outcome(ask: Callable[[], object]) -> object:
    try:
        return ask()
    except BaseException as error:
        return error


def _says_closed(outcome: object) -> bool:
    return isinstance(outcome, BackendError) and "closed" in str(outcome)


def _started(works: list[Callable[[], None]]) -> list[threading.Thread]:
    threads = [threading.Thread(target=work, daemon=True) for work in works]
    for thread in threads:
        thread.start()
    return threads


def _join(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(timeout=30)
        assert not thread.is_alive(), "waits for ever"


def _alone(measure: Callable[..., Measured], *arguments: object) -> Measured:
    """Measures in a process of its own, where no other test has left anything."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(measure, *arguments).result(timeout=300)


def _open_and_close(folder: Path, artifact: str, warm_up: int, number: int) -> Measured:
    def once() -> None:
        with open_engine(folder, artifact=artifact, workers=2) as engine:
            engine.infer(SCENE)
            engine.infer_batch([SCENE, SCENE])

    return _measured(once, warm_up, number)


def _look_at_frames(folder: Path, artifact: str, warm_up: int, number: int) -> Measured:
    return _look_at(FRAMES, folder, artifact, warm_up, number)


def _look_at_folder(folder: Path, artifact: str, warm_up: int, number: int) -> Measured:
    return _look_at(FOLDER, folder, artifact, warm_up, number)


def _look_at(pictures: Sequence[bytes], folder: Path, artifact: str, warm_up: int, number: int) -> Measured:
    turning = itertools.cycle(pictures)
    with open_engine(folder, artifact=artifact, workers=2) as engine:
        _use_every_copy(engine)
        return _measured(lambda: engine.infer(next(turning)), warm_up, number)


def _use_every_copy(engine: Engine) -> None:
    """A pool opens another copy of its model only when all are busy, which chance may put off for long."""
    for _ in range(20):
        engine.infer_batch([SCENE] * 8)


def _look_at_bad_frames(folder: Path, artifact: str, warm_up: int, number: int) -> Measured:
    position = 0

    def once() -> None:
        nonlocal position
        position += 1
        with pytest.raises(ImageError):
            engine.infer(BAD[position % len(BAD)])
        if position % 4 == 0:
            assert engine.infer(SCENE).prediction.items
        if position % 50 == 0:
            with pytest.raises(ImageError):
                engine.infer_batch([SCENE, BAD[0], SCENE])

    with open_engine(folder, artifact=artifact, workers=2) as engine:
        _use_every_copy(engine)
        return _measured(once, warm_up, number)


def _fail_to_load(folder: Path, artifact: str, warm_up: int, number: int) -> Measured:
    """The second model of two is damaged after the bundle was checked, so that the first is loaded already."""
    from edge.bundle.reader import open_bundle

    bundle = open_bundle(folder)
    path = bundle.path(f"tiny_embedder.{artifact}")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])

    def once() -> None:
        with open_engine(bundle, artifact=artifact) as engine, pytest.raises(BackendError, match="tiny_embedder"):
            engine.infer(SCENE)

    try:
        return _measured(once, warm_up, number)
    finally:
        path.write_bytes(whole)


def _assert_flat(held: Measured, *, rss_bytes: int) -> None:
    """A leak grows in both halves; a heap that settles, or a thread begun late, is one step, whenever that comes."""
    assert _least_growth([moment.files for moment in held]) <= 0, held
    assert _least_growth([moment.threads for moment in held]) <= 0, held
    assert _least_growth([moment.rss_bytes for moment in held]) <= rss_bytes / 2, held
    before, _, after = held
    assert max(after.files - before.files, after.threads - before.threads) <= 2, held
    assert after.rss_bytes - before.rss_bytes <= 4 * MB, held
    assert after.blocks - before.blocks < 1000, held


def _least_growth(moments: Sequence[int]) -> int:
    return min(after - before for before, after in itertools.pairwise(moments))


def _measured(once: Callable[[], object], warm_up: int, number: int) -> Measured:
    held = []
    for rounds in (warm_up, number // 2, number // 2):
        for _ in range(rounds):
            once()
        held.append(_held())
    return held[0], held[1], held[2]


def _held() -> Held:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return Held(
        files=_number_in("/proc/self/fd"),
        threads=_number_in("/proc/self/task"),
        rss_bytes=pages * os.sysconf("SC_PAGE_SIZE"),
        blocks=sys.getallocatedblocks(),
    )


def _number_in(folder: str) -> int:
    return sum(1 for _ in Path(folder).iterdir())
