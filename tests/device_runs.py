"""A real `edgeloop device run` as a process, watched from outside while something goes wrong."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from device_world import process_environment
from witness import Notes

PATIENCE_S = 60.0
# Quick enough for a test, slow enough that two of them share a small machine.
_PACE = {
    "EDGELOOP_LINK_INTERVAL_S": "0.1",
    "EDGELOOP_CHECK_IN_S": "0.5",
    "EDGELOOP_BACKOFF_BASE_S": "0.1",
    "EDGELOOP_BACKOFF_CAP_S": "0.5",
    "EDGELOOP_CALL_TIMEOUT_S": "5",
    "EDGELOOP_SILENCE_S": "2",
    "EDGELOOP_PAYLOAD": "original",
}


class DeviceRun:
    """The process, from its start on.

    Args:
        home: The device's home.
        desk: Folder for what the test writes down; never on the disk that goes wrong.
        arguments: Of `edgeloop device run`, besides `--home`.
        before: Words put before the command.
        environment: On top of what all of them get.

    Attributes:
        notes: What it did, of this run and of those before it with the same desk.
    """

    def __init__(
        self,
        home: Path,
        desk: Path,
        *arguments: object,
        before: Sequence[str] = (),
        **environment: str,
    ) -> None:
        desk.mkdir(exist_ok=True)
        self.home = home
        self.notes = Notes(desk / "notes")
        self._said = desk / "said"
        words = [*before, sys.executable, "-m", "device_process", "device", "run", "--home", home, *arguments]
        given = process_environment(NOTES=str(self.notes.file), **(_PACE | environment))
        with self._said.open("wb") as said:
            self.process = subprocess.Popen(list(map(str, words)), stdout=said, stderr=said, env=given)

    @property
    def said(self) -> list[str]:
        """Its lines on the terminal."""
        return self._said.read_text(errors="replace").splitlines()

    @property
    def status(self) -> dict[str, Any]:
        """What it last said about itself; empty before the first time."""
        path = self.home / "status.json"
        return json.loads(path.read_bytes()) if path.exists() else {}

    @property
    def errors(self) -> str:
        """What `status.json` says is wrong."""
        return str(self.status.get("last_error", ""))

    def until(self, happened: Callable[[], object], what: str, *, timeout_s: float = PATIENCE_S) -> None:
        """Waits for something; fails when the process ends before it, or when it never happens."""
        deadline = time.monotonic() + timeout_s
        while not happened():
            assert self.process.poll() is None, f"ended before: {what}\n" + "\n".join(self.said)
            assert time.monotonic() < deadline, f"never happened: {what}\n{self.status}\n" + "\n".join(self.said)
            time.sleep(0.02)

    def answer_more(self, number: int = 10, *, timeout_s: float = PATIENCE_S) -> None:
        """Waits until it has answered so many more frames."""
        wanted = self.notes.num("answered") + number
        self.until(lambda: self.notes.num("answered") >= wanted, f"{number} more answers", timeout_s=timeout_s)

    def stop(self) -> int:
        """Asks it to end in order; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    def kill(self) -> None:
        """Ends it at once."""
        self.process.kill()
        self.process.wait(PATIENCE_S)

    def wait(self) -> int:
        """Its exit status, once it has ended by itself."""
        return self.process.wait(PATIENCE_S)
