"""`edgeloop fleet people …`: tokens for people and their programs."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from cloud_train.fleet_types import Role

_STORE = click.option("--store", type=click.Path(path_type=Path), required=True, help="The store folder of the server.")
_NAME = click.argument("name")


@click.group()
def people() -> None:
    """Give people tokens for the API and the pages, and take them away."""


@people.command()
@_STORE
@_NAME
@click.option("--role", type=click.Choice([role.value for role in Role]), required=True, help="What they may do.")
def add(store: Path, name: str, role: str) -> None:
    """Give somebody a token. It is shown once; the fleet keeps its hash."""
    from cloud_train.fleet.office import open_office

    with contextlib.closing(open_office(store)) as office:
        click.echo(office.add_person(name, Role(role)))


@people.command("list")
@_STORE
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(store: Path, as_json: bool) -> None:
    """List everybody who has, or had, a token."""
    from cloud_train.fleet.office import open_office
    from edge import jsonvalue

    with contextlib.closing(open_office(store)) as office:
        found = office.people.all()
    for person in found:
        row = {"name": person.name, "role": person.role.value, "revoked": person.revoked_at is not None}
        line = f"{person.name} {person.role.value}{' REVOKED' if person.revoked_at is not None else ''}"
        click.echo(jsonvalue.canonical_bytes(row).decode() if as_json else line)


@people.command()
@_STORE
@_NAME
def revoke(store: Path, name: str) -> None:
    """End somebody's token, from their next request on."""
    from cloud_train.fleet.office import open_office

    with contextlib.closing(open_office(store)) as office:
        office.revoke_person(name)
    click.echo(f"the token of {name} works no more")
