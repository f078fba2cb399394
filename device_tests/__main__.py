"""`python -m device_tests`: the checks with the standard library alone, for devices without pytest."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from device_tests.compare import both_hold, comparison_lines
from device_tests.devices import Target, run_on
from device_tests.options import make_parser, plan_of, target_of
from device_tests.plan import Plan
from device_tests.reference import reference_of
from device_tests.report import CheckResult, Report, Status, read_report
from edge import jsonvalue
from edge.durable import storage_error
from edge.errors import EdgeloopError

_WORDS = {Status.OK: "ok", Status.SLOW: "SLOW", Status.SKIPPED: "skip", Status.FAILED: "FAIL"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs every check and counts, or compares two reports.

    Returns:
        0 when all passed, 1 when one failed or two reports differ, 2 when asked for what makes no sense.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if words[:1] == ["compare"]:
            return _compare(words[1:])
        return _run(make_parser().parse_args(words))
    except EdgeloopError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _run(options: argparse.Namespace) -> int:
    plan, target = plan_of(options), target_of(options)
    show = _show if not options.quiet else lambda result: None
    report = run_on(target, plan, progress=show)
    if options.json:
        _write(options.json, jsonvalue.pretty_bytes(report))
    if options.write_reference:
        _write(options.write_reference, jsonvalue.pretty_bytes(reference_of(report)))
    if not options.quiet:
        print(_summary(report))
    same = _compare_with_here(target, plan, report)
    return 0 if same and not report.count()[Status.FAILED] else 1


def _compare_with_here(target: Target, plan: Plan, report: Report) -> bool:
    """An emulated board's outputs against those of this machine."""
    if target.device != "arm64" or not report.outputs:
        return True
    here = run_on(Target(), replace(plan, groups=("outputs",)))
    print("\n".join(comparison_lines(here, report)))
    return both_hold(here, report)


def _compare(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m device_tests compare", description="Compares two reports.")
    parser.add_argument("first", type=Path, help="report of one machine (--json)")
    parser.add_argument("second", type=Path, help="report of the other")
    options = parser.parse_args(words)
    first, second = read_report(options.first), read_report(options.second)
    print("\n".join(comparison_lines(first, second)))
    return 0 if both_hold(first, second) else 1


def _show(result: CheckResult) -> None:
    said = f": {result.detail}" if result.detail else ""
    print(f"{_WORDS[result.status]:5} {result.group} {result.name}{said}", flush=True)


def _summary(report: Report) -> str:
    counts, device = report.count(), report.device
    passed, failed = counts[Status.OK] + counts[Status.SLOW], counts[Status.FAILED]
    where = f"{device.device}: {device.board}, {device.machine}, Python {device.python}"
    return f"{where}\n{passed} passed, {failed} failed, {counts[Status.SKIPPED]} skipped, {counts[Status.SLOW]} slow"


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as cause:
        raise storage_error(path, cause) from cause


if __name__ == "__main__":
    sys.exit(main())
