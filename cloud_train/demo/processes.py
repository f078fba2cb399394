"""The server and the device of a demo as real processes, started when needed and stopped at the end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cloud_train.demo.options import DemoOptions
from edge.durable import make_folder
from edge.errors import EdgeloopError

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
DEVICE_ID = "demo-device"
CHANNEL = "stable"


class DemoProcesses:
    """Starts, watches and stops the server and the device of one demo.

    Args:
        options: Where things lie.
    """

    def __init__(self, options: DemoOptions) -> None:
        self._options = options
        self._server: subprocess.Popen[bytes] | None = None
        self._device: subprocess.Popen[bytes] | None = None

    def server(self) -> str:
        """Makes sure that the server runs.

        Returns:
            Its address, `host:port`.
        """
        ready = self._options.store / "server.json"
        if not _alive(self._server):
            _stop(self._server)
            make_folder(self._options.store)
            _retire(ready, "pid")
            ready.unlink(missing_ok=True)
            self._server = self._start(
                sys.executable,
                "server",
                "serve",
                "--store",
                str(self._options.store),
                "--listen",
                "127.0.0.1:0",
                "--plaintext",
            )
        self.wait_for(ready.exists, what="the server to listen", timeout_s=START_TIMEOUT_S)
        state = read_json(ready)
        return f"{state['host']}:{state['port']}"

    def device(self) -> None:
        """Makes sure that the server and the device run."""
        address = self.server()
        if _alive(self._device):
            return
        _stop(self._device)
        make_folder(self._options.device)
        _retire(self._options.device / "status.json", "pid")
        root = self._options.store / "repository" / "metadata" / "1.root.json"
        arguments = [
            "device",
            "run",
            "--home",
            str(self._options.device),
            "--server",
            address,
            "--device-id",
            DEVICE_ID,
            "--root",
            str(root),
        ]
        arguments += [
            "--source",
            str(self._options.field),
            "--passes",
            "0",
            "--fps",
            str(self._options.fps),
            "--payload",
            "original",  # what people said of a picture is known by the digest of its file
            "--channel",
            CHANNEL,
        ]
        self._device = self._start(self._options.device_python, "device", *arguments)

    def device_status(self) -> dict[str, Any]:
        """What the device wrote about itself last; empty before the first time."""
        path = self._options.device / "status.json"
        status = read_json(path) if path.exists() else {}
        return status if self._device is not None and status.get("pid") == self._device.pid else {}

    def wait_for(self, happened: Callable[[], bool], *, what: str, timeout_s: float) -> None:
        """Waits for something while both processes must stay alive.

        Raises:
            EdgeloopError: It did not happen in time, or a process ended.
        """
        deadline = time.monotonic() + timeout_s
        while not happened():
            for name, process in (("server", self._server), ("device", self._device)):
                if process is not None and process.poll() is not None:
                    raise EdgeloopError(
                        f"the {name} ended with exit code {process.returncode}: {self._last_words(name)}",
                        hint=f"read {self._options.logs / name}.log",
                    )
            if time.monotonic() > deadline:
                raise EdgeloopError(
                    f"waited {timeout_s:.0f} s for {what}", hint=f"read the logs in {self._options.logs}"
                )
            time.sleep(0.1)

    def stop_device(self) -> None:
        """Asks the device to stop and waits for it."""
        _stop(self._device)
        self._device = None

    def stop(self) -> None:
        """Stops both."""
        self.stop_device()
        _stop(self._server)
        self._server = None

    def _start(self, python: str, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        make_folder(self._options.logs)
        line = [python, "-m", "cloud_train.demo.leash", *arguments]
        with (self._options.logs / f"{name}.log").open("ab") as log:
            try:
                return subprocess.Popen(  # noqa: S603 - a list of our own words, no shell
                    line, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
                )
            except OSError as cause:
                reason = (cause.strerror or str(cause)).lower()
                raise EdgeloopError(f"cannot start the {name} with {python}: {reason}") from cause

    def _last_words(self, name: str) -> str:
        lines = (self._options.logs / f"{name}.log").read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


def read_json(path: Path) -> dict[str, Any]:
    """A small state file that another process replaces by rename."""
    value = json.loads(path.read_bytes())
    return value if isinstance(value, dict) else {}


def _alive(process: subprocess.Popen[bytes] | None) -> bool:
    return process is not None and process.poll() is None


def _stop(process: subprocess.Popen[bytes] | None) -> None:
    if process is None:
        return
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdin is not None:
        process.stdin.close()


def _retire(state_file: Path, key: str) -> None:
    """Waits for the process of a killed demo to end; its leash has told it to."""
    if not state_file.exists():
        return
    pid = read_json(state_file).get(key)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while isinstance(pid, int) and _is_edgeloop(pid) and time.monotonic() < deadline:
        time.sleep(0.05)


def _is_edgeloop(pid: int) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return b"cloud_train" in command
