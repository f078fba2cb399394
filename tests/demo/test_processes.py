"""The demo's server and device as real processes: started, watched, found dead, stopped."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from demo_values import demo_options

from cloud_train.demo import processes as module
from cloud_train.demo.options import DemoOptions
from cloud_train.demo.processes import DemoProcesses, read_json
from edge.errors import EdgeloopError


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path) -> DemoOptions:
    monkeypatch.chdir(repository)
    return demo_options(tmp_path / "work")


@pytest.fixture
def running(options: DemoOptions) -> Iterator[DemoProcesses]:
    made = DemoProcesses(options)
    yield made
    made.stop()


def server_pid(options: DemoOptions) -> int:
    return read_json(options.store / "server.json")["pid"]


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_a_server_is_started_once_found_dead_and_started_again(options: DemoOptions, running: DemoProcesses) -> None:
    address = running.server()
    host, _, port = address.rpartition(":")
    socket.create_connection((host, int(port)), timeout=10).close()
    pid = server_pid(options)
    assert running.server() == address
    assert server_pid(options) == pid

    os.kill(pid, signal.SIGKILL)
    with (options.logs / "server.log").open("a") as log:
        log.write("the last line of the log\n\n")
    with pytest.raises(EdgeloopError) as raised:
        running.wait_for(lambda: False, what="nothing", timeout_s=20)
    assert raised.value.message == "the server ended with exit code -9: the last line of the log"
    assert raised.value.hint == f"read {options.logs / 'server'}.log"

    running.server()
    second = server_pid(options)
    assert second != pid
    running.stop()
    assert gone(second)
    running.stop()


def test_a_server_that_cannot_start_says_why(options: DemoOptions, running: DemoProcesses) -> None:
    options.store.mkdir(parents=True)
    (options.store / "meta.sqlite").write_bytes(b"this is no database\n" * 300)
    with pytest.raises(EdgeloopError, match=r"^the server ended with exit code 1: edgeloop: error: .*meta\.sqlite"):
        running.server()


def test_a_device_that_says_nothing(options: DemoOptions, tmp_path: Path) -> None:
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\nexit 3\n")
    silent.chmod(0o755)
    both = DemoProcesses(demo_options(options.folder, device_python=str(silent)))
    try:
        both.device()
        with pytest.raises(EdgeloopError, match=r"^the device ended with exit code 3: it said nothing \(read .*device"):
            both.wait_for(lambda: False, what="the device", timeout_s=20)
        assert both.device_status() == {}
    finally:
        both.stop()


@pytest.mark.parametrize("mode", [None, 0o644], ids=["missing", "not executable"])
def test_a_python_that_does_not_start_is_named(options: DemoOptions, tmp_path: Path, mode: int | None) -> None:
    python = tmp_path / "python"
    if mode is not None:
        python.write_text("#!/bin/sh\n")
        python.chmod(mode)
    both = DemoProcesses(demo_options(options.folder, device_python=str(python)))
    try:
        with pytest.raises(EdgeloopError, match=f"^cannot start the device with {python}: "):
            both.device()
    finally:
        both.stop()


def test_waiting_ends_with_what_was_waited_for(options: DemoOptions, running: DemoProcesses) -> None:
    with pytest.raises(EdgeloopError, match=r"^waited 0 s for the device's first pass \(read the logs in "):
        running.wait_for(lambda: False, what="the device's first pass", timeout_s=0.2)


def test_a_process_that_ignores_sigterm_is_killed(
    options: DemoOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STOP_TIMEOUT_S", 0.5)
    stubborn = tmp_path / "stubborn"
    ready = tmp_path / "ready"
    stubborn.write_text(f"#!/bin/sh\ntrap '' TERM\necho $$ > {ready}.new\nmv {ready}.new {ready}\nexec sleep 300\n")
    stubborn.chmod(0o755)
    both = DemoProcesses(demo_options(options.folder, device_python=str(stubborn)))
    try:
        both.device()
        both.wait_for(ready.exists, what="the trap", timeout_s=20)
    finally:
        begun = time.monotonic()
        both.stop_device()
        both.stop()
    assert time.monotonic() - begun < 60
    assert gone(int(ready.read_text()))


def test_status_of_an_earlier_device_does_not_count(options: DemoOptions, running: DemoProcesses) -> None:
    options.device.mkdir(parents=True)
    (options.device / "status.json").write_text('{"pid": 1, "passes": 3}')
    assert running.device_status() == {}
