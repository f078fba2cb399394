"""The groups of checks. A new group is a function from the plan to its checks, and one line here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from device_tests.answers import answer_checks
from device_tests.checks import bundle_checks, preprocess_checks
from device_tests.detections import detect_checks
from device_tests.faults import fault_checks
from device_tests.latency import latency_checks
from device_tests.memory import memory_checks
from device_tests.models import output_checks
from device_tests.plan import Check, Plan
from edge.errors import UsageError

GROUPS: Mapping[str, Callable[[Plan], Iterator[Check]]] = {
    "preprocess": preprocess_checks,
    "answers": answer_checks,
    "detections": detect_checks,
    "bundle": bundle_checks,
    "outputs": output_checks,
    "latency": latency_checks,
    "memory": memory_checks,
    "faults": fault_checks,
}


def checks_of(plan: Plan) -> tuple[Check, ...]:
    """Every check of the plan's groups, in the order they run; the same names on every machine.

    Raises:
        UsageError: There is no such group.
    """
    if unknown := [name for name in plan.groups if name not in GROUPS]:
        raise UsageError(f"no group {unknown[0]!r}", hint=f"choose from: {', '.join(GROUPS)}")
    wanted = plan.groups or tuple(GROUPS)
    return tuple(check for name, group in GROUPS.items() if name in wanted for check in group(plan))
