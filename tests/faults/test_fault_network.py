"""The cable is pulled, slow and lossy: every sample arrives once, and frames are answered meanwhile."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from device_runs import DeviceRun
from device_world import root_file
from loopback_server import RunningServer, ServerState, start_server
from network_spaces import Cable, new_cable
from released_files import files_of
from sample_values import make_picture_sample
from tls_certificates import write_certificate

NUM_PICTURES = 60
SIDE = 64

pytestmark = pytest.mark.faults


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Noise, so that nothing makes them smaller: 12 kB each."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(NUM_PICTURES):
        (folder / f"{number:03d}.png").write_bytes(make_picture_sample(number, side=SIDE).payload)
    return folder


@pytest.fixture
def cable() -> Iterator[Cable]:
    with new_cable() as laid:
        yield laid


@pytest.fixture
def far_server(tmp_path: Path, release: Path, cable: Cable) -> Iterator[RunningServer]:
    """At our end of the cable, with TLS: nothing else leaves a device."""
    pair = write_certificate(tmp_path, cable.address)
    running = start_server(ServerState(files=files_of(release)), key_and_certificate=pair, host=cable.address)
    yield running
    running.stop()


@pytest.fixture
def run(tmp_path: Path, release: Path, cable: Cable, far_server: RunningServer, pictures: Path) -> Iterator[DeviceRun]:
    """A device at the other end, which ends by itself when all has arrived."""
    told = ("--server", far_server.target, "--tls-ca", tmp_path / "certificate.pem", "--root", root_file(release))
    watched = ("--source", pictures, "--passes", 1, "--fps", 10, "--exit-when-drained")
    running = DeviceRun(
        tmp_path / "home", tmp_path / "desk", *told, *watched, before=cable.before, EDGELOOP_CALL_TIMEOUT_S="2"
    )
    yield running
    running.kill()


def check_arrived(state: ServerState, pictures: Path) -> None:
    expected = {hashlib.sha256(path.read_bytes()).hexdigest(): path.read_bytes() for path in pictures.iterdir()}
    assert state.stored == expected
    assert set(state.stored_times.values()) == {1}


def test_a_cable_that_is_pulled_again_and_again(
    run: DeviceRun, cable: Cable, far_server: RunningServer, pictures: Path
) -> None:
    state = far_server.state
    for number in (3, 25):
        run.until(lambda number=number: len(state.stored) >= number, f"{number} samples on the server")
        cable.pull()
        if number == 3:
            run.answer_more(5)
        run.until(lambda: cable.address in run.errors, "status.json says it")
        stored = len(state.stored)
        cable.plug_in()
        run.until(lambda stored=stored: len(state.stored) > stored, "samples arrive again")
    assert run.wait() == 0
    assert run.notes.num("answered") == NUM_PICTURES
    check_arrived(state, pictures)


def test_a_slow_cable_that_loses_packets(
    run: DeviceRun, cable: Cable, far_server: RunningServer, pictures: Path
) -> None:
    state = far_server.state
    run.until(lambda: len(state.stored) >= 3, "three samples on the server")
    cable.slow_down(kbit=1000)
    run.until(lambda: cable.num_lost() > 0, "packets are lost")
    assert run.wait() == 0
    assert run.notes.num("answered") == NUM_PICTURES
    check_arrived(state, pictures)
