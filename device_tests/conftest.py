"""Options of `pytest device_tests`: those of `python -m device_tests`, and one test for each check."""

from __future__ import annotations

import argparse

import pytest

from device_tests.devices import run_on
from device_tests.groups import checks_of
from device_tests.options import make_parser, plan_of, target_of
from device_tests.plan import Check
from device_tests.report import CheckResult
from device_tests.runner import run_check

_RESULTS = pytest.StashKey[dict[tuple[str, str], CheckResult]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("device_tests")
    group.addoption("--device", default="local", help="local, arm64 (emulated) or ssh:HOST (default: local)")
    group.addoption("--bundle", action="append", default=[], help="bundle folder or .edgebundle file; may be repeated")
    group.addoption("--group", action="append", default=[], help="only this group of checks; may be repeated")
    group.addoption("--cpu", default="cortex-a72", help="processor to emulate (default: cortex-a72)")
    group.addoption("--memory-frames", default=None, help="frames of a memory check")
    group.addoption("--board-python", default="python3", help="interpreter on the ssh host (default: python3)")
    group.addoption("--ssh-option", action="append", default=[], help="handed to ssh -o; may be repeated")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "check" in metafunc.fixturenames:
        checks = checks_of(plan_of(_options(metafunc.config)))
        metafunc.parametrize("check", checks, ids=lambda check: f"{check.group}: {check.name}")


@pytest.fixture
def result(check: Check, request: pytest.FixtureRequest) -> CheckResult:
    """How one check ended on the device; another device runs all of them once, at the first."""
    options = _options(request.config)
    if options.device == "local":
        return run_check(check)[0]
    if _RESULTS not in request.config.stash:
        report = run_on(target_of(options), plan_of(options))
        request.config.stash[_RESULTS] = {(item.group, item.name): item for item in report.checks}
    return request.config.stash[_RESULTS][check.group, check.name]


def _options(config: pytest.Config) -> argparse.Namespace:
    words = ["--device", config.getoption("--device"), "--cpu", config.getoption("--cpu")]
    words += ["--python", config.getoption("--board-python")]
    for name in ("--bundle", "--group", "--ssh-option"):
        words += [word for value in config.getoption(name) for word in (name, str(value))]
    if config.getoption("--memory-frames"):
        words += ["--memory-frames", config.getoption("--memory-frames")]
    return make_parser().parse_args(words)
