"""The line to systemd, over a real datagram socket."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from device_world import process_environment

from edge.watchdog import Watchdog


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture(params=["file", "abstract"])
def systemd(request, tmp_path):
    """A socket as systemd opens one, and its name as NOTIFY_SOCKET has it."""
    name = str(tmp_path / "notify") if request.param == "file" else f"@edgeloop-test-{os.getpid()}"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(name.replace("@", "\0") if name.startswith("@") else name)
    listener.settimeout(2)
    yield name, listener
    listener.close()


def heard(listener):
    """Every message that has arrived."""
    listener.setblocking(False)
    messages = []
    while True:
        try:
            messages.append(listener.recv(4096).decode())
        except BlockingIOError:
            return messages


def test_a_whole_life(systemd):
    name, listener = systemd
    clock = Clock()
    watchdog = Watchdog(name, 30.0, clock=clock)
    watchdog.ready()
    watchdog.say("waiting for\na bundle")
    watchdog.beat()
    watchdog.stopping()
    watchdog.close()
    watchdog.close()
    assert heard(listener) == ["READY=1", "STATUS=waiting for a bundle", "WATCHDOG=1", "STOPPING=1"]


def test_at_most_three_signs_of_life_in_an_interval_however_many_frames(systemd):
    name, listener = systemd
    clock = Clock()
    watchdog = Watchdog(name, 30.0, clock=clock)
    for _ in range(6000):  # a minute at 100 frames a second
        watchdog.beat()
        clock.now += 0.01
    assert heard(listener) == ["WATCHDOG=1"] * 6
    clock.now += 300  # one frame took five minutes: systemd has acted by then, but the next beat goes out at once
    watchdog.beat()
    assert heard(listener) == ["WATCHDOG=1"]


def test_no_frames_no_signs_of_life(systemd):
    name, listener = systemd
    watchdog = Watchdog(name, 30.0, clock=Clock())
    watchdog.ready()
    threading.Event().wait(0.05)
    assert heard(listener) == ["READY=1"]


def test_without_an_interval_only_the_word_that_it_is_up(systemd):
    name, listener = systemd
    watchdog = Watchdog(name, 0.0)
    watchdog.ready()
    watchdog.beat()
    watchdog.stopping()
    assert heard(listener) == ["READY=1", "STOPPING=1"]


def test_what_systemd_did_not_hear_is_said_again(tmp_path):
    clock, path = Clock(), tmp_path / "notify"
    watchdog = Watchdog(str(path), 30.0, clock=clock)
    watchdog.ready()  # nobody listens yet
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        watchdog.beat()
        clock.now += 11
        watchdog.beat()
        assert heard(listener) == ["READY=1", "WATCHDOG=1", "WATCHDOG=1"]


def test_a_full_socket_does_not_hold_the_agent_up(tmp_path):
    path, clock = tmp_path / "notify", Clock()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        watchdog = Watchdog(str(path), 0.3, clock=clock)

        def work():
            for _ in range(5000):
                clock.now += 1
                watchdog.beat()

        worker = threading.Thread(target=work, daemon=True)
        worker.start()
        worker.join(10)
        assert not worker.is_alive()


@pytest.mark.parametrize(
    "name", ["", "@", "relative", "vsock:2:1234", "/no/such/socket", "/" + "x" * 300, "@" + "x" * 300]
)
def test_a_socket_that_is_none_never_stops_the_agent(name):
    watchdog = Watchdog(name, 30.0)
    watchdog.ready()
    watchdog.say("x" * 10_000)
    watchdog.beat()
    watchdog.stopping()
    watchdog.close()


def test_a_socket_that_goes_away_never_stops_the_agent(systemd):
    name, listener = systemd
    clock = Clock()
    watchdog = Watchdog(name, 30.0, clock=clock)
    watchdog.ready()
    listener.close()
    if name.startswith("/"):
        Path(name).unlink()
    clock.now += 20
    watchdog.beat()
    watchdog.close()
    watchdog.beat()
    watchdog.stopping()


def test_a_status_is_one_line_of_bounded_length(systemd):
    name, listener = systemd
    Watchdog(name, 0.0).say("a\nREADY=1\n" + "b" * 2000)
    (message,) = heard(listener)
    assert message.startswith("STATUS=a READY=1 bbb")
    assert len(message) <= len("STATUS=") + 500
    assert "\n" not in message


def test_a_real_agent_is_heard(tmp_path, tiny_bundle, picture_bytes):
    """The whole process: up, signs of life with every frame, an orderly end."""
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(picture_bytes("red"))
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(name)
        listener.settimeout(30)
        arguments = ["run", "--home", tmp_path / "home", "--source", tmp_path / "pictures", "--fps", "20"]
        arguments += ["--bundle", tiny_bundle, "--allow-unsigned"]
        agent = subprocess.Popen(
            [sys.executable, "-m", "device_process", "device", *map(str, arguments)],
            env=process_environment(NOTIFY_SOCKET=name, WATCHDOG_USEC="300000"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            first = [listener.recv(4096).decode() for _ in range(4)]
            agent.terminate()
            assert agent.wait(20) == 0
            rest = heard(listener)
        finally:
            agent.kill()
            agent.wait()
    assert first == ["READY=1", "WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1"]
    assert rest[-1] == "STOPPING=1"
    assert set(rest[:-1]) <= {"WATCHDOG=1"}
