"""A fleet for the chaos test: a database, two servers, a publisher, a cable, and device processes at its other end."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from network_spaces import Cable
from postgres_server import PostgresServer
from serving import EDGELOOP

HERE = Path(__file__).resolve().parent
FIRST_PORT = 7450
NUM_SERVERS = 2


class ChaosWorld:
    """Everything that runs.

    Args:
        folder: Where it all lies.
        postgres: The database server.
        cable: Between the servers (near) and the devices (far).
    """

    def __init__(self, folder: Path, postgres: PostgresServer, cable: Cable) -> None:
        self.folder = folder
        self.publisher = folder / "publisher"
        self.servers: list[ServerLife] = []
        self.hosts: list[DeviceLife] = []
        self.singles: list[DeviceLife] = []
        self._postgres = postgres
        self._cable = cable
        self._url = postgres.new_database()
        (folder / "journals").mkdir(parents=True)
        (folder / "homes").mkdir()

    def edgeloop(self, *words: object) -> str:
        """Runs one command of the publisher and answers what it printed."""
        line = [*EDGELOOP, *map(str, words)]
        run = subprocess.run(line, capture_output=True, text=True, check=False, timeout=120)
        assert run.returncode == 0, f"{words}: {run.stdout}{run.stderr}"
        return run.stdout

    def lay_out(self) -> None:
        """One database and one object store for the publisher and all servers, one authority."""
        for root in (self.publisher, *(self.folder / f"server-{number}" for number in range(NUM_SERVERS))):
            objects = (self.folder / "objects").as_uri()
            self.edgeloop("store", "init", "--store", root, "--database", self._url, "--objects", objects)
        self.edgeloop("fleet", "init", "--store", self.publisher, "--host", self._cable.address)

    def start_servers(self) -> None:
        for number in range(NUM_SERVERS):
            life = ServerLife(self.folder, number, self._cable.address, self.publisher / "ca")
            self.servers.append(life)
            life.start()

    @property
    def targets(self) -> tuple[str, ...]:
        return tuple(life.target for life in self.servers)

    def enrol(self, names: tuple[str, ...]) -> None:
        """Every device through the real enrolment, at the far end of the cable."""
        enrol_target = self.servers[0].enrol_target
        codes = self.folder / "codes"
        for prefix, count in sorted(Counter(name.rpartition("-")[0] for name in names).items()):
            told = ("--device-id", prefix, "--count", count, "--out", codes / prefix, "--server", self.targets[0])
            self.edgeloop("fleet", "enroll", "--store", self.publisher, *told, "--enroll-server", enrol_target)
        line = [
            *self._cable.before,
            sys.executable,
            str(HERE / "chaos_enrol.py"),
            str(codes),
            str(self.folder / "homes"),
        ]
        run = subprocess.run(line, capture_output=True, text=True, check=False, timeout=300)
        assert run.returncode == 0, run.stderr

    def start_devices(self, names: tuple[str, ...], *, num_singles: int, interval_s: float, seed: int) -> None:
        """The first ones in processes of their own, the rest in three."""
        rest = names[num_singles:]
        groups = [(name,) for name in names[:num_singles]] + [rest[number::3] for number in range(3)]
        lives = [
            DeviceLife(self.folder, f"group-{number}", group, self.targets, self._cable, interval_s, seed)
            for number, group in enumerate(groups)
            if group
        ]
        self.singles, self.hosts = lives[:num_singles], lives[num_singles:]
        for life in lives:
            life.start()

    def reports(self) -> dict[str, dict[str, object]]:
        """The newest word of every device, once `drain` is asked for."""
        found: dict[str, dict[str, object]] = {}
        for life in (*self.singles, *self.hosts):
            found |= life.report()
        return found

    def kill_device(self, rng: random.Random) -> None:
        life = rng.choice(self.singles)
        life.kill()
        life.start()

    def restart_database(self) -> None:
        self._postgres.stop(mode="immediate")
        time.sleep(1.0)
        self._postgres.start()

    def check_alive(self) -> None:
        """Nobody died but by the test's hand."""
        for life in (*self.servers, *self.singles, *self.hosts):
            life.check_alive()

    def end(self) -> None:
        (self.folder / "stop").touch()
        for life in (*self.singles, *self.hosts, *self.servers):
            life.kill()


class _Life:
    """A process that is started again after it was killed; what it says goes into one file."""

    def __init__(self, folder: Path, name: str) -> None:
        self._log = folder / f"{name}.log"
        self._name = name
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self.num_starts = 0

    def line(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        with self._lock, self._log.open("ab") as log:
            self.num_starts += 1
            self._process = subprocess.Popen(self.line(), stdout=log, stderr=log)

    def kill(self, number: int = signal.SIGKILL) -> None:
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                os.kill(self._process.pid, number)
                self._process.wait(timeout=60)
            self._process = None

    def check_alive(self) -> None:
        with self._lock:
            if self._process is not None and self._process.poll() is not None:
                raise AssertionError(f"{self._name} ended by itself: {self._log.read_text()[-3000:]}")


class ServerLife(_Life):
    """One `edgeloop serve`, with a local folder of its own."""

    def __init__(self, folder: Path, number: int, address: str, authority: Path) -> None:
        super().__init__(folder, f"server-{number}")
        self._root = folder / f"server-{number}"
        self._authority = authority
        port = FIRST_PORT + 2 * number
        self.target = f"{address}:{port}"
        self.enrol_target = f"{address}:{port + 1}"

    def line(self) -> list[str]:
        where = ("--listen", self.target, "--enroll-listen", self.enrol_target, "--ca", self._authority)
        return [*EDGELOOP, *map(str, ("serve", "--store", self._root, *where, "--no-http", "--check-in-s", 10))]

    def start(self) -> None:
        super().start()
        end = time.monotonic() + 60
        while not (self._root / "server.json").exists() or not _pid_is(self._root / "server.json", self._process):
            self.check_alive()
            assert time.monotonic() < end, self._log.read_text()[-3000:]
            time.sleep(0.1)


class DeviceLife(_Life):
    """One process with one or many devices, at the far end of the cable."""

    def __init__(
        self,
        folder: Path,
        name: str,
        devices: tuple[str, ...],
        targets: tuple[str, ...],
        cable: Cable,
        interval_s: float,
        seed: int,
    ) -> None:
        super().__init__(folder, name)
        self._plan = folder / f"{name}.json"
        self._cable = cable
        said = {"folder": str(folder), "targets": targets, "devices": devices, "interval_s": interval_s, "seed": seed}
        self._plan.write_text(json.dumps(said))

    def line(self) -> list[str]:
        return [*self._cable.before, sys.executable, str(HERE / "chaos_device.py"), str(self._plan)]

    def report(self) -> dict[str, dict[str, object]]:
        file = self._plan.with_suffix(".report")
        return json.loads(file.read_text()) if file.exists() else {}


def _pid_is(file: Path, process: subprocess.Popen[bytes] | None) -> bool:
    try:
        return process is not None and json.loads(file.read_text())["pid"] == process.pid
    except (OSError, ValueError):
        return False
