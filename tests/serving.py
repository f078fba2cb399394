"""A real `edgeloop serve` process for tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple, Self

EDGELOOP = (sys.executable, "-c", "from cloud_train.cli import main; main()")


class Finished(NamedTuple):
    """What a command came to."""

    returncode: int
    stdout: str
    stderr: str


def edgeloop(*arguments: object, before: tuple[str, ...] = ()) -> Finished:
    """Runs one command to its end, in a process of its own.

    Args:
        arguments: Of the command.
        before: A command that runs it.
    """
    line = [*before, *EDGELOOP, *map(str, arguments)]
    run = subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)
    return Finished(run.returncode, run.stdout, run.stderr)


class ServerProcess:
    """Starts on entry, is ready then; is killed on exit if it still runs.

    Args:
        store: The store folder.
        arguments: Further options of `edgeloop serve`; it speaks plaintext unless they say `--tls` or `--tls-cert`.
        launcher: What runs instead of the plain command.
    """

    def __init__(self, store: Path, *arguments: object, launcher: tuple[str, ...] = EDGELOOP) -> None:
        plain = () if {"--tls-cert", "--tls"} & set(arguments) else ("--plaintext",)
        arguments = tuple(word for word in arguments if word != "--tls")
        line = [*launcher, "serve", "--store", store, "--listen", "127.0.0.1:0", "--json", *plain, *arguments]
        self._line = [str(part) for part in line]

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(self._line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.ready_line = self.process.stdout.readline()
        if not self.ready_line:
            raise AssertionError(f"the server did not start: {self.process.stderr.read()}")
        self.info = json.loads(self.ready_line)
        self.target = f"{self.info['host']}:{self.info['port']}"
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, float, str]:
        """Sends a signal; answers the exit code, how long it took, and what was said on stderr."""
        begun = time.monotonic()
        os.kill(self.process.pid, number)
        code = self.process.wait(timeout=20)
        return code, time.monotonic() - begun, self.process.stderr.read()
