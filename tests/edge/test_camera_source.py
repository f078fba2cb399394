"""Cameras through OpenCV: real streams over HTTP and RTSP that come, break off, hang and are not there.

No camera is plugged in where tests run: of V4L2 only what can be had without one is tried here.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from network_camera import CameraScript, NetworkCamera, http_camera, rtsp_camera
from numbered_pictures import number_of
from source_watching import RealPace, Watcher, camera_threads

from edge.sources.base import FrameSource, SourceOptions
from edge.sources.camera import DeviceGrabber, OpenCvGrabber
from edge.sources.grabber import GrabError
from edge.sources.select import open_source

cv2 = pytest.importorskip("cv2", reason="camera: OpenCV is not installed")

OPTIONS = {"silence_s": 15.0, "backoff_base_s": 0.05, "backoff_cap_s": 0.05}
REFUSED = "lost: it does not answer, does not let us in, or is no camera: check address, user and password"


@dataclass
class Kind:
    """A kind of camera on the network."""

    scheme: str
    camera: Callable[..., AbstractContextManager[NetworkCamera]]

    def address(self, port: int, *, user: str = "", path: str = "/live") -> str:
        return f"{self.scheme}://{user}127.0.0.1:{port}{path}"


@pytest.fixture(params=["http", "rtsp"])
def kind(request: pytest.FixtureRequest) -> Kind:
    return Kind(scheme=request.param, camera=http_camera if request.param == "http" else rtsp_camera)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    for thread in camera_threads():
        thread.join(10)
    assert camera_threads() == []


class Viewer:
    """A source over an address, and what it told."""

    def __init__(self, where: str, **options: float) -> None:
        self.pace, self.watcher = RealPace(), Watcher()
        chosen = SourceOptions(**{**OPTIONS, **options})
        self.source: FrameSource = open_source(
            where, chosen, pace=self.pace, events=self.watcher.events(), jitter=lambda: 1.0
        )

    def numbers(self, count: int) -> list[int]:
        """Of so many frames; then the source is closed."""
        numbers = []
        for frame in self.source.frames():
            assert frame.sequence == len(numbers)
            numbers.append(number_of(frame.data))
            if len(numbers) == count:
                break
        self.source.close()
        return numbers

    def until_lost(self) -> list[str]:
        """Takes frames until the camera is lost for the first time; what was told."""
        self.watcher.on_lost = self.pace.stopped.set
        for _ in self.source.frames():
            continue
        self.source.close()
        return self.watcher.story


def test_a_camera_that_hangs_up_is_called_again(kind: Kind) -> None:
    script = CameraScript(drop_after=30)
    with kind.camera(script) as camera:
        viewer = Viewer(kind.address(camera.port))
        numbers = viewer.numbers(40)
    assert numbers == sorted(set(numbers))
    assert viewer.watcher.story == ["lost: it broke off", "back"]
    assert script.num_sent > 30


def test_a_camera_that_is_not_there_yet_is_waited_for(kind: Kind) -> None:
    with kind.camera(CameraScript()) as camera:
        port = camera.port
    viewer, started = Viewer(kind.address(port)), []

    def start() -> None:
        started.append(kind.camera(CameraScript(), port=port))
        started[0].__enter__()

    viewer.watcher.on_lost = start
    assert len(viewer.numbers(3)) == 3
    assert viewer.watcher.story == [REFUSED, "back"]
    started[0].__exit__(None, None, None)


def test_a_camera_that_falls_silent_is_lost_and_got_back(kind: Kind) -> None:
    script = CameraScript(hang_after=30)
    with kind.camera(script) as camera:
        viewer = Viewer(kind.address(camera.port), silence_s=0.6)

        def mend() -> None:
            script.hang_after = None

        viewer.watcher.on_lost = mend
        assert len(viewer.numbers(60)) == 60
    assert viewer.watcher.story == ["lost: it gave no frame for 0.6 s", "back"]


def test_a_camera_that_never_answers_is_lost(kind: Kind) -> None:
    with kind.camera(CameraScript(is_mute=True)) as camera:
        assert Viewer(kind.address(camera.port), silence_s=0.4).until_lost() == ["lost: it gave no frame for 0.4 s"]


def test_a_wrong_path(kind: Kind) -> None:
    with kind.camera(CameraScript()) as camera:
        assert Viewer(kind.address(camera.port, path="/other")).until_lost() == [REFUSED]


def test_stop_does_not_wait_for_a_native_call_that_hangs(kind: Kind) -> None:
    with kind.camera(CameraScript(hang_after=30)) as camera:
        viewer = Viewer(kind.address(camera.port), silence_s=60.0)
        frames = viewer.source.frames()
        for _ in range(5):
            next(frames)
        threading.Timer(0.7, viewer.pace.stopped.set).start()
        for _ in frames:
            continue
        viewer.source.close()
        assert len(camera_threads()) == 1
    assert viewer.watcher.story == []


def test_a_user_and_password_that_fit(kind: Kind) -> None:
    script = CameraScript(credentials="ada:p@ss/w:rd")
    with kind.camera(script) as camera:
        viewer = Viewer(kind.address(camera.port, user="ada:p%40ss%2Fw%3Ard@"))
        frame = next(viewer.source.frames())
        viewer.source.close()
    assert frame.source == f"{kind.scheme}://127.0.0.1:{camera.port}/live"
    assert viewer.watcher.story == []


def test_a_password_is_never_told(kind: Kind) -> None:
    told = []
    with kind.camera(CameraScript(credentials="ada:right")) as camera:
        where = kind.address(camera.port, user="ada:s3cret@", path="/live?key=s3cret")
        told += Viewer(where).until_lost()
    told += Viewer(where).until_lost()
    assert told == [REFUSED] * 2


def test_rtsp_goes_over_tcp() -> None:
    script = CameraScript()
    with rtsp_camera(script) as camera:
        Viewer(f"rtsp://127.0.0.1:{camera.port}/live").numbers(1)
    transports = [line for request in script.requests for line in request.split("\r\n") if "Transport:" in line]
    assert transports
    assert all("RTP/AVP/TCP" in line for line in transports)


_ALONE = """
import sys
import threading
from source_watching import RealPace, Watcher
from edge.sources.base import SourceOptions
from edge.sources.select import open_source

