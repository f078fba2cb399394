"""`--device ssh:HOST`: over a real sshd on loopback where there is one, and over a stand-in that runs here."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_tests.__main__ import main
from device_tests.plan import Plan
from device_tests.report import Status, read_report
from device_tests.ssh import run_over_ssh
from edge.errors import RoadError, UsageError

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"
SMALL = ["--group", "bundle", "--group", "outputs", "--group", "latency", "--frames", "2"]


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An `ssh` first on PATH that notes its arguments and runs the remote command in a shell here, as sshd does."""
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\nfor word; do echo "$word"; done >> {tmp_path}/said\n'
        f"[ -n \"$SSH_FAILS\" ] && {{ echo 'board: no route to host' >&2; exit 255; }}\n"
        'while [ "$1" != -- ]; do shift; done\nshift 2\nexec /bin/sh -c "$*"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "remote"))
    (tmp_path / "remote").mkdir()
    return tmp_path


@pytest.fixture
def loopback_sshd(tmp_path: Path) -> Iterator[list[str]]:
    """Options of ssh that reach a real sshd of this test, with keys of its own."""
    if not Path(SSHD).exists() or not all(shutil.which(name) for name in ("ssh", "ssh-keygen")):
        pytest.skip("no OpenSSH server is installed")
    for name in ("host_key", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True)  # noqa: S607
    shutil.copy(tmp_path / "key.pub", tmp_path / "authorized")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd locks its unprivileged half in
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "ListenAddress": f"127.0.0.1:{port}",
        "HostKey": tmp_path / "host_key",
        "AuthorizedKeysFile": tmp_path / "authorized",
        "PidFile": "none",
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "PermitRootLogin": "prohibit-password",
    }
    words = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    with (tmp_path / "sshd.log").open("wb") as log:
        server = subprocess.Popen([SSHD, "-D", "-e", "-f", "/dev/null", *words], stderr=log)
    try:
        wait_for(port, server, tmp_path / "sshd.log")
        yield [
            f"Port={port}",
            f"IdentityFile={tmp_path / 'key'}",
            "IdentitiesOnly=yes",
            "StrictHostKeyChecking=no",
            f"UserKnownHostsFile={tmp_path / 'known'}",
            "LogLevel=ERROR",
        ]
    finally:
        server.terminate()
        server.wait(10)


def wait_for(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(100):
        if server.poll() is not None:
            pytest.skip(f"sshd does not run here: {log.read_text().strip().splitlines()[-1:]}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError("sshd never listened")


def test_runs_over_a_real_sshd(loopback_sshd: list[str], tiny_bundle: Path, tmp_path: Path) -> None:
    options = [word for option in loopback_sshd for word in ("--ssh-option", option)]
    host = f"ssh:{getpass.getuser()}@127.0.0.1"
    words = ["--device", host, "--python", sys.executable, *options, *SMALL, "--bundle", str(tiny_bundle)]
    assert main([*words, "--json", str(tmp_path / "board.json")]) == 0
    report = read_report(tmp_path / "board.json")
    assert report.device.device == host
    assert len(report.checks) == 9
    assert {check.status for check in report.checks} <= {Status.OK, Status.SLOW}
    assert len(report.outputs) == 16 + 12 + 16
    assert main([*SMALL[:4], "--bundle", str(tiny_bundle), "--json", str(tmp_path / "here.json")]) == 0
    assert main(["compare", str(tmp_path / "board.json"), str(tmp_path / "here.json")]) == 0


def test_a_real_sshd_that_does_not_know_us(loopback_sshd: list[str], tmp_path: Path) -> None:
    (tmp_path / "authorized").write_text("")
    with pytest.raises(RoadError, match=r"127\.0\.0\.1: ssh: .*Permission denied"):
        run_over_ssh(Plan(), "127.0.0.1", options=loopback_sshd)


def test_runs_over_the_stand_in_and_leaves_nothing_behind(stand_in: Path, tiny_bundle: Path) -> None:
    words = ["--device", "ssh:pi@board", "--python", sys.executable, "--ssh-option", "Port=2222", *SMALL]
    assert main([*words, "--bundle", str(tiny_bundle), "--json", str(stand_in / "board.json")]) == 0
    report = read_report(stand_in / "board.json")
    assert report.device.device == "ssh:pi@board"
    assert [check.name for check in report.checks if check.group == "bundle"] == ["tiny", "tiny_int8", "tiny-bundle"]
    said = (stand_in / "said").read_text().splitlines()
    assert said[:8] == ["-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=15", "-o", "Port=2222", "--"]
    assert list((stand_in / "remote").glob("device_tests-*")) == []


def test_a_failed_check_on_the_board_fails_here(
    stand_in: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packed = stand_in / "broken.edgebundle"
    packed.write_bytes(b"no bundle")
    words = ["--device", "ssh:board", "--python", sys.executable, "--group", "bundle"]
    assert main([*words, "--bundle", str(packed)]) == 1
    said = capsys.readouterr().out
    assert "FAIL  bundle broken: " in said
    assert "2 passed, 1 failed" in said


def test_bundle_that_is_not_there_is_refused_before_anything_travels(
    stand_in: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--device", "ssh:board", "--bundle", "gone"]) == 2
    assert "error: gone: no such bundle" in capsys.readouterr().err
    assert not (stand_in / "said").exists()


def test_a_board_that_cannot_be_reached(stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_FAILS", "1")
    with pytest.raises(RoadError, match="board: ssh: board: no route to host") as caught:
        run_over_ssh(Plan(), "board")
    assert "ssh -o BatchMode=yes board true" in caught.value.hint


def test_a_board_without_the_interpreter(stand_in: Path) -> None:
    with pytest.raises(RoadError, match=r"board: .*no-such-python") as caught:
        run_over_ssh(Plan(), "board", python="/no-such-python")
    assert "--python" in caught.value.hint


def test_a_board_without_numpy_is_named(stand_in: Path) -> None:
    bare = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else None
    if bare is None or subprocess.run([bare, "-c", "import numpy"], capture_output=True, check=False).returncode == 0:
        pytest.skip("no Python without numpy on this machine")
    if subprocess.run([bare, "-c", "import enum; enum.StrEnum"], capture_output=True, check=False).returncode != 0:
        pytest.skip("the Python of this machine is older than 3.11")
    report = run_over_ssh(Plan(groups=("preprocess",)), "board", python=bare)
    assert report.count()[Status.FAILED] == len(report.checks)
    assert "No module named" in report.checks[0].detail


def test_no_ssh_on_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="there is no ssh on this machine"):
        run_over_ssh(Plan(), "board")
