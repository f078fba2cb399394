"""`edgeloop publish BUNDLE`, `… renew`, `… export` and `… keys`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cloud_train.publish.keys import PASSPHRASE_VARIABLE
from cloud_train.publish.keys_cli import ask_for, keys

if TYPE_CHECKING:
    from cloud_train.publish.repository import Repository

_PATH = click.Path(path_type=Path)
_STORE = click.option("--store", type=_PATH, required=True, help="The store folder of the server.")
_PASSPHRASE = click.option(
    "--passphrase-env",
    metavar="VAR",
    help=f"Variable with the keys' passphrase.  [default: {PASSPHRASE_VARIABLE}]",
)
_CHANNEL = click.option("--channel", default="stable", show_default=True, help="The update channel.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class _PublishGroup(click.Group):
    """Takes anything but the name of a subcommand as the arguments of `bundle`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Puts the subcommand in where it was left out."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["bundle", *args]
        return super().parse_args(ctx, args)


@click.group(
    cls=_PublishGroup,
    subcommand_metavar="[BUNDLE | COMMAND] --store DIR [OPTIONS]",
)
def publish() -> None:
    """Sign a proven bundle and offer it on a channel; or keep the signatures fresh.

    `edgeloop publish BUNDLE --store DIR` publishes the bundle folder BUNDLE.
    """


@publish.command("bundle")
@click.argument("bundle_folder", metavar="BUNDLE", type=_PATH)
@_STORE
@_CHANNEL
@click.option("--downgrade", is_flag=True, help="Let devices take it over a higher version.")
@click.option("--encrypt", is_flag=True, help="Encrypt the models to the fleet's key.")
@_PASSPHRASE
@_JSON
def _bundle(
    bundle_folder: Path,
    store: Path,
    channel: str,
    downgrade: bool,
    encrypt: bool,
    passphrase_env: str | None,
    as_json: bool,
) -> None:
    """Offer the bundle folder BUNDLE on a channel; the same bundle again changes nothing."""
    from cloud_train.publish.publish import publish_bundle
    from edge import jsonvalue
    from edge.errors import UsageError

    if not bundle_folder.is_dir():
        raise UsageError(f"no bundle folder {bundle_folder}", hint="give the folder that `edgeloop convert` wrote")
    release = publish_bundle(
        bundle_folder,
        store,
        channel=channel,
        now=time.time(),
        downgrade=downgrade,
        encrypt=encrypt,
        ask=ask_for(passphrase_env),
    )
    if as_json:
        click.echo(jsonvalue.canonical_bytes(release).decode())
    else:
        click.echo(f"channel {channel} offers {release.name} version {release.version} ({release.bundle_digest[:12]})")


@publish.command("offer")
@click.argument("bundle_folder", metavar="BUNDLE", type=_PATH)
@_STORE
@_CHANNEL
@click.option("--rollback-to", multiple=True, metavar="DIGEST", help="A bundle to go back to.  [default: the settled]")
@click.option("--downgrade", is_flag=True, help="Let devices take it over a higher version.")
@click.option("--encrypt", is_flag=True, help="Encrypt the models to the fleet's key.")
@_PASSPHRASE
def _offer(
    bundle_folder: Path,
    store: Path,
    channel: str,
    rollback_to: tuple[str, ...],
    passphrase_env: str | None,
    downgrade: bool,
    encrypt: bool,
) -> None:
    """Offer BUNDLE as a candidate: devices take it only when a rollout tells them to."""
    from cloud_train.publish.publish import offer_bundle
    from edge.errors import UsageError

    if not bundle_folder.is_dir():
        raise UsageError(f"no bundle folder {bundle_folder}", hint="give the folder that `edgeloop convert` wrote")
    offered = offer_bundle(
        bundle_folder,
        store,
        channel=channel,
        now=time.time(),
        rollback_to=rollback_to or None,
        downgrade=downgrade,
        encrypt=encrypt,
        ask=ask_for(passphrase_env),
    )
    click.echo(f"channel {channel} offers {offered.name} version {offered.version} as a candidate ({offered.digest})")


@publish.command("promote")
@click.argument("digest")
@_STORE
@_CHANNEL
@_PASSPHRASE
def _promote(digest: str, store: Path, channel: str, passphrase_env: str | None) -> None:
    """Make the candidate whose digest begins with DIGEST what the channel offers to everybody."""
    now = time.time()
    repository, whole = _candidate(digest, store, channel, passphrase_env, now)
    release = repository.promote(channel, whole, now=now)
    _bring(store)
    click.echo(f"channel {channel} offers {release.name} version {release.version} ({whole[:12]}) to everybody")


@publish.command("withdraw")
@click.argument("digest")
@_STORE
@_CHANNEL
@_PASSPHRASE
def _withdraw(digest: str, store: Path, channel: str, passphrase_env: str | None) -> None:
    """Take back the candidate whose digest begins with DIGEST; devices that run it may go back."""
    now = time.time()
    repository, whole = _candidate(digest, store, channel, passphrase_env, now)
    repository.withdraw(channel, whole, now=now)
    _bring(store)
    click.echo(f"channel {channel} does not offer {whole[:12]} any more")


def _candidate(
    digest: str, store: Path, channel: str, passphrase_env: str | None, now: float
) -> tuple[Repository, str]:
    """The repository, and the one candidate that is meant."""
    from cloud_train.publish.repository import open_repository
    from edge.errors import UsageError

    _require_repository(store)
    repository = open_repository(store, now=now, ask=ask_for(passphrase_env))
    found = [offered.digest for offered in repository.offers(channel) if digest and offered.digest.startswith(digest)]
    if len(found) != 1:
        raise UsageError(f"{len(found)} candidates of channel {channel} begin with {digest!r}", hint="give its digest")
    return repository, found[0]


def _bring(store: Path) -> None:
    from cloud_train.publish.publish import bring_to_servers

    bring_to_servers(store)


def _require_repository(store: Path) -> None:
    from edge.errors import UsageError

    if not (store / "repository").is_dir():
        raise UsageError(f"nothing was ever published in {store}", hint="publish a bundle first")


@publish.command("renew")
@_STORE
@_PASSPHRASE
@_JSON
def _renew(store: Path, passphrase_env: str | None, as_json: bool) -> None:
    """Sign the timestamp anew, and whatever else will expire before long; do this at least weekly."""
    from cloud_train.publish.repository import open_repository
    from edge import jsonvalue

    _require_repository(store)
    now = time.time()
    repository = open_repository(store, now=now, ask=ask_for(passphrase_env))
    roles = repository.renew(now)
    _bring(store)
    click.echo(jsonvalue.canonical_bytes({"renewed": roles}).decode() if as_json else f"renewed {', '.join(roles)}")
    if warning := repository.root_wants_keys(now):
        click.echo(f"edgeloop: {warning}", err=True)


@publish.command("export")
@_STORE
@_CHANNEL
@click.option("--out", type=_PATH, required=True, help="A folder, for instance of a mounted stick.")
def _export(store: Path, channel: str, out: Path) -> None:
    """Write a channel's bundle and its signatures for devices without a network."""
    from cloud_train.publish.export import export_release, good_until

    archive = export_release(store / "repository", channel, out)
    role, until = good_until(store / "repository")
    day = time.strftime("%Y-%m-%d", time.gmtime(until))
    click.echo(f"wrote {archive} and its signatures; devices take it until {day}, when {role} expires")


publish.add_command(keys)