where, silence_s, stop_after_s, ending = sys.argv[1:]
options = SourceOptions(silence_s=float(silence_s), backoff_base_s=0.05, backoff_cap_s=0.05)
pace, watcher = RealPace(), Watcher()
watcher.on_lost = pace.stopped.set
source = open_source(where, options, pace=pace, events=watcher.events(), jitter=lambda: 1.0)
timer = threading.Timer(float(stop_after_s), pace.stopped.set)
timer.daemon = True
timer.start()
num_frames = sum(1 for _ in source.frames())
if ending == "close":
    source.close()
print(watcher.story, num_frames > 0)
"""


def run_alone(
    repository: Path, where: str, *, silence_s: float, stop_after_s: float = 30.0, ending: str = "close"
) -> subprocess.CompletedProcess[str]:
    """A process of its own, whose standard error is looked at."""
    path = f"import sys\nsys.path[:0] = [{str(repository)!r}, {str(repository / 'tests')!r}]\n"
    arguments = (where, str(silence_s), str(stop_after_s), ending)
    return subprocess.run(
        [sys.executable, "-c", path + _ALONE, *arguments], check=False, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("trouble", ["refused", "wrong path", "wrong password", "drops", "hangs"])
def test_libraries_write_nothing_to_standard_error(kind: Kind, trouble: str, repository: Path) -> None:
    script = CameraScript(
        credentials="ada:right" if trouble == "wrong password" else "",
        path="/other" if trouble == "wrong path" else "/live",
        drop_after=30 if trouble == "drops" else None,
        hang_after=30 if trouble == "hangs" else None,
    )
    with kind.camera(script) as camera:
        if trouble == "refused":
            camera.stop()
        where = kind.address(camera.port, user="ada:s3cret@", path="/live?key=s3cret")
        done = run_alone(repository, where, silence_s=0.7)
    assert (done.returncode, done.stderr) == (0, "")
    assert "lost" in done.stdout
    assert "s3cret" not in done.stdout


@pytest.mark.parametrize("ending", ["close", "leave it open"])
@pytest.mark.parametrize("hang_after", [30, None])
def test_a_process_ends_well_whatever_its_camera_does(
    kind: Kind, hang_after: int | None, ending: str, repository: Path
) -> None:
    with kind.camera(CameraScript(hang_after=hang_after)) as camera:
        done = run_alone(repository, kind.address(camera.port), silence_s=60.0, stop_after_s=1.0, ending=ending)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "[] True\n")


# Plugged in.


@pytest.mark.parametrize("where", ["camera:250", "/dev/video250", "/dev/v4l/by-id/usb-none-video-index0"])
def test_a_camera_that_is_not_plugged_in_is_lost(where: str) -> None:
    path = "/dev/video250" if where == "camera:250" else where
    assert Viewer(where).until_lost() == [f"lost: there is no {path}"]


def test_a_device_that_is_no_camera() -> None:
    grabber = DeviceGrabber(cv2, "/dev/null", SourceOptions())
    with pytest.raises(GrabError, match="it is no camera, or another program has it"):
        grabber.open()
    grabber.close()


class StandIn:
    """OpenCV with a capture that notes what is set and gives what it is told to; the rest is the library's own."""

    def __init__(self, *frames: object) -> None:
        self.settings: dict[int, float] = {}
        self.frames = list(frames)
        self.opened: tuple[object, ...] = ()
        self.num_released = 0

    def __getattr__(self, name: str) -> object:
        return getattr(cv2, name)

    def VideoCapture(self, *arguments: object) -> SimpleNamespace:  # noqa: N802
        self.opened = arguments
        return SimpleNamespace(
            isOpened=lambda: True, set=self._set, grab=self._grab, retrieve=self._retrieve, release=self._release
        )

    def _set(self, number: int, value: float) -> bool:
        self.settings[number] = value
        return False

    def _grab(self) -> bool:
        if self.frames and isinstance(self.frames[0], Exception):
            raise self.frames[0]
        return bool(self.frames)

    def _retrieve(self) -> tuple[bool, object]:
        frame = self.frames.pop(0)
        return frame is not None, frame

    def _release(self) -> None:
        self.num_released += 1


