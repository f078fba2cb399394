"""What is to be deployed: by which names it is called, where its data lie, and on what it runs."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from pathlib import Path

from cloud_train.fleet.certificates import general_name
from cloud_train.store.engines import checked_url
from cloud_train.store.objects import checked_place
from edge.errors import UsageError

GRPC_PORT, ENROLL_PORT, HTTP_PORT = 7443, 7444, 7480
MOST_SERVERS = 8


class DeployType(enum.Enum):
    """DOCKER runs in containers, with a database and an object store of its own; SYSTEMD on the machine itself."""

    DOCKER = "docker"
    SYSTEMD = "systemd"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployPlan:
    """Everything the files are made of.

    Attributes:
        hosts: Names and addresses by which devices and people call the servers; at least one.
        version: Of edgeloop.
        executable: The `edgeloop` that units start.
        prefix: Folder of the Python that it runs on.
        database: URL of a database that is there already; empty for one of its own.
        objects: URL of an object store that is there already; empty for one of its own.
        endpoint: Address of that object store, where it is not Amazon's.
        servers: Server processes, 1 to `MOST_SERVERS`; more than one only in containers.
        pins: What was installed where the files were written, as lines of a constraints file.
        password: Of the database of its own.
        access_key: Of the object store of its own.
        secret_key: Of that access key.
        console_key: Signs the cookies of the pages.
    """

    hosts: tuple[str, ...]
    version: str
    executable: Path
    prefix: Path = Path("/usr")
    database: str = field(default="", repr=False)
    objects: str = ""
    endpoint: str = ""
    servers: int = 1
    pins: tuple[str, ...] = ()
    password: str = field(repr=False)
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    console_key: str = field(repr=False)

    def __post_init__(self) -> None:
        """Refuses what no server would start with."""
        if not self.hosts:
            raise UsageError("a server needs a name", hint="give --host NAME, as devices call it")
        for host in self.hosts:
            general_name(host)
        if self.database and isinstance(checked_url(self.database), Path):
            raise UsageError(
                "an SQLite file is no database for several processes of a fleet", hint="leave --database out"
            )
        if self.objects and isinstance(checked_place(self.objects), Path):
            raise UsageError(
                "a folder is no object store for containers", hint="leave --objects out, or give s3://BUCKET"
            )
        if self.endpoint and not self.endpoint.startswith(("http://", "https://")):
            raise UsageError(f"{self.endpoint!r} is no address", hint="for instance --endpoint https://s3.example.org")
        if not 1 <= self.servers <= MOST_SERVERS:
            raise UsageError(f"cannot write {self.servers} servers", hint=f"give --servers 1 to {MOST_SERVERS}")

    @property
    def host_setting(self) -> str:
        """The names as `EDGELOOP_SERVE_HOST` takes them."""
        return ",".join(self.hosts)

    @property
    def address(self) -> str:
        """The first name, as it is written before a port."""
        return f"[{self.hosts[0]}]" if ":" in self.hosts[0] else self.hosts[0]
