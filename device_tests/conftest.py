"""Options of `pytest device_tests`."""

from __future__ import annotations

from pathlib import Path

import pytest

from device_tests.checks import DEVICES, TINY_BUNDLE, load_vectors


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("device_tests")
    group.addoption("--device", choices=DEVICES, default="local", help="where to run (default: local)")
    group.addoption(
        "--bundle",
        type=Path,
        action="append",
        default=[],
        help="a bundle folder or .edgebundle file; may be repeated",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "vector" in metafunc.fixturenames:
        metafunc.parametrize("vector", load_vectors(), ids=lambda vector: vector.name)
    if "bundle_path" in metafunc.fixturenames:
        bundles = [TINY_BUNDLE, *metafunc.config.getoption("--bundle")]
        metafunc.parametrize("bundle_path", bundles, ids=lambda path: path.name)
