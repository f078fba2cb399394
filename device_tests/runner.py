"""Runs checks one after the other; one that fails does not stop the next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from device_tests.plan import Check, Finding, SkippedError
from device_tests.report import FORMAT_VERSION, CheckResult, DeviceDescription, Report, Status
from edge.errors import EdgeloopError


def run_check(check: Check) -> tuple[CheckResult, Finding]:
    """Runs one check; whatever it raises becomes its result."""
    try:
        found = check.run()
    except SkippedError as reason:
        return _result(check, Status.SKIPPED, str(reason)), Finding()
    except EdgeloopError as error:
        return _result(check, Status.FAILED, str(error)), Finding()
    except Exception as error:  # a device that surprises a check must still report the others
        return _result(check, Status.FAILED, f"{type(error).__name__}: {error}"), Finding()
    return _result(check, Status.SLOW if found.slow else Status.OK, found.detail), found


def run_checks(
    checks: Sequence[Check], device: DeviceDescription, *, progress: Callable[[CheckResult], None] = lambda result: None
) -> Report:
    """Runs all of them.

    Args:
        checks: In this order.
        device: What this machine is.
        progress: Told each result as it comes.
    """
    results, findings = [], []
    for check in checks:
        result, found = run_check(check)
        results.append(result)
        findings.append(found)
        progress(result)
    return Report(
        format_version=FORMAT_VERSION,
        taken_at=datetime.now(UTC).isoformat(timespec="seconds"),
        device=device,
        checks=tuple(results),
        outputs=tuple(item for found in findings for item in found.outputs),
        latency=tuple(item for found in findings for item in found.latency),
        memory=tuple(item for found in findings for item in found.memory),
    )


def _result(check: Check, status: Status, detail: str) -> CheckResult:
    return CheckResult(group=check.group, name=check.name, status=status, detail=detail)
