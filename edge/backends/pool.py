"""Several backends of one model, so that crops are prepared and judged side by side.

Two interpreters of one thread each give nearly twice the crops of one interpreter with two threads or with a larger
batch: Pillow, LiteRT and ONNX Runtime all let go of the interpreter lock, so preparing and running overlap.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from edge.backends.base import InferenceBackend
from edge.errors import BackendError, UsageError

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

    from edge.types import InputArray, RawOutputs

T = TypeVar("T")
_executor: ThreadPoolExecutor | None = None
_executor_lock = threading.Lock()


class BackendPool:
    """An `InferenceBackend` that is thread-safe: up to `size` threads run the model at the same time.

    Args:
        open_one: Opens one backend of the model; called once now, and again when all are busy.
        size: How many backends there may be, at least 1.

    Raises:
        UsageError: `size` is below 1.
        BackendError: As `open_one` raises.
    """

    def __init__(self, open_one: Callable[[], InferenceBackend], *, size: int) -> None:
        if size < 1:
            raise UsageError(f"a pool needs at least 1 backend, found {size}")
        first = open_one()
        self.name, self.input_shape, self.input_dtype = first.name, first.input_shape, first.input_dtype
        self.size = size
        self._open_one = open_one
        self._changed = threading.Condition()
        self._free = [first]
        self._num_open = 1
        self._is_closed = False

    def run(self, tensor: InputArray) -> RawOutputs:
        """Runs the network once, as soon as a backend is free; see `InferenceBackend.run`."""
        with self._borrowed() as backend:
            return backend.run(tensor)

    def map(self, prepare: Callable[[T], InputArray], items: Sequence[T]) -> list[RawOutputs]:
        """Prepares and runs many items on up to `size` threads, of which the caller's is one.

        Args:
            prepare: Makes the input of one item; called from several threads.
            items: What to run.

        Returns:
            One answer an item, in their order.

        Raises:
            Exception: What `prepare` or a backend raised first; no further item is begun, and all threads have ended.
        """
        round_ = _Round(items, lambda item: self.run(prepare(item)))
        helpers: list[Future[None]] = []
        for _ in range(min(self.size, len(items)) - 1):
            helpers.append(_workers().submit(round_.work))
        try:
            round_.work()
        finally:
            round_.stop()
            _end(helpers)
        return round_.results()

    def close(self) -> None:
        """Waits for what runs, then frees every backend. Calling it twice is harmless."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: len(self._free) == self._num_open)
            for backend in self._free:
                backend.close()

    @contextlib.contextmanager
    def _borrowed(self) -> Iterator[InferenceBackend]:
        backend = self._take()
        try:
            yield backend
        finally:
            with self._changed:
                self._free.append(backend)
                self._changed.notify_all()

    def _take(self) -> InferenceBackend:
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or bool(self._free) or self._num_open < self.size)
            if self._is_closed:
                raise BackendError("the pool of backends is closed")
            if self._free:
                return self._free.pop()
            self._num_open += 1
        try:
            return self._open_one()
        except BaseException:
            with self._changed:
                self._num_open -= 1
                self._changed.notify_all()
            raise


class _Round:
    """The items of one `map`, handed to whichever thread comes next."""

    def __init__(self, items: Sequence[T], run: Callable[[T], RawOutputs]) -> None:
        self._items = items
        self._run = run
        self._lock = threading.Lock()
        self._next = 0
        self._answers: dict[int, RawOutputs] = {}
        self._errors: dict[int, BaseException] = {}

    def work(self) -> None:
        """Takes items until none is left or one has failed."""
        while (position := self._claim()) is not None:
            try:
                self._answers[position] = self._run(self._items[position])
            except BaseException as error:  # surfaces in the caller's thread
                self._errors[position] = error
                self.stop()

    def stop(self) -> None:
        """Begins no further item."""
        with self._lock:
            self._next = len(self._items)

    def results(self) -> list[RawOutputs]:
        """The answers in order, or the error of the earliest item that failed."""
        if self._errors:
            raise self._errors[min(self._errors)]
        return [self._answers[position] for position in range(len(self._items))]

    def _claim(self) -> int | None:
        with self._lock:
            if self._next >= len(self._items):
                return None
            self._next += 1
            return self._next - 1


def num_processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _end(helpers: list[Future[None]]) -> None:
    """Waits for those that have begun; the others would only wait behind other pools' work."""
    if helpers:
        from concurrent.futures import wait

        wait([helper for helper in helpers if not helper.cancel()])


def _workers() -> ThreadPoolExecutor:
    """The threads that all pools of this process share; begun with the first `map` that wants one."""
    from concurrent.futures import ThreadPoolExecutor

    global _executor
    with _executor_lock:
        if _executor is None:
            _executor = ThreadPoolExecutor(max_workers=num_processors(), thread_name_prefix="edgeloop")
        return _executor
