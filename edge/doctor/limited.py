"""Runs a check so that it neither hangs nor raises, whatever it meets."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TypeVar

from edge.doctor.types import Check, Finding, State, Subject
from edge.errors import EdgeloopError

T = TypeVar("T")


def within(limit_s: float, work: Callable[[], T], *, otherwise: T) -> T:
    """What `work` returns, or something else where it takes too long.

    What is given up goes on in a thread that ends with the process: nothing can end a call into a driver.

    Args:
        limit_s: How long to wait.
        work: Must not raise.
        otherwise: Returned when it is given up.
    """
    answers: queue.SimpleQueue[T] = queue.SimpleQueue()
    threading.Thread(target=lambda: answers.put(work()), name="edgeloop-doctor", daemon=True).start()
    try:
        return answers.get(timeout=limit_s)
    except queue.Empty:
        return otherwise


def run_check(check: Check, subject: Subject) -> tuple[Finding, ...]:
    """What a check finds; one FAIL that says why where it takes too long or goes wrong."""
    given_up = _failed(check, f"no answer after {check.limit_s:g} s", check.stuck_fix)
    return within(check.limit_s, lambda: _answer(check, subject), otherwise=given_up)


def _answer(check: Check, subject: Subject) -> tuple[Finding, ...]:
    try:
        return check.examine(subject)
    except EdgeloopError as error:
        return _failed(check, error.message, error.hint or "correct the settings")
    except BaseException as cause:  # a finding, not the end: the other checks may say why
        detail = f"the check itself failed: {type(cause).__name__}: {cause}"
        return _failed(check, detail, "report it with the output of --json")


def _failed(check: Check, detail: str, fix: str) -> tuple[Finding, ...]:
    return (Finding(name=check.name, state=State.FAIL, detail=detail, fix=fix),)
