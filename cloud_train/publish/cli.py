"""`edgeloop publish BUNDLE` and `edgeloop publish renew`."""

from __future__ import annotations

import time
from pathlib import Path

import click

_PATH = click.Path(path_type=Path)
_STORE = click.option("--store", type=_PATH, required=True, help="The store folder of the server.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class _PublishGroup(click.Group):
    """Takes anything but the name of a subcommand as the arguments of `bundle`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Puts the subcommand in where it was left out."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["bundle", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_PublishGroup, subcommand_metavar="[BUNDLE | renew] --store DIR [OPTIONS]")
def publish() -> None:
    """Sign a proven bundle and offer it on a channel; or keep the signatures fresh.

    `edgeloop publish BUNDLE --store DIR` publishes the bundle folder BUNDLE.
    """


@publish.command("bundle")
@click.argument("bundle_folder", metavar="BUNDLE", type=_PATH)
@_STORE
@click.option("--channel", default="stable", show_default=True, help="The update channel.")
@_JSON
def _bundle(bundle_folder: Path, store: Path, channel: str, as_json: bool) -> None:
    """Offer the bundle folder BUNDLE on a channel; the same bundle again changes nothing."""
    from cloud_train.publish.publish import publish_bundle
    from edge import jsonvalue
    from edge.errors import UsageError

    if not bundle_folder.is_dir():
        raise UsageError(f"no bundle folder {bundle_folder}", hint="give the folder that `edgeloop convert` wrote")
    release = publish_bundle(bundle_folder, store, channel=channel, now=time.time())
    if as_json:
        click.echo(jsonvalue.canonical_bytes(release).decode())
    else:
        click.echo(f"channel {channel} offers {release.name} version {release.version} ({release.bundle_digest[:12]})")


@publish.command("renew")
@_STORE
@_JSON
def _renew(store: Path, as_json: bool) -> None:
    """Sign the timestamp anew, and whatever else will expire before long; do this at least weekly."""
    from cloud_train.publish.repository import open_repository
    from edge import jsonvalue
    from edge.errors import UsageError

    if not (store / "repository").is_dir():
        raise UsageError(f"nothing was ever published in {store}", hint="publish a bundle first")
    roles = open_repository(store, now=time.time()).renew(time.time())
    click.echo(jsonvalue.canonical_bytes({"renewed": roles}).decode() if as_json else f"renewed {', '.join(roles)}")
