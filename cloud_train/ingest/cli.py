"""`edgeloop serve`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from cloud_train.ingest.server import ServerInfo

_PATH = click.Path(path_type=Path)


@click.command()
@click.option("--store", type=_PATH, help="The store folder; created when missing.")
@click.option(
    "--listen", metavar="HOST:PORT", help="Where to listen; port 0 takes a free one.  [default: 127.0.0.1:7443]"
)
@click.option("--tls-cert", type=_PATH, metavar="F", help="Certificate chain (PEM); needed off this machine.")
@click.option("--tls-key", type=_PATH, metavar="F", help="Private key of the certificate (PEM).")
@click.option("--channel", help="The update channel that devices are told to follow.  [default: stable]")
@click.option("--check-in-s", type=float, help="Seconds between two check-ins of a device.  [default: 30]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line when ready.")
def serve(as_json: bool, **given: object) -> None:
    """Run the server that devices talk to, until Ctrl-C or SIGTERM.

    Every option can also be given as an environment variable, EDGELOOP_SERVE_<OPTION>.
    """
    from cloud_train.ingest.server import serve as run_server
    from cloud_train.settings import serve_settings

    settings = serve_settings(**given)
    run_server(settings, ready=lambda info: _say_ready(info, settings.store, as_json=as_json))


def _say_ready(info: ServerInfo, store: Path, *, as_json: bool) -> None:
    from edge import jsonvalue

    if as_json:
        click.echo(jsonvalue.canonical_bytes(info).decode())
    else:
        click.echo(f"serving {store} on {info.target} (Ctrl-C stops)")
