"""One visit to one candidate: open it, warm it up, measure it, close it.

A candidate is closed before the next is opened, so a trial needs no more memory than the largest of them. Visits go
round and round, so a board that grows hot or a neighbour that wakes up slows all of them alike.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from edge.backends.base import InferenceBackend
from edge.backends.pool import BackendPool
from edge.bundle.manifest import StageInput, StageSpec
from edge.preprocess import open_picture, preprocess, preprocess_crop
from edge.tune.samples import sample_boxes, sample_picture
from edge.tune.types import Candidate

_NUM_WARM_UP = 2
_MIN_RUNS, _MAX_RUNS = 3, 200

Clock = Callable[[], float]
OpenCandidate = Callable[[Candidate], InferenceBackend]
Work = Callable[[BackendPool], int]


def make_work(stage: StageSpec) -> Work:
    """What is measured of a stage.

    For one that reads the picture it is the network alone, for how the picture is prepared does not depend on the
    candidate. For one that reads crops it is a row of crops with their preparation, which several copies share out.

    Returns:
        A function that does it once and says how many pictures or crops that were.
    """
    if stage.reads is StageInput.PICTURE:
        tensor = preprocess(sample_picture(0), stage.preprocess).tensor

        def run_once(pool: BackendPool) -> int:
            pool.run(tensor)
            return 1

        return run_once
    picture, boxes = open_picture(sample_picture(0)), sample_boxes()

    def run_crops(pool: BackendPool) -> int:
        pool.map(lambda box: preprocess_crop(picture, box, stage.preprocess).tensor, boxes)
        return len(boxes)

    return run_crops


def visit(
    candidate: Candidate, work: Work, *, open_one: OpenCandidate, clock: Clock, slice_s: float
) -> tuple[list[float], BackendPool]:
    """Measures a candidate for about `slice_s` seconds.

    Args:
        candidate: What to run.
        work: From `make_work`.
        open_one: Opens one copy of it.
        clock: Seconds.
        slice_s: How long; at least three runs are measured all the same.

    Returns:
        Milliseconds for one picture or crop, one figure a run; and the open pool, which the caller closes.

    Raises:
        EdgeloopError: It cannot be opened, or fails while running.
    """
    pool = BackendPool(partial(open_one, candidate), size=candidate.workers)
    try:
        return _measured(pool, work, clock, slice_s), pool
    except BaseException:
        pool.close()
        raise


def _measured(pool: BackendPool, work: Work, clock: Clock, slice_s: float) -> list[float]:
    for _ in range(_NUM_WARM_UP):
        work(pool)
    times: list[float] = []
    start = before = clock()
    while len(times) < _MIN_RUNS or (before - start < slice_s and len(times) < _MAX_RUNS):
        number = work(pool)
        after = clock()
        times.append((after - before) * 1000 / number)
        before = after
    return times
