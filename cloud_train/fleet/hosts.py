"""By which names devices call the servers of a fleet: told once, kept beside the authority that signs them."""

from __future__ import annotations

from pathlib import Path

from cloud_train.fleet.certificates import general_name
from edge import durable, jsonvalue
from edge.errors import FormatError, StorageError

HOSTS_FILE = "hosts.json"


def read_hosts(folder: Path) -> tuple[str, ...]:
    """The names of a folder, none where nobody said any.

    Raises:
        StorageError: The file is damaged.
    """
    path = folder / HOSTS_FILE
    if not path.exists():
        return ()
    try:
        found = jsonvalue.parse(path.read_bytes(), where=str(path))
    except (OSError, FormatError) as cause:
        raise StorageError(f"{path} cannot be read", hint="write it with `edgeloop fleet init --host`") from cause
    if not isinstance(found, list) or not all(isinstance(host, str) for host in found):
        raise StorageError(f"{path} is no list of names", hint="write it with `edgeloop fleet init --host`")
    return tuple(str(host) for host in found)


def write_hosts(folder: Path, hosts: tuple[str, ...]) -> None:
    """Keeps names.

    Raises:
        UsageError: One is neither a name nor an address.
        StorageError: The folder cannot be written.
    """
    for host in hosts:
        general_name(host)
    durable.write_bytes(folder / HOSTS_FILE, jsonvalue.pretty_bytes(list(hosts)), point="ca.hosts")
