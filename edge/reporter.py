"""Says about once a second how the agent does, in a thread of its own: no disk and no terminal holds up a frame."""

from __future__ import annotations

import threading
from collections.abc import Callable

from edge.background import lower_priority
from edge.errors import EdgeloopError

INTERVAL_S = 1.0


class Reporter:
    """Calls one function again and again until it is stopped.

    Args:
        say_how_it_goes: Writes the status; what it raises is reported and tried again.
        report: Told in one line what went wrong.
    """

    def __init__(self, say_how_it_goes: Callable[[], None], *, report: Callable[[str], None]) -> None:
        self._say_how_it_goes = say_how_it_goes
        self._report = report
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="edgeloop-reporter", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self, *, timeout_s: float) -> None:
        """Ends, and says it a last time; a disk that stands still is not waited for."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        else:
            self.once()

    def once(self) -> None:
        """Says it now."""
        try:
            self._say_how_it_goes()
        except EdgeloopError as error:
            self._report(str(error))

    def _run(self) -> None:
        lower_priority()
        while not self._stopping.wait(INTERVAL_S):
            self.once()
        self.once()
