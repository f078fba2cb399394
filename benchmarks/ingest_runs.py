"""Ingest servers in processes of their own, and rounds of samples that are sent to them."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running server process.

    Attributes:
        pid: Of the process.
        target: `host:port`.
    """

    pid: int
    target: str

    def cpu_s(self) -> float:
        """CPU that it has used so far, user and system."""
        return sum(self.cpu_parts_s())

    def cpu_parts_s(self) -> tuple[float, float]:
        """CPU that it has used so far: in its own code, and in the system's."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) / _TICKS, int(fields[12]) / _TICKS


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One round of one way.

    Attributes:
        rate: Samples a second.
        user_ms: CPU of the server for 1,000 samples, in its own code.
        system_ms: The same, in the system's.
    """

    rate: float
    user_ms: float
    system_ms: float

    @property
    def cpu_ms(self) -> float:
        """CPU of the server for 1,000 samples."""
        return self.user_ms + self.system_ms


@contextlib.contextmanager
def edgeloop_server(store: Path, *arguments: object) -> Iterator[Server]:
    """`edgeloop serve` on a free port, without its worker."""
    line = [sys.executable, "-c", "from cloud_train.cli import main; main()", "serve", "--store", str(store)]
    line += ["--listen", "127.0.0.1:0", "--no-worker", "--json", *map(str, arguments)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        try:
            info = json.loads(process.stdout.readline() if process.stdout else "")
            yield Server(pid=process.pid, target=f"{info['host']}:{info['port']}")
        finally:
            process.terminate()


@contextlib.contextmanager
def worker_server(name: str, *arguments: object) -> Iterator[Server]:
    """A server of `benchmarks.workers` that prints its port first."""
    line = [sys.executable, "-m", f"benchmarks.workers.{name}", *map(str, arguments)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        try:
            port = process.stdout.readline().strip() if process.stdout else ""
            yield Server(pid=process.pid, target=f"127.0.0.1:{port}")
        finally:
            process.kill()


def send(kind: str, server: Server, keys: Path, *, samples: int, seed: str) -> Run:
    """One client process that sends samples in one way."""
    line = [sys.executable, "-m", "benchmarks.workers.ingest_client", kind, server.target, str(keys)]
    user_s, system_s = server.cpu_parts_s()
    done = subprocess.run([*line, str(samples), seed], check=True, capture_output=True, text=True)
    after_user_s, after_system_s = server.cpu_parts_s()
    told = json.loads(done.stdout)
    return Run(
        rate=told["samples"] / told["seconds"],
        user_ms=(after_user_s - user_s) / samples * 1e6,
        system_ms=(after_system_s - system_s) / samples * 1e6,
    )
