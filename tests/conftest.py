"""What every test may use: options, fixtures, and skips that say why and are counted at the end."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
REPOSITORY = TESTS.parent
# The repository comes first: where pytest is started bare, `tests/edge` would pass for the package `edge` otherwise.
for folder in (TESTS, REPOSITORY):
    if str(folder) in sys.path:
        sys.path.remove(str(folder))
    sys.path.insert(0, str(folder))


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("edgeloop")
    group.addoption(
        "--data-root",
        type=Path,
        default=REPOSITORY.parent / "shared" / "data",
        help="folder of real pictures, for tests marked `data` (default: ../shared/data beside the repository)",
    )
    group.addoption("--update-goldens", action="store_true", help="rewrite golden files instead of comparing with them")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    reasons: dict[str, str] = {}
    for item in items:
        for marker in _NEEDS:
            if item.get_closest_marker(marker) is None:
                continue
            if marker not in reasons:
                reasons[marker] = _NEEDS[marker](config)
            if reasons[marker]:
                item.add_marker(pytest.mark.skip(reason=f"{marker}: {reasons[marker]}"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Counts what was skipped for what."""
    counts: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        counts[reason.removeprefix("Skipped: ")] += 1
    if counts:
        terminalreporter.section("skipped, by reason")
        for reason, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])):
            terminalreporter.line(f"{count:5d}  {reason}")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the source tree."""
    return REPOSITORY


@pytest.fixture(scope="session")
def data_root(request: pytest.FixtureRequest) -> Path:
    """The folder of real pictures; only for tests marked `data`."""
    return request.config.getoption("--data-root")


@pytest.fixture(scope="session")
def update_goldens(request: pytest.FixtureRequest) -> bool:
    """Whether golden files shall be rewritten."""
    return request.config.getoption("--update-goldens")


@pytest.fixture(scope="session")
def make_bundle() -> Callable[..., Path]:
    """`make_bundle(folder, *, version=1, name="tiny", labels=(…), flavour=0) -> Path`: a proven bundle folder."""
    from tiny_bundles import build_bundle

    return build_bundle


@pytest.fixture
def tiny_bundle(make_bundle: Callable[..., Path], tmp_path: Path) -> Path:
    """A proven bundle folder with the defaults of `make_bundle`."""
    return make_bundle(tmp_path / "tiny-bundle")


@pytest.fixture(scope="session")
def picture_bytes() -> Callable[..., bytes]:
    """`picture_bytes(colour, *, size=(48, 40), kind="PNG") -> bytes`; "red", "green", "blue", "grey" or an RGB."""
    from tiny_bundles import picture_bytes

    return picture_bytes


@pytest.fixture
def durable_points() -> Iterator[list[str]]:
    """Names of the durable writes that the test went through."""
    from edge import durable

    points: list[str] = []
    durable.observe(points.append)
    yield points
    durable.observe(None)


def _no_data(config: pytest.Config) -> str:
    root = config.getoption("--data-root")
    return "" if root.is_dir() else f"no pictures at {root} (--data-root)"


def _no_faults(config: pytest.Config) -> str:
    if sys.platform != "linux":
        return "needs Linux"
    return "" if os.geteuid() == 0 else "needs root"


def _no_gpu(config: pytest.Config) -> str:
    return "" if Path("/dev/nvidia0").exists() else "no NVIDIA device"


def _no_browser(config: pytest.Config) -> str:
    known = ("chromium", "chromium-browser", "google-chrome")
    return "" if any(shutil.which(name) for name in known) else "no Chromium"


def _no_arm64(config: pytest.Config) -> str:
    emulated = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    return "" if platform.machine() == "aarch64" or emulated else "no arm64 machine and no emulator"


def _no_server(config: pytest.Config) -> str:
    installed = shutil.which("postgres") or any(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    return "" if installed else "no PostgreSQL"


_NEEDS: dict[str, Callable[[pytest.Config], str]] = {
    "data": _no_data,
    "faults": _no_faults,
    "gpu": _no_gpu,
    "browser": _no_browser,
    "arm64": _no_arm64,
    "server": _no_server,
}
