"""Threads that may wait: whatever they do, the frames come first."""

from __future__ import annotations

import contextlib
import os
import sys
import threading

NICENESS = 10
SWITCH_S = 0.0005


def lower_priority() -> None:
    """Makes the calling thread give way to those that answer frames (Linux counts niceness by thread)."""
    if hasattr(os, "setpriority"):
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def switch_threads_quickly() -> None:
    """Has a thread that computes in Python give way within half a millisecond, not five; of the whole process.

    A frame whose network has just ended would otherwise wait for the link to finish its turn.
    """
    sys.setswitchinterval(SWITCH_S)
