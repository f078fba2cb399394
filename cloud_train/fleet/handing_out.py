"""Enrolment files: everything that one device needs to get in, written for whoever sets it up."""

from __future__ import annotations

import re
from pathlib import Path

from cloud_train.fleet.members import NewCode
from edge import durable, jsonvalue
from edge.errors import UsageError
from edge.identity.types import EnrolmentFile

_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")


def enrol_address(server: str, said: str) -> str:
    """Where devices enrol: what was said, or the port after the server's.

    Raises:
        UsageError: One of them is no address.
    """
    for address in (server, said or server):
        if not _ADDRESS.fullmatch(address):
            raise UsageError(f"{address[:80]!r} is not a server address", hint="write host:port")
    host, _, port = server.rpartition(":")
    return said or f"{host}:{int(port) + 1}"


def enrolment_file(
    code: NewCode, *, server: str, enroll_server: str, authority_pem: bytes, root_json: bytes, fleet_key: str
) -> EnrolmentFile:
    """What one device is handed.

    Args:
        code: Its code.
        server: `host:port` where devices speak.
        enroll_server: `host:port` where they enrol.
        authority_pem: Authorities of the server.
        root_json: Trusted root of the releases, empty where nothing was published yet.
        fleet_key: What opens encrypted models, empty while there is none.
    """
    return EnrolmentFile(
        server=server,
        enroll_server=enroll_server,
        authority_pem=authority_pem.decode(),
        code=code.code,
        device_id=code.record.device_id,
        channel=code.record.channel,
        root_json=root_json.decode(),
        fleet_key=fleet_key,
    )


def write_enrolment_files(folder: Path, files: tuple[EnrolmentFile, ...]) -> tuple[Path, ...]:
    """Writes one file a device, readable by its owner only; files that are there are not replaced.

    Raises:
        UsageError: A file of this name is there already.
        StorageError: The folder cannot be written.
    """
    durable.make_folder(folder)
    paths = tuple(folder / f"{one.device_id or f'device-{number + 1}'}.enrol.json" for number, one in enumerate(files))
    for path in paths:
        if path.exists():
            raise UsageError(f"{path} is there already", hint="name another --out")
    for path, one in zip(paths, files, strict=True):
        durable.write_bytes(path, jsonvalue.pretty_bytes(one), point="enrolment", mode=0o600)
    return paths


def check_out_folder(folder: Path) -> None:
    """Checks, before codes are made, that there is nothing to be replaced.

    Raises:
        UsageError: There is.
    """
    if any(folder.glob("*.enrol.json")):
        raise UsageError(f"{folder} holds enrolment files already", hint="name another --out")
