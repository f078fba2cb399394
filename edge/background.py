"""Threads that may wait: whatever they do, the frames come first."""

from __future__ import annotations

import contextlib
import os
import threading

NICENESS = 10


def lower_priority() -> None:
    """Makes the calling thread give way to those that answer frames (Linux counts niceness by thread)."""
    if hasattr(os, "setpriority"):
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
