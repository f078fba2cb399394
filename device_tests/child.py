"""Processes that a check starts for itself: a fresh memory, a missing library, a disk of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from device_tests.plan import MismatchError, Plan, SkippedError

SKIPPED = 77
TIMEOUT_S = 1800.0


def run_child(plan: Plan, module: str, *arguments: str) -> str:
    """Runs `python -m device_tests.<module>` and returns what it printed.

    Raises:
        SkippedError: It ended with status 77; its last line says why.
        MismatchError: It failed, crashed or took too long; its last line says why.
    """
    command = [*plan.launcher, sys.executable, "-m", f"device_tests.{module}", *arguments]
    root = str(Path(__file__).resolve().parents[1])
    paths = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH", ""))))
    environment = os.environ | {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, errors="replace", env=environment, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as cause:
        raise MismatchError(f"{module}: not done after {TIMEOUT_S:.0f} s") from cause
    if done.returncode == 0:
        return done.stdout
    lines = (done.stderr.strip() or "no message").splitlines()
    if done.returncode == SKIPPED:
        raise SkippedError(lines[-1])
    ended = f"signal {-done.returncode}" if done.returncode < 0 else f"status {done.returncode}"
    raise MismatchError(f"{module} ended with {ended}: {lines[-1]}")
