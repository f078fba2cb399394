"""What the fault tests share: a signed release, a server that has it, a camera, a device that is never left over."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import network_camera
import pytest
from device_runs import DeviceRun
from device_world import publish, root_file
from loopback_server import RunningServer, ServerState, loopback_server
from network_camera import CameraScript, NetworkCamera, http_camera
from numbered_pictures import HEIGHT, numbered
from PIL import Image
from released_files import files_of

from edge.bundle.manifest import KeepPolicy


def pytest_itemcollected(item: pytest.Item) -> None:
    """All of them take seconds and stop at nothing: `make test-all` runs them."""
    if Path(__file__).parent in item.path.parents:
        item.add_marker(pytest.mark.faults)


def unlike_all_others(number: int) -> bytes:
    """A picture with the lower eight bits of its number in the upper half, and the next eight below."""
    picture = numbered(number)
    picture[HEIGHT // 2 :] = numbered(number >> 8)[HEIGHT // 2 :]
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=90)
    return file.getvalue()


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory, make_bundle: Callable[..., Path]) -> Path:
    """A store with a release on `stable` that keeps every picture; its bundle lies beside it."""
    folder = tmp_path_factory.mktemp("release")
    make_bundle(folder / "bundle", keep=KeepPolicy(random_fraction=1.0))
    publish(folder / "store", folder / "bundle", now=time.time())
    return folder / "store"


@pytest.fixture
def server(release: Path) -> Iterator[RunningServer]:
    """A real gRPC server on loopback that has the release, and counts what it stores."""
    with loopback_server() as running:
        running.state.files = files_of(release)
        yield running


@pytest.fixture
def state(server: RunningServer) -> ServerState:
    """What that server has: the oracle of what has arrived."""
    return server.state


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> Iterator[NetworkCamera]:
    """Ten pictures a second, no two of them alike, by Motion JPEG over HTTP."""
    pytest.importorskip("cv2", reason="no OpenCV here (extra camera)")
    monkeypatch.setattr(network_camera, "jpeg", unlike_all_others)
    with http_camera(CameraScript(interval_s=0.1)) as running:
        yield running


@pytest.fixture
def live(camera: NetworkCamera) -> str:
    """What a device is told, to watch it."""
    return f"http://127.0.0.1:{camera.port}{camera.script.path}"


@pytest.fixture
def start(tmp_path: Path, release: Path, server: RunningServer) -> Iterator[Callable[..., DeviceRun]]:
    """`start(home, source, *arguments, **options) -> DeviceRun`: killed at the end, if it still runs."""
    runs: list[DeviceRun] = []

    def begin(home: Path, source: object, *arguments: object, **options: object) -> DeviceRun:
        told = ("--server", server.target, "--root", root_file(release), "--source", source, *arguments)
        runs.append(DeviceRun(home, tmp_path / "desk", *told, **options))
        return runs[-1]

    yield begin
    for run in runs:
        run.kill()
