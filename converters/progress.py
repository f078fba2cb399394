"""A progress bar over the named steps of a long work, on stderr, only where a person looks; and how long each took."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from converters.types import StepTime


class Steps:
    """The steps of a long work.

    Args:
        show: Called with the step's name, the share of it that is done in [0, 1], and whether it is over.
        clock: Seconds, for the times.
    """

    def __init__(
        self, show: Callable[[str, float], None] = lambda name, share: None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._show, self._clock = show, clock
        self._times: list[StepTime] = []

    @contextmanager
    def step(self, name: str, *, num: int = 1) -> Iterator[Callable[[], None]]:
        """One step.

        Args:
            name: What is done.
            num: How many parts it has.

        Yields:
            A function to call after each part.
        """
        began, done = self._clock(), 0

        def tick() -> None:
            nonlocal done
            done += 1
            self._show(name, min(1.0, done / max(1, num)))

        self._show(name, 0.0)
        yield tick
        self._times.append(StepTime(step=name, seconds=round(self._clock() - began, 3)))

    @property
    def times(self) -> tuple[StepTime, ...]:
        """How long each step took, in their order; steps of one name together."""
        names = dict.fromkeys(one.step for one in self._times)
        return tuple(
            StepTime(step=name, seconds=round(sum(one.seconds for one in self._times if one.step == name), 3))
            for name in names
        )


@contextmanager
def shown_steps(what: str, *, visible: bool = True) -> Iterator[Steps]:
    """Steps with a bar for the one at work, its remaining time, and the time since the beginning.

    Args:
        what: The work, for instance `converting`.
        visible: False shows nothing.
    """
    if not visible or not sys.stderr.isatty():
        yield Steps()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    # Its own handle on stderr: the libraries' output is swallowed by replacing `sys.stderr`.
    console = Console(file=sys.stderr)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[step]}"),
        TimeRemainingColumn(compact=True),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, redirect_stderr=False, redirect_stdout=False) as bar:
        task, shown = bar.add_task(what, total=1.0, step=""), ""

        def show(name: str, share: float) -> None:
            nonlocal shown
            if name != shown:
                shown = name
                bar.reset(task, step=name, total=1.0)
            bar.update(task, completed=share)

        yield Steps(show)


@contextmanager
def counted_pictures() -> Iterator[Callable[[], None]]:
    """A line with the number of pictures so far, rewritten in place on a terminal; nothing elsewhere.

    Yields:
        A function to call after each picture.
    """
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{done} pictures ")
            sys.stderr.flush()

    yield tick
    if done and sys.stderr.isatty():
        sys.stderr.write("\n")
