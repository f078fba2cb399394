"""What a source's name leads to, and what is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from numbered_pictures import jpeg, write_folder
from source_watching import RealPace, Watcher, camera_threads

from edge.errors import MissingExtraError, UsageError
from edge.sources.base import FrameSource, SourceOptions
from edge.sources.folder import FolderSource
from edge.sources.select import open_source, public_name


def opened(where: str) -> FrameSource:
    return open_source(where, SourceOptions(), pace=RealPace(), events=Watcher().events(), jitter=lambda: 0.0)


def test_a_folder(tmp_path: Path) -> None:
    source = opened(str(write_folder(tmp_path / "pictures", range(2))))
    assert isinstance(source, FolderSource)
    assert not source.is_live


@pytest.mark.parametrize(
    "where",
    ["camera:0", "camera:12", "/dev/video0", "/dev/v4l/by-id/usb-Cam-video-index0", "rtsp://c/x", "HTTPS://c:1/x"],
)
def test_a_camera_is_opened_by_its_first_frame_only(where: str) -> None:
    pytest.importorskip("cv2", reason="camera: OpenCV is not installed")
    source = opened(where)
    assert source.is_live
    assert source.current_pass == 1
    source.close()
    assert list(source.frames()) == []
    assert camera_threads() == []


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("{folder}/none", "no folder, video or camera {folder}/none"),
        ("", "no source of frames"),
        ("  ", "no source of frames"),
        ("camera:", "no folder, video or camera camera:"),
        ("camera:-1", "no folder, video or camera camera:-1"),
        ("camera:front", "no folder, video or camera camera:front"),
        ("/dev/videos", "no folder, video or camera /dev/videos"),
        ("zero\0byte", "no folder, video or camera zero?byte"),
        ("{folder}/a.jpg", "{folder}/a.jpg is a single picture"),
        ("{folder}/empty", "no pictures in {folder}/empty"),
        ("x" * 5000, "{long} cannot be read: file name too long"),
        ("ftp://ada:s3cret@host/x", "no way to open ftp://host/x"),
        ("rtsp://ada:x/s3cret@host/x", "rtsp://… is not the address of a camera"),
        ("rtsp:/ada:s3cret@host/x", "no folder, video or camera …"),
        ("ada:s3cret@host", "no folder, video or camera …"),
    ],
)
def test_what_is_none_of_these_is_refused(where: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(1))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError) as caught:
        opened(where.replace("{folder}", str(tmp_path)))
    assert caught.value.message == message.replace("{folder}", str(tmp_path)).replace("{long}", "x" * 5000)
    assert caught.value.hint or "cannot be read" in caught.value.message
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("where", ["camera:0", "rtsp://camera/live", "{file}"])
def test_without_opencv_the_extra_is_named(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingExtraError, match=r"opencv-python-headless is not installed") as caught:
        opened(where.replace("{file}", str(tmp_path / "a.mp4")))
    assert caught.value.hint == 'pip install "edgeloop[camera]"'


def test_a_folder_needs_no_opencv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert len(list(zip(range(3), opened(str(write_folder(tmp_path / "p", range(2)))).frames(), strict=False))) == 3


def test_the_name_is_to_be_had_beside() -> None:
    assert public_name("rtsp://ada:s3cret@camera/live") == "rtsp://camera/live"
