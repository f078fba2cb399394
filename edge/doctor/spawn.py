"""Starts `edge.doctor.child` and reads what came of it, however it ended."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import edge

_TELLING = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a process came to.

    Attributes:
        ok: Whether the work was done.
        detail: What it says, or how it ended, in one line.
        fix: What to do about it; empty where nothing is known.
        crashed: Whether it ended without a word.
    """

    ok: bool
    detail: str
    fix: str = ""
    crashed: bool = False


def run_child(*words: str, limit_s: float) -> Outcome:
    """Does one piece of work in a process of its own.

    Args:
        words: For `edge.doctor.child`.
        limit_s: It is ended after so long.
    """
    command = [sys.executable, "-m", "edge.doctor.child", *words]
    folder = Path(edge.__file__).resolve().parents[1]
    try:
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, errors="replace", timeout=limit_s, cwd=folder, check=False
        )
    except subprocess.TimeoutExpired:
        return Outcome(ok=False, detail=f"not done after {limit_s:g} s", crashed=True)
    except OSError as cause:
        return Outcome(ok=False, detail=f"no process could be started: {(cause.strerror or '').lower()}", crashed=True)
    return _read(done)


def _read(done: subprocess.CompletedProcess[str]) -> Outcome:
    lines = done.stdout.strip().splitlines()
    try:
        answer = json.loads(lines[-1]) if done.returncode == 0 and lines else None
    except ValueError:
        answer = None
    if isinstance(answer, dict):
        return Outcome(ok=bool(answer.get("ok")), detail=str(answer.get("detail")), fix=str(answer.get("fix")))
    if done.returncode < 0:
        return Outcome(ok=False, detail=f"the process was ended by {_signal_name(-done.returncode)}", crashed=True)
    last = (done.stderr.strip().splitlines() or ["no word"])[-1][:_TELLING]
    return Outcome(ok=False, detail=f"the process ended with status {done.returncode}: {last}", crashed=True)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
