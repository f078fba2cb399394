"""`python -m device_tests`: the checks with the standard library alone, for devices without pytest."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from device_tests.checks import DEVICES, TINY_BUNDLE, check_bundle, check_vector, load_vectors
from edge.errors import EdgeloopError
from edge.update.selftest import hardware_fingerprint


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs every check and counts.

    Returns:
        0 when all passed, 1 otherwise.
    """
    options = _parser().parse_args(arguments)
    print(f"device {options.device}, {hardware_fingerprint()}")
    failed = 0
    checks = _checks([TINY_BUNDLE, *options.bundle])
    for name, check in checks:
        try:
            print(f"ok    {name}{_said(check())}")
        except EdgeloopError as error:
            failed += 1
            print(f"FAIL  {name}: {error}")
    print(f"{len(checks) - failed} passed, {failed} failed")
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m device_tests", description="Checks this device against edgeloop's vectors."
    )
    parser.add_argument("--device", choices=DEVICES, default="local", help="where to run (default: local)")
    parser.add_argument(
        "--bundle", type=Path, action="append", default=[], help="a bundle folder or .edgebundle file; may be repeated"
    )
    return parser


def _checks(bundles: list[Path]) -> list[tuple[str, Callable[[], str | None]]]:
    vectors = [(f"preprocess {vector.name}", partial(check_vector, vector)) for vector in load_vectors()]
    return [*vectors, *((f"bundle {bundle.name}", partial(check_bundle, bundle)) for bundle in bundles)]


def _said(result: str | None) -> str:
    return f" ({result})" if result else ""


if __name__ == "__main__":
    sys.exit(main())
