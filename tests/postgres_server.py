"""A real PostgreSQL on a free port, from Debian's package, for as long as a test session lasts."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

USER = "edgeloop"
PASSWORD = "s3cr3t-w0rd"  # noqa: S105 - of a server that lives as long as a test
_WAIT_S = 180.0


def find_binaries() -> Path | None:
    """The folder of the newest installed server, None without one."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    if shutil.which("postgres"):
        found.append(Path(shutil.which("postgres") or "").parent)
    return max(found, key=lambda path: path.parent.name, default=None)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass(kw_only=True)
class PostgresServer:
    """A server that can be stopped and started again on the same port and data."""

    binaries: Path
    folder: Path
    port: int
    durable: bool = False
    process: subprocess.Popen[bytes] | None = None
    made: int = field(default=0)

    def url(self, database: str, *, password: str = PASSWORD, user: str = USER) -> str:
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        options = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self.folder,
            "shared_buffers": "16MB",
            "max_connections": 60,
            "fsync": "on" if self.durable else "off",
        }
        line = [self.binaries / "postgres", "-D", self.folder / "data"]
        line += [f"--{name}={value}" for name, value in options.items()]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self._as_user(line), stdout=log, stderr=log, cwd=self.folder)
        self._wait()

    def stop(self, *, mode: str = "fast") -> None:
        """As an administrator's restart does: connections are cut. `immediate` is as good as a crash."""
        if self.process is not None:
            self._control("stop", "-m", mode, "-t", "30")
            self.process.wait(timeout=30)
            self.process = None

    def new_database(self) -> str:
        """URL of an empty database."""
        self.made += 1
        name = f"edgeloop_{os.getpid()}_{self.made}"
        self.sql("postgres", f"CREATE DATABASE {name}")
        return self.url(name)

    def drop_database(self, url: str) -> None:
        self.sql("postgres", f"DROP DATABASE IF EXISTS {url.rsplit('/', 1)[1]} WITH (FORCE)")

    def sql(self, database: str, statement: str) -> list[tuple[object, ...]]:
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def initialise(self) -> None:
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        if os.geteuid() == 0:
            for path in (self.folder, secret):
                shutil.chown(path, *_user())
        line = [self.binaries / "initdb", "-D", self.folder / "data", "-U", USER, "-A", "scram-sha-256"]
        line += ["--pwfile", secret, "-E", "UTF8", "--locale", "C.UTF-8", "--no-sync"]
        subprocess.run(self._as_user(line), check=True, capture_output=True, cwd=self.folder)

    def _control(self, *words: str) -> None:
        line = [self.binaries / "pg_ctl", "-D", self.folder / "data", *words]
        subprocess.run(self._as_user(line), check=True, capture_output=True, cwd=self.folder)

    def _as_user(self, line: list[object]) -> list[str]:
        """PostgreSQL never runs as root."""
        words = [str(word) for word in line]
        if os.geteuid() != 0:
            return words
        user, group = _user()
        return ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", "--pdeathsig=INT", "--", *words]

    def _wait(self) -> None:
        import psycopg

        end = time.monotonic() + _WAIT_S
        while True:
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=2).close()
            except psycopg.OperationalError:
                died = self.process is None or self.process.poll() is not None
                if died or time.monotonic() > end:
                    raise RuntimeError((self.folder / "log").read_text()[-2000:]) from None
                time.sleep(0.05)
            else:
                return


def _user() -> tuple[str, str]:
    import grp
    import pwd

    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return name, grp.getgrgid(user.pw_gid).gr_name
    raise RuntimeError("neither a user postgres nor nobody")


@contextmanager
def running_postgres(*, durable: bool = False) -> Iterator[PostgresServer]:
    """A server with an empty cluster, stopped and removed at the end."""
    binaries = find_binaries()
    assert binaries is not None, "no PostgreSQL"
    folder = Path(tempfile.mkdtemp(prefix="edgeloop-pg-"))  # not below pytest's own, which others may not enter
    server = PostgresServer(binaries=binaries, folder=folder, port=free_port(), durable=durable)
    try:
        server.initialise()
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
