"""A progress bar for work over many files, on stderr, only where a person looks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

FilesDone: TypeAlias = Callable[[int, int], None]
"""Takes files done and files in all."""


@contextmanager
def file_progress(what: str, *, quiet: bool = False) -> Iterator[FilesDone]:
    """Shows a bar while the block runs.

    Args:
        what: The work, for instance `reading`.
        quiet: Shows nothing.

    Yields:
        A function that takes files done and files in all.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
