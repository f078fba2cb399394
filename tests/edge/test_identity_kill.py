"""Kills a device at every durable write of its enrolment and of a renewal: it is nobody, or somebody whole."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from device_world import edgeloop, process_environment
from enrolled_fleet import EnrolledFleet, a_status, enrolled_fleet

from edge import durable, jsonvalue
from edge.identity import request
from edge.identity.store import IdentityStore
from edge.identity.types import EnrolmentFile

LIFE = Path(__file__).resolve().parent / "renewal_life.py"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EnrolledFleet]:
    with enrolled_fleet(tmp_path_factory.mktemp("fleet") / "store") as running:
        yield running


def written(folder: Path, told: EnrolmentFile) -> Path:
    durable.make_folder(folder)
    file = folder / "device.enrol.json"
    file.write_bytes(jsonvalue.pretty_bytes(told))
    return file


def is_whole(fleet: EnrolledFleet, home: Path) -> bool:
    """Whether the home is somebody, whom the fleet lets in; False for nobody at all."""
    identity = IdentityStore(home).read()
    if identity is None:
        return False
    assert request.belong_together(identity.key_pem.encode(), identity.certificate_pem.encode())
    with fleet.road(identity) as road:
        road.check_in(a_status(identity.device_id))
    return True


@pytest.mark.slow
def test_an_enrolment_killed_at_every_durable_write_goes_on_with_the_same_command(
    fleet: EnrolledFleet, tmp_path: Path
) -> None:
    states = []
    for number in range(1, 30):
        folder = tmp_path / str(number)
        command = ("device", "enroll", written(folder, fleet.file(f"kill-{number}")), "--home", folder / "home")
        killed = edgeloop(*command, DIE_AT=str(number))
        if killed.returncode == 0:
            break
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        states.append(is_whole(fleet, folder / "home"))
        again = edgeloop(*command)
        assert (again.returncode, again.stderr) == (0, "")
        assert is_whole(fleet, folder / "home")
        assert sorted(path.name for path in (folder / "home" / "identity").iterdir()) == ["identity.json"]
    assert states == sorted(states), "nobody, then somebody, never nobody again"
    assert len(states) == 6
    assert states.count(True) == 1


@pytest.mark.slow
def test_a_renewal_killed_at_every_durable_write_leaves_an_identity_that_is_let_in(
    fleet: EnrolledFleet, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    fleet.enrol(home, "renewed")
    certificates = {whole_certificate(home)}
    for number in range(1, 30):
        run = subprocess.run(
            [sys.executable, LIFE, home, str(number)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env=process_environment(),
        )
        assert is_whole(fleet, home)
        certificates.add(whole_certificate(home))
        if run.returncode == 0:
            break
        assert run.returncode == -signal.SIGKILL, run.stderr
    assert number == 4, "before, written and after, each killed once"
    assert len(certificates) == 3, "the kill after the rename and the last run each brought a new one"


def whole_certificate(home: Path) -> str:
    identity = IdentityStore(home).read()
    assert identity is not None
    return identity.certificate_pem
