"""`edgeloop fleet …`: who belongs, and what people decide about it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from cloud_train.fleet.people_cli import people

if TYPE_CHECKING:
    from cloud_train.fleet.office import Office
    from cloud_train.fleet_types import Member

F = TypeVar("F", bound=Callable[..., object])
_PATH = click.Path(path_type=Path)
_STORE = click.option("--store", type=_PATH, required=True, help="The store folder of the server.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_DEVICE = click.argument("device_id", metavar="DEVICE")


@click.group()
def fleet() -> None:
    """Let devices and people in, steer devices, shut them out. Every change is in the audit."""


fleet.add_command(people)


@fleet.command()
@_STORE
@click.option("--host", "hosts", multiple=True, help="What devices call the server; may be repeated.")
@click.option("--name", default="edgeloop fleet", show_default=True, help="Name of the authority, for people.")
@click.option("--ca", type=_PATH, metavar="DIR", help="Where the authority lies.  [default: ca in the store]")
def init(store: Path, hosts: tuple[str, ...], name: str, ca: Path | None) -> None:
    """Make the fleet's certificate authority and say by which names its servers are called."""
    import time

    from cloud_train.fleet.authority import create_authority
    from cloud_train.fleet.hosts import read_hosts, write_hosts
    from cloud_train.store.layout import StoreLayout

    folder = ca or StoreLayout(root=store).authority
    create_authority(folder, name, time.time())
    if hosts:
        write_hosts(folder, hosts)
    names = ", ".join(read_hosts(folder)) or "this machine's own names"
    click.echo(f"the authority is in {folder}; keep a backup of it where nobody else can read it")
    click.echo(f"servers are called: {names}")


@fleet.command()
@_STORE
@click.option("--device-id", default="", help="Name that the device gets; with --count its beginning.")
@click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="Label of the device; may be repeated.")
@click.option("--channel", default="", help="Update channel of the device.  [default: the server's]")
@click.option("--expires-hours", type=float, default=24.0, show_default=True, help="How long the codes last.")
@click.option("--count", type=int, default=1, show_default=True, help="How many codes.")
@click.option("--out", type=_PATH, metavar="DIR", help="Write an enrolment file for each device into this folder.")
@click.option("--server", metavar="HOST:PORT", help="Where devices speak, for --out.")
@click.option("--enroll-server", default="", metavar="HOST:PORT", help="Where they enrol.  [default: the port after]")
@click.option("--ca", type=_PATH, metavar="DIR", help="Where the authority lies.  [default: ca in the store]")
@_JSON
def enroll(store: Path, out: Path | None, as_json: bool, **told: object) -> None:
    """Make one-time codes that let devices in. Each is shown once; the fleet keeps its hash."""
    from edge import jsonvalue

    with _office(store) as office:
        made, paths = office.enroll(out=out, **told)  # type: ignore[arg-type]
    if as_json:
        rows = [{"code": one.code, "device_id": one.record.device_id} for one in made]
        click.echo(jsonvalue.canonical_bytes(rows).decode())
        return
    for path in paths:
        click.echo(f"wrote {path}")
    if not paths:
        for one in made:
            click.echo(f"{one.code}  {one.record.device_id}".rstrip())


@fleet.command()
@_STORE
@click.option("--device-id", required=True, help="Name of the device.")
@click.option("--certificate", type=_PATH, metavar="F", help="The certificate that it brings (PEM).")
@click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="Label of the device; may be repeated.")
def register(store: Path, device_id: str, certificate: Path | None, labels: tuple[str, ...]) -> None:
    """Take in a device by a certificate of its own (see --client-ca of `edgeloop serve`), or one without any."""
    with _office(store) as office:
        office.register(device_id, certificate, labels)
    click.echo(f"{device_id} belongs to the fleet")


@fleet.command("list")
@_STORE
@click.option("--channel", help="Only devices of this channel.")
@click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="Only devices with this label.")
@_JSON
def list_(store: Path, channel: str | None, labels: tuple[str, ...], as_json: bool) -> None:
    """List the devices of the fleet."""
    from edge import jsonvalue

    with _office(store) as office:
        members = office.members(channel, labels)
    for member in members:
        click.echo(jsonvalue.canonical_bytes(member).decode() if as_json else _line(member))


