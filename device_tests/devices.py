"""Where a plan runs: here, on an emulated board, or on a board over ssh."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from device_tests.device import describe_device
from device_tests.groups import checks_of
from device_tests.plan import Plan
from device_tests.reference import find_reference
from device_tests.report import CheckResult, Report
from device_tests.runner import run_checks
from edge.errors import UsageError

_SSH = "ssh:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A device to test.

    Attributes:
        device: `local`, `arm64` or `ssh:HOST`.
        cpu: Processor to emulate, for `arm64`.
        python: Interpreter on the board, for `ssh:HOST`.
        ssh_options: Options of ssh as `Name=value`.
        install_packages: Whether apt-get may install what `arm64` needs.
    """

    device: str = "local"
    cpu: str = "cortex-a72"
    python: str = "python3"
    ssh_options: tuple[str, ...] = ()
    install_packages: bool = False

    def __post_init__(self) -> None:
        """Refuses devices that are none."""
        if self.device not in ("local", "arm64") and not (self.device.startswith(_SSH) and self.device != _SSH):
            raise UsageError(f"no device {self.device!r}", hint="choose local, arm64 or ssh:HOST")


def run_on(target: Target, plan: Plan, *, progress: Callable[[CheckResult], None] = lambda result: None) -> Report:
    """Runs a plan on a device.

    Args:
        target: Where.
        plan: What.
        progress: Told each result: as it comes on this machine, at the end on another.

    Raises:
        UsageError: Something is missing on this machine.
        EdgeloopError: The device could not run the tests at all.
    """
    if target.device == "local":
        device = describe_device(emulated=plan.emulated)
        here = plan if plan.reference else replace(plan, reference=find_reference(device))
        return run_checks(checks_of(here), device, progress=progress)
    checks_of(plan)  # a wrong group is refused before anything travels
    report = _run_far(target, plan)
    for result in report.checks:
        progress(result)
    return report


def _run_far(target: Target, plan: Plan) -> Report:
    if target.device == "arm64":
        from device_tests.arm64 import run_emulated

        return run_emulated(plan, cpu=target.cpu, install_packages=target.install_packages)
    from device_tests.ssh import run_over_ssh

    host = target.device.removeprefix(_SSH)
    return run_over_ssh(plan, host, python=target.python, options=target.ssh_options)
