"""What every test may use: options, fixtures, and skips that say why and are counted at the end."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from postgres_server import PostgresServer
    from s3_server import S3Server

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
    group.addoption("--chaos-minutes", type=float, default=10.0, help="how long the chaos test breaks things (10)")
    group.addoption("--chaos-devices", type=int, default=200, help="devices of the chaos test (200)")
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


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A real PostgreSQL; only for tests marked `server`. Whoever stops it starts it again."""
    from postgres_server import running_postgres

    with running_postgres() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """URL of an empty database; only for tests marked `server`."""
    url = postgres_server.new_database()
    yield url
    postgres_server.drop_database(url)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """A local S3 server; only for tests marked `server`. Other processes need its `environment`."""
    from s3_server import has_moto, running_s3

    if not has_moto():
        pytest.skip("server: no moto[server] or s3fs")
    with running_s3() as server:
        yield server


@pytest.fixture
def s3_objects_url(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """URL of an empty place in an S3 bucket, with the environment set for it; only for tests marked `server`."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return s3_server.new_bucket()


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
