"""The console over real HTTP: an application with nothing else on it, uvicorn in a thread, a store in SQLite."""

from __future__ import annotations

import secrets
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from cloud_train.api.app import add_console
from cloud_train.api.console import console_parts
from cloud_train.fleet.attempts import Attempts
from cloud_train.fleet.members import By
from cloud_train.fleet.people import People
from cloud_train.fleet_types import Role
from cloud_train.store.audit import SqlAuditLog
from cloud_train.store.database import Database, open_database
from cloud_train.store.people import SqlPeopleStore
from edge.kiosk.server import listening_socket

KEY = b"k" * 32
# Never used, for nothing here speaks TLS: httpx would read the certificates of the system for every client.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@dataclass
class Clock:
    """Time that a test moves."""

    now: float = field(default_factory=time.time)

    def __call__(self) -> float:
        return self.now


def make_app(database: Database, *, clock: Callable[[], float] = time.time, **changes: object) -> FastAPI:
    """An application with the console and a probe of its own, as the server has it."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    @app.get("/readyz")
    async def readyz() -> str:
        return "ready"

    patient = People(SqlPeopleStore(database), SqlAuditLog(database), attempts=Attempts(at_once=1_000_000))
    options = {"session_key": KEY, "channel": "stable", "check_in_s": 30.0, "people": patient}
    options |= {"per_minute": 1_000_000, "sign_ins_per_minute": 1_000_000, **changes}
    add_console(app, console_parts(database, clock=clock, **options))
    return app


def add_people(database: Database, *, now: float) -> dict[Role, str]:
    """One person a role, named like it; their tokens."""
    people = People(SqlPeopleStore(database), SqlAuditLog(database))
    by = By(who="person:test", now=now)
    return {role: people.add(role.value, role, by, random_bytes=secrets.token_bytes) for role in Role}


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """The application on a free port of this machine; gives its address."""
    listener = listening_socket("127.0.0.1", 0)
    config = uvicorn.Config(app, log_config=None, access_log=False, server_header=False, ws="none", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)


@contextmanager
def small_store(folder: Path) -> Iterator[Database]:
    database = open_database(folder / "meta.sqlite")
    try:
        yield database
    finally:
        database.close()
