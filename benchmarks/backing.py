"""PostgreSQL and an S3 server for benchmarks, each in processes of its own on this machine, and the CPU they use.

Both are started as the tests start them: PostgreSQL writes durably; moto keeps what it is given in its memory.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from tests.postgres_server import PostgresServer, find_binaries, running_postgres
from tests.s3_server import S3Server, running_s3

_TICKS = os.sysconf("SC_CLK_TCK")
_UTIME, _CUTIME = 11, 13  # of /proc/PID/stat after the name: user, system, and the same of children that ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Backing:
    """Where a store may lie.

    Attributes:
        postgres: A running PostgreSQL.
        s3: A running S3 server; this process's environment says where.
    """

    postgres: PostgresServer
    s3: S3Server

    def database_cpu_s(self) -> float:
        """CPU that PostgreSQL has used so far, all its processes together."""
        process = self.postgres.process
        return _tree_cpu_s(process.pid) if process is not None else 0.0

    def objects_cpu_s(self) -> float:
        """CPU that the S3 server has used so far."""
        return _tree_cpu_s(self.s3.pid)


@contextlib.contextmanager
def backing() -> Iterator[Backing]:
    """Both, for the length of the block.

    Raises:
        click.ClickException: One of them is not installed here.
    """
    with postgres() as database, running_s3() as objects, _environment(objects.environment):
        yield Backing(postgres=database, s3=objects)


@contextlib.contextmanager
def postgres() -> Iterator[PostgresServer]:
    """PostgreSQL alone.

    Raises:
        click.ClickException: It is not installed here.
    """
    if find_binaries() is None or shutil.which("setpriv") is None:
        raise click.ClickException("no PostgreSQL on this machine (install the package postgresql)")
    with running_postgres(durable=True) as server:
        yield server


def require_moto() -> None:
    """Says what to install where the S3 server is missing.

    Raises:
        click.ClickException: It is.
    """
    missing = [name for name in ("moto", "flask", "s3fs") if importlib.util.find_spec(name) is None]
    if missing:
        raise click.ClickException(
            f"no {missing[0]} in this environment (pip install 'edgeloop[cloud]' 'moto[server]')"
        )


@contextlib.contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _tree_cpu_s(pid: int) -> float:
    """CPU of a process, its children, and those of them that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:  # it has ended since its parent named it
        return 0.0
    own = sum(map(int, fields[_UTIME : _CUTIME + 2])) / _TICKS
    return own + sum(_tree_cpu_s(int(child)) for child in children)
