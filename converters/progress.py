"""A progress bar over the named steps of a long work, on stderr, only where a person looks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def shown_steps(what: str, steps: Sequence[str], *, visible: bool = True) -> Iterator[Callable[[], None]]:
    """Shows a bar while the block runs; the first step has begun when the block does.

    Args:
        what: The work, for instance `converting`.
        steps: What is done, in order.
        visible: False shows nothing.

    Yields:
        A function to call when the next step begins.
    """
    if not visible or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    # Its own handle on stderr: the libraries' output is swallowed by replacing `sys.stderr`.
    console = Console(file=sys.stderr)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[step]}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, redirect_stderr=False, redirect_stdout=False) as bar:
        task = bar.add_task(what, total=len(steps), step=steps[0])
        done = 0

        def begin_next() -> None:
            nonlocal done
            done += 1
            bar.update(task, completed=done, step=steps[min(done, len(steps) - 1)])

        yield begin_next
