"""`edgeloop serve`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from cloud_train.server_info import ServerInfo

_PATH = click.Path(path_type=Path)


@click.command()
@click.option("--store", type=_PATH, help="The store folder; created when missing.")
@click.option(
    "--listen", metavar="HOST:PORT", help="Where to listen; port 0 takes a free one.  [default: 127.0.0.1:7443]"
)
@click.option(
    "--enroll-listen",
    metavar="HOST:PORT",
    help="Where devices without a certificate enrol; `off` for nowhere.  [default: the port after --listen]",
)
@click.option("--host", metavar="NAMES", help="What devices call this server, separated by commas.")
@click.option("--ca", type=_PATH, metavar="DIR", help="The fleet's authority.  [default: ca in the store]")
@click.option("--client-ca", type=_PATH, metavar="F", help="Authorities of certificates that devices bring (PEM).")
@click.option("--tls-cert", type=_PATH, metavar="F", help="A certificate of your own for the server (PEM chain).")
@click.option("--tls-key", type=_PATH, metavar="F", help="Private key of that certificate (PEM).")
@click.option("--plaintext", is_flag=True, default=None, help="No TLS: on this machine only, and any name is believed.")
@click.option("--channel", help="The update channel that devices are told to follow.  [default: stable]")
@click.option("--check-in-s", type=float, help="Seconds between two check-ins of a device.  [default: 30]")
@click.option(
    "--http-listen",
    metavar="HOST:PORT",
    help="Where health, metrics and pages are.  [default: 127.0.0.1:7480; a free port when --listen asks for one]",
)
@click.option("--no-http", is_flag=True, help="Serve no HTTP.")
@click.option("--only", type=click.Choice(["grpc", "http"]), help="Serve one of both.")
@click.option("--worker/--no-worker", default=None, help="Decode arrived samples in a child process.  [default: yes]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line when ready.")
def serve(as_json: bool, no_http: bool, **given: object) -> None:
    """Run the server that devices talk to, until Ctrl-C or SIGTERM.

    Every option can also be given as an environment variable, EDGELOOP_SERVE_<OPTION>.
    """
    # A line of C++ for every stranger who knocks helps nobody; what matters is said by us.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    from cloud_train.ingest.server import serve as run_server
    from cloud_train.settings import serve_settings

    settings = serve_settings(**given)
    if no_http:
        settings = settings.model_copy(update={"http_listen": ""})
    elif not settings.http_listen:
        settings = settings.model_copy(update={"http_listen": _http_default(settings.listen)})
    run_server(settings, ready=lambda info: _say_ready(info, settings.store, as_json=as_json))


def _http_default(listen: str) -> str:
    return "127.0.0.1:0" if listen.endswith(":0") else "127.0.0.1:7480"


def _say_ready(info: ServerInfo, store: Path, *, as_json: bool) -> None:
    from edge import jsonvalue

    if as_json:
        click.echo(jsonvalue.canonical_bytes(info).decode())
    else:
        enrol = f"; devices enrol on port {info.enroll_port}" if info.enroll_port else ""
        click.echo(f"serving {store} on {info.target}{enrol} (Ctrl-C stops)")
