"""The `edgeloop` process that device tests start: the real command, and what a test wants to go wrong in it.

DIE_AT=N kills it (SIGKILL) at its N-th durable point; DIE_AT_POINT=NAME at the first of that name; POINTS=FILE writes
down every point it passes; FILE_LIMIT=BYTES lets no file grow beyond that, as a full disk would; NOTES=FILE writes down
what it did (`witness`).
"""

from __future__ import annotations

import os
import resource
import select
import signal
import time
from pathlib import Path

from edge import durable

_passed = 0


def watch(point: str) -> None:
    global _passed
    _passed += 1
    if notes := os.environ.get("POINTS"):
        with Path(notes).open("a") as file:
            file.write(f"{point}\n")
    if os.environ.get("DIE_AT") == str(_passed) or os.environ.get("DIE_AT_POINT") == point:
        os.kill(os.getpid(), signal.SIGKILL)


def sleep_otherwise() -> None:
    """Under libfaketime Python's own `time.sleep` fails."""
    time.sleep = lambda seconds: select.select((), (), (), max(0.0, seconds)) and None


if __name__ == "__main__":
    durable.observe(watch)
    if limit := os.environ.get("FILE_LIMIT"):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))
    if "FAKETIME_TIMESTAMP_FILE" in os.environ:
        sleep_otherwise()
    if notes := os.environ.get("NOTES"):
        from witness import take_notes

        take_notes(Path(notes))
    from cloud_train.cli import main

    main()
