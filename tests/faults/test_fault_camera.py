"""The camera is gone for a while: the device says so, people and uploads are served on, and the frames come back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from device_runs import DeviceRun
from kiosk_person import Person, free_port
from loopback_server import ServerState
from network_camera import NetworkCamera, http_camera


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def person(port: int) -> Iterator[Person]:
    pytest.importorskip("uvicorn", reason="no kiosk here (extra kiosk)")
    somebody = Person(port)
    yield somebody
    somebody.close()


def test_all_else_goes_on_and_the_frames_come_back(
    tmp_path: Path,
    start: Callable[..., DeviceRun],
    camera: NetworkCamera,
    live: str,
    state: ServerState,
    person: Person,
    port: int,
    picture_bytes: Callable[..., bytes],
) -> None:
    run = start(tmp_path / "home", live, "--kiosk-port", port)
    run.answer_more(5)
    run.until(person.is_served, "the kiosk answers")
    state.gone = True
    waiting = len(run.notes.acknowledged) + 5
    run.until(lambda: len(run.notes.acknowledged) >= waiting, "samples that wait")
    camera.stop()
    run.until(lambda: "camera" in run.errors or "it " in run.errors, "status.json says it")
    said = [line for line in run.said if run.errors and run.errors in line]
    assert len(said) == 1
    # Uploads and people are served without a camera.
    state.gone = False
    run.until(lambda: run.notes.acknowledged <= set(state.stored), "what waited has arrived")
    assert person.is_served()
    assert person.judge(picture_bytes("grey"), label="green")
    run.until(lambda: len(state.feedback) == 1, "the person's answer has arrived")
    assert state.feedback[0][1].label == "green"
    answered = run.notes.num("answered")
    with http_camera(camera.script, port=camera.port):
        run.until(lambda: run.notes.num("answered") >= answered + 10, "frames again")
        run.until(lambda: run.errors == "", "all is well again")
        assert any("the camera is back" in line for line in run.said)
        assert run.stop() == 0
    assert set(state.stored_times.values()) == {1}


def test_a_camera_that_hangs_is_taken_for_gone_and_the_device_can_be_stopped(
    tmp_path: Path, start: Callable[..., DeviceRun], camera: NetworkCamera, live: str, state: ServerState
) -> None:
    camera.script.hang_after = 12
    run = start(tmp_path / "home", live)
    run.until(lambda: camera.script.num_sent >= 12, "twelve pictures")
    camera.script.is_mute = True
    run.until(lambda: "it gave no frame for 2 s" in run.errors, "status.json says it")
    run.until(lambda: run.notes.acknowledged and run.notes.acknowledged <= set(state.stored), "all has arrived")
    camera.script.hang_after, camera.script.is_mute = None, False
    run.answer_more()
    camera.script.is_mute = True
    camera.script.hang_after = 1
    assert run.stop() == 0
    assert set(state.stored_times.values()) == {1}
