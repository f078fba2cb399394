"""Engines of the two databases that a store may lie in, and what their failures mean."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge.errors import MissingExtraError, StorageError, UsageError

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine

CONNECT_TIMEOUT_S = 10
_POOL_SIZE = 8
_POOL_OVERFLOW = 16
_POOL_WAIT_S = 15.0
_BUSY_MS = 10_000
_IDLE_MS = 60_000
_POSTGRESQL = ("postgres", "postgresql", "postgresql+psycopg")
_PATIENCE = "it is asked again by itself"

_SQLITE_SIGNS = (
    ("not a database", "is not a database", "restore it from a backup, or move it away to start an empty store"),
    ("malformed", "is damaged", "restore it from a backup, or move it away to start an empty store"),
    ("full", "cannot be written: the disk is full", "free some space and run the same command again"),
    ("readonly", "cannot be written", "check the owner and permissions of the folder"),
    ("unable to open", "cannot be opened", "check the owner and permissions of the folder"),
    ("locked", "is locked by another process", "stop that process and try again"),
)
# By SQLSTATE, the longest prefix that fits; https://www.postgresql.org/docs/current/errcodes-appendix.html
_POSTGRESQL_STATES = {
    "28": ("refuses the user or the password", "check the user and password of the database URL"),
    "3D000": ("does not exist", "make it with createdb, or check the database URL"),
    "42501": ("does not allow that to this user", "make the user the owner of the database"),
    "25006": ("is read-only", "name the primary server in the database URL, not a standby"),
    "53100": ("has no disk space left", "free some space on the database server"),
    "53300": ("has no connection left", "raise max_connections, or run fewer servers"),
    "40": ("had a conflict between two writers", "run the same command again"),
    "55P03": ("is locked by another process", "wait for it to end and try again"),
    "57": ("is shutting down or starting", _PATIENCE),
    "08": ("cannot be reached", "check that the database server runs, and the host and port of its URL"),
}
_POSTGRESQL_SIGNS = (
    ("password authentication failed", "28"),
    ("no password supplied", "28"),
    ("no pg_hba.conf entry", "28"),
    ("role ", "28"),
    ("too many clients", "53300"),
    ("starting up", "57"),
    ("shutting down", "57"),
    ("does not exist", "3D000"),
)


def checked_url(text: str) -> Path | str:
    """A database URL in the form that the rest of the store takes.

    Returns:
        The path of an SQLite file, or a URL of PostgreSQL.

    Raises:
        UsageError: It is no URL, or of another database.
    """
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    example = "use postgresql://USER:PASSWORD@HOST/DATABASE, or sqlite:///FILE"
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as cause:
        raise UsageError("the database URL is not a URL", hint=example) from cause
    if url.drivername == "sqlite" and url.database and url.database != ":memory:":
        return Path(url.database)
    if url.drivername in _POSTGRESQL and url.database:
        return url.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
    raise UsageError(f"no store can lie in the database {_public(url)}", hint=example)


def public_name(where: Path | str) -> str:
    """A path, or a URL without password and options."""
    from sqlalchemy import make_url

    return str(where) if isinstance(where, Path) else _public(make_url(where))


def make_engine(where: Path | str) -> Engine:
    """An engine that connects when it is first used.

    Args:
        where: As `checked_url` returns it.

    Raises:
        MissingExtraError: The driver is not installed.
    """
    return _sqlite(where) if isinstance(where, Path) else _postgresql(where)


def storage_error(name: str, cause: Exception) -> StorageError:
    """What a failure of a database means, in one line and without its password.

    Args:
        name: The database's `public_name`.
        cause: What SQLAlchemy raised.
    """
    origin = getattr(cause, "orig", None) or cause
    text = " ".join(str(origin).split())
    if origin.__class__.__module__.startswith("psycopg"):
        meaning, hint = _postgresql_meaning(getattr(origin, "sqlstate", None) or "", text)
        return StorageError(f"{name} {meaning}", hint=hint)
    for sign, meaning, hint in _SQLITE_SIGNS:
        if sign in text:
            return StorageError(f"{name} {meaning}", hint=hint)
    return StorageError(f"{name}: {text}", hint="check the database")


def is_passing(cause: Exception) -> bool:
    """Whether the same transaction may well succeed at once when tried again: a deadlock, a conflict."""
    return (getattr(getattr(cause, "orig", None), "sqlstate", None) or "") in ("40001", "40P01")


def _public(url: URL) -> str:
    kind = "postgresql" if url.drivername in _POSTGRESQL else url.drivername
    return url.set(drivername=kind, query={}).render_as_string(hide_password=True)


def _sqlite(path: Path) -> Engine:
    from sqlalchemy import URL, create_engine, event

    engine = create_engine(URL.create("sqlite", database=str(path)))
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _postgresql(url: str) -> Engine:
    from sqlalchemy import create_engine, event

    try:
        engine = create_engine(
            url,
            pool_size=_POOL_SIZE,
            max_overflow=_POOL_OVERFLOW,
            pool_timeout=_POOL_WAIT_S,
            pool_pre_ping=True,  # a connection that the server's restart has cut is replaced unseen
            isolation_level="READ COMMITTED",  # whatever the server's default: see Database.connect
            connect_args={"connect_timeout": CONNECT_TIMEOUT_S, "application_name": "edgeloop", **_alive()},
        )
    except ImportError as cause:
        raise MissingExtraError("psycopg", "cloud") from cause
    event.listen(engine, "connect", _prepare_postgresql)
    return engine


def _alive() -> dict[str, int]:
    """Has the system notice a server that vanished in a minute, rather than in two hours."""
    probes = {"keepalives": 1, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
    return {**probes, "tcp_user_timeout": 60_000}  # probes are not sent while sent data waits for its answer


def _prepare_postgresql(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's own connection
    """Bounds every wait; a server process that hangs inside a transaction does not stop the others for ever."""
    connection.autocommit = True
    for setting in (f"lock_timeout = {_BUSY_MS}", f"idle_in_transaction_session_timeout = {_IDLE_MS}"):
        connection.execute(f"SET {setting}")
    # A receipt rests on it, whatever the server or the role has for a default.
    connection.execute(
        "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
    )
    connection.autocommit = False


def _prepare_sqlite(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's own connection
    connection.isolation_level = None  # the driver would leave DDL outside of transactions; "begin" is sent by us
    cursor = connection.cursor()
    for pragma in (f"busy_timeout={_BUSY_MS}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("edgeloop_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _postgresql_meaning(state: str, text: str) -> tuple[str, str]:
    if not state:  # the connection failed before there was anybody to send a code
        state = next((code for sign, code in _POSTGRESQL_SIGNS if sign in text), "08")
    for length in (5, 2):
        if state[:length] in _POSTGRESQL_STATES:
            return _POSTGRESQL_STATES[state[:length]]
    return f"answered: {text.split(' DETAIL:')[0]} (SQLSTATE {state})", "check the database"
