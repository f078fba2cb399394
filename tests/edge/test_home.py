import os
import subprocess
import sys
import textwrap

import pytest
from device_world import process_environment

from edge.errors import UsageError
from edge.home import DeviceHome

HOLDER = """
    import sys, pathlib
    from edge.home import DeviceHome
    with DeviceHome(folder=pathlib.Path(sys.argv[1])).hold():
        print("held", flush=True)
        sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLDER), str(tmp_path / "home")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=process_environment(),
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_process_is_kept_out_and_told_who_is_in(tmp_path, holder):
    home = DeviceHome(folder=tmp_path / "home")
    assert home.is_held()
    with pytest.raises(UsageError, match=rf"another edgeloop process works in .*home \(process {holder.pid}\)"):
        home.hold().__enter__()


def test_death_lets_go_of_the_lock(tmp_path, holder):
    home = DeviceHome(folder=tmp_path / "home")
    holder.kill()
    holder.wait()
    assert not home.is_held()
    with home.hold():
        assert home.lock.read_text() == f"{os.getpid()}\n"
        assert home.is_held()
    assert not home.is_held()


def test_looking_never_makes_a_home(tmp_path):
    assert not DeviceHome(folder=tmp_path / "none").is_held()
    assert not (tmp_path / "none").exists()


def test_what_a_killed_process_left_is_swept(tmp_path):
    (tmp_path / ".slots.json.abc.tmp").write_bytes(b"x")
    with DeviceHome(folder=tmp_path).hold():
        assert sorted(path.name for path in tmp_path.iterdir()) == ["agent.lock"]