def plugged_in(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, **options: int) -> OpenCvGrabber:
    monkeypatch.setattr("edge.sources.camera.os.access", lambda path, mode: True)
    monkeypatch.setattr(sys, "platform", "linux")
    grabber = DeviceGrabber(stand_in, "camera:3", SourceOptions(**options))
    grabber.open()
    return grabber


def test_what_is_asked_of_a_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = StandIn()
    plugged_in(stand_in, monkeypatch, width=1920, height=1080)
    assert stand_in.opened == ("/dev/video3", cv2.CAP_V4L2, [])
    assert stand_in.settings == {
        cv2.CAP_PROP_FOURCC: cv2.VideoWriter.fourcc(*"MJPG"),
        cv2.CAP_PROP_FRAME_WIDTH: 1920,
        cv2.CAP_PROP_FRAME_HEIGHT: 1080,
        cv2.CAP_PROP_BUFFERSIZE: 1,
    }


def test_without_a_size_a_camera_keeps_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = StandIn()
    plugged_in(stand_in, monkeypatch)
    assert stand_in.settings == {cv2.CAP_PROP_BUFFERSIZE: 1}


def test_frames_become_rgb_and_damaged_ones_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    bgr = np.zeros((4, 6, 3), np.uint8)
    bgr[..., 0] = 200
    grey = np.full((4, 6), 7, np.uint8)
    stand_in = StandIn(bgr, grey, grey[..., np.newaxis], None, grey.astype(np.uint16))
    grabber = plugged_in(stand_in, monkeypatch)
    got = []
    for _ in range(5):
        grabber.grab()
        got.append(grabber.retrieve())
    pixels = [None if frame is None else (frame.shape, tuple(frame[0, 0].tolist())) for frame in got]
    assert pixels == [((4, 6, 3), (0, 0, 200)), ((4, 6, 3), (7, 7, 7)), ((4, 6, 3), (7, 7, 7)), None, None]
    with pytest.raises(GrabError, match="it broke off"):
        grabber.grab()
    grabber.close()
    assert stand_in.num_released == 1


def test_what_a_driver_raises_is_a_lost_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    grabber = plugged_in(StandIn(cv2.error("s3cret")), monkeypatch)
    with pytest.raises(GrabError, match="its driver failed") as caught:
        grabber.grab()
    assert "s3cret" not in str(caught.value)


def test_a_camera_that_may_not_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.sources.camera.os.access", lambda path, mode: mode == os.F_OK)
    monkeypatch.setattr(sys, "platform", "linux")
    grabber = DeviceGrabber(cv2, "/dev/video0", SourceOptions())
    with pytest.raises(GrabError, match="no permission to use /dev/video0: add this user to the group video"):
        grabber.open()