@fleet.command()
@_STORE
@_DEVICE
@_JSON
def show(store: Path, device_id: str, as_json: bool) -> None:
    """Show one device: what people decided, its certificates, what was done to it."""
    from edge import jsonvalue

    with _office(store) as office:
        found = office.show(device_id)
    if as_json:
        click.echo(jsonvalue.canonical_bytes(found).decode())
        return
    click.echo(_line(found.member))
    for certificate in found.certificates:
        state = "revoked" if certificate.revoked_at is not None else f"until {_day(certificate.not_after)}"
        click.echo(f"  certificate {certificate.fingerprint[:16]} {state}")
    for entry in found.audit:
        detail = " ".join(f"{key}={value}" for key, value in sorted(entry.detail.items()))
        click.echo(f"  {_day(entry.at)} {entry.who} {entry.action} {detail}".rstrip())


@fleet.command()
@_STORE
@_DEVICE
def revoke(store: Path, device_id: str) -> None:
    """Shut a device out: its next call is refused, and what it is sending gets no receipt."""
    with _office(store) as office:
        office.revoke(device_id)
    click.echo(f"{device_id} is shut out")


@fleet.command()
@_STORE
@_DEVICE
def readmit(store: Path, device_id: str) -> None:
    """Let a revoked device in again with the certificate that it has."""
    with _office(store) as office:
        office.readmit(device_id)
    click.echo(f"{device_id} may speak again")


@fleet.command()
@_STORE
@_DEVICE
@click.argument("labels", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--remove", multiple=True, metavar="NAME", help="Take this label away; may be repeated.")
def label(store: Path, device_id: str, labels: tuple[str, ...], remove: tuple[str, ...]) -> None:
    """Set labels of a device, as store=17."""
    with _office(store) as office:
        click.echo(_line(office.label(device_id, labels, remove)))


@fleet.command()
@_STORE
@_DEVICE
@click.argument("channel")
def channel(store: Path, device_id: str, channel: str) -> None:
    """Have a device follow an update channel; '' is the server's own. One started with --channel keeps to its own."""
    with _office(store) as office:
        click.echo(_line(office.follow(device_id, channel)))


@fleet.command()
@_STORE
@_DEVICE
@click.argument("bundle", metavar="DIGEST", required=False)
@click.option("--off", is_flag=True, help="Follow the channel again.")
def pin(store: Path, device_id: str, bundle: str | None, off: bool) -> None:
    """Have a device run one bundle whatever its channel offers."""
    from edge.errors import UsageError

    if off == bool(bundle):
        raise UsageError("which bundle?", hint="give its digest, or --off")
    with _office(store) as office:
        click.echo(_line(office.pin(device_id, bundle or "")))


@fleet.command()
@_STORE
@_DEVICE
@click.option("--off", is_flag=True, help="Let it change its bundle again.")
def hold(store: Path, device_id: str, off: bool) -> None:
    """Have a device stay on the bundle that it runs."""
    with _office(store) as office:
        click.echo(_line(office.hold(device_id, held=not off)))


@fleet.command()
@_STORE
@_DEVICE
@click.argument("hours", metavar="HOURS")
def windows(store: Path, device_id: str, hours: str) -> None:
    """Say in which HOURS of its local day a device may change its bundle, as 22:00-06:00; '' is any."""
    with _office(store) as office:
        click.echo(_line(office.set_windows(device_id, hours)))


@contextlib.contextmanager
def _office(store: Path) -> Iterator[Office]:
    from cloud_train.fleet.office import open_office

    with contextlib.closing(open_office(store)) as office:
        yield office


def _line(member: Member) -> str:
    words = [member.device_id, f"channel={member.channel or '(server)'}"]
    words += [f"{key}={value}" for key, value in sorted(member.labels.items())]
    words += [f"pinned={member.pinned[:12]}"] if member.pinned else []
    words += ["held"] if member.held else []
    words += [f"windows={member.update_windows}"] if member.update_windows else []
    words += [f"REVOKED {_day(member.revoked_at)}"] if member.revoked_at is not None else []
    return " ".join(words)


def _day(at: float) -> str:
    import time

    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at))
