"""`edgeloop publish keys …`: who may sign, and how that changes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from cloud_train.publish.keys import MAX_KEYS, PASSPHRASE_VARIABLE, ROLES

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner
    from tuf.api.metadata import Root

    from cloud_train.publish.keys import Ask
    from cloud_train.publish.root import Draft

F = TypeVar("F", bound=Callable[..., object])
_PATH = click.Path(path_type=Path)
_STORE = click.option("--store", type=_PATH, required=True, help="The store folder of the publisher.")
_ROLE = click.argument("role", type=click.Choice(ROLES))
_ROOT_KEYS = click.option(
    "--root-keys", type=_PATH, multiple=True, metavar="DIR", help="Where keys of root are; may be repeated."
)
_PASSPHRASE = click.option(
    "--passphrase-env",
    metavar="VAR",
    help=f"Variable that holds the passphrase of the keys.  [default: {PASSPHRASE_VARIABLE}]",
)
_ENCRYPTED = click.option("--encrypt-keys", is_flag=True, help="Encrypt new keys with the passphrase.")


def _change_options(function: F) -> F:
    for option in (_ENCRYPTED, _PASSPHRASE, _ROOT_KEYS, _STORE):
        function = option(function)
    return function


@click.group()
def keys() -> None:
    """Keys and thresholds of the signed releases.

    What changes root is signed by enough holders of root keys: of those in the store's keys folder or in --root-keys
    at once, of others with `keys sign` and `keys apply`.
    """


@keys.command("init")
@_STORE
@click.option(
    "--root-keys", "number", type=click.IntRange(1, MAX_KEYS), default=1, show_default=True, help="Keys of root."
)
@click.option(
    "--root-threshold",
    type=click.IntRange(1, MAX_KEYS),
    default=1,
    show_default=True,
    help="How many of them must sign a new root.",
)
@click.option(
    "--root-out", type=_PATH, multiple=True, metavar="DIR", help="Where root's keys go, away from here; in turn."
)
@_PASSPHRASE
@_ENCRYPTED
def _init(
    store: Path,
    number: int,
    root_threshold: int,
    root_out: tuple[Path, ...],
    passphrase_env: str | None,
    encrypt_keys: bool,
) -> None:
    """Make the keys and an empty, signed repository."""
    from cloud_train.publish.root import init_repository

    init_repository(
        store,
        now=time.time(),
        root_folders=root_out,
        root_keys=number,
        root_threshold=root_threshold,
        passphrase=_new_passphrase(passphrase_env, encrypt_keys or passphrase_env is not None),
    )
    places = ", ".join(map(str, root_out)) or str(store / "keys")
    click.echo(f"made a repository in {store}; {root_threshold} of {number} root keys in {places} must sign a new root")
    click.echo(f"devices need {store / 'repository' / 'metadata' / '1.root.json'} once, at their first install")


@keys.command("list")
@_STORE
@_ROOT_KEYS
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def _list(store: Path, root_keys: tuple[Path, ...], as_json: bool) -> None:
    """Show roles, their keys, where those are, and what expires when."""
    from cloud_train.publish.key_list import list_roles
    from edge import jsonvalue

    roles = list_roles(store, root_keys)
    if as_json:
        click.echo(jsonvalue.canonical_bytes(list(roles)).decode())
        return
    for role in roles:
        click.echo(f"{role.role:9} version {role.version}, until {role.expires}; {role.threshold} must sign")
        for key in role.keys:
            click.echo(f"          {key.keyid[:16]}  {key.place or 'not here'}")


@keys.command("rotate")
@_ROLE
@_change_options
def _rotate(role: str, **options: object) -> None:
    """Put new keys in the place of all that ROLE has."""
    from cloud_train.publish.root import rotate

    _change(role, lambda root, new: rotate(root, role, [key.public_key for key in new]), replace_all=True, **options)


@keys.command("add")
@_ROLE
@_change_options
def _add(role: str, **options: object) -> None:
    """Make one more key for ROLE."""
    _change(role, lambda root, new: root.add_key(new[0].public_key, role), **options)


@keys.command("remove")
@_ROLE
@click.argument("keyid")
@_change_options
def _remove(role: str, keyid: str, **options: object) -> None:
    """Take the key that begins with KEYID from ROLE."""
    from cloud_train.publish.root import remove_key

    _change(role, lambda root, new: remove_key(root, role, keyid), makes_keys=False, **options)


@keys.command("threshold")
@_ROLE
@click.argument("number", type=click.IntRange(1, MAX_KEYS))
@_change_options
def _threshold(role: str, number: int, **options: object) -> None:
    """Say how many keys of ROLE must sign."""
    from cloud_train.publish.root import set_threshold

    _change(role, lambda root, new: set_threshold(root, role, number), makes_keys=False, **options)


@keys.command("renew")
@_change_options
def _renew(**options: object) -> None:
    """Sign root anew, unchanged, for another year."""
    _change("root", lambda root, new: None, makes_keys=False, **options)


@keys.command("sign")
@click.argument("file", type=_PATH)
@click.option("--root-keys", type=_PATH, required=True, metavar="DIR", help="Where your key of root is.")
@_PASSPHRASE
def _sign(file: Path, root_keys: Path, passphrase_env: str | None) -> None:
    """Sign the root in preparation FILE with the keys of root in a folder; needs no store and no network."""
    from cloud_train.publish.root import sign_draft

    number = sign_draft(file, root_keys, ask=ask_for(passphrase_env))
    click.echo(f"signed {file} with {number} key{'s' if number > 1 else ''}; now the next holder, or `keys apply`")


@keys.command("apply")
@_STORE
@_PASSPHRASE
def _apply(store: Path, passphrase_env: str | None) -> None:
    """Put the root in preparation into force."""
    from cloud_train.publish.publish import bring_to_servers
    from cloud_train.publish.root import apply_draft

    version = apply_draft(store, now=time.time(), ask=ask_for(passphrase_env))
    bring_to_servers(store)
    click.echo(f"root version {version} is in force")


@keys.command("fleet")
@_STORE
def _fleet(store: Path) -> None:
    """Make a new key that models are encrypted to; the keys before it stay until every device has it."""
    from cloud_train.publish.repository import KEYS_NAME
    from cloud_train.publish.sealing import KEY_NAME, make_fleet_key

    make_fleet_key(store / KEYS_NAME)
    click.echo(f"{store / KEYS_NAME / KEY_NAME}: devices keep the same file as identity/fleet.key")


def ask_for(variable: str | None) -> Ask:
    """Gives passphrases from the environment; asks the person where there is one and the variable is empty."""
    from cloud_train.settings import secret_from

    def ask(path: Path) -> bytes | None:
        found = secret_from(variable or PASSPHRASE_VARIABLE)
        if found is None and sys.stdin.isatty():
            return str(click.prompt(f"passphrase of {path}", hide_input=True, err=True)).encode()
        return found

    return ask


def _new_passphrase(variable: str | None, wanted: bool) -> bytes | None:
    from cloud_train.settings import secret_from
    from edge.errors import UsageError

    if not wanted:
        return None
    found = secret_from(variable or PASSPHRASE_VARIABLE)
    if found is None and sys.stdin.isatty():
        found = str(click.prompt("passphrase of the new keys", hide_input=True, confirmation_prompt=True)).encode()
    if not found:
        raise UsageError("no passphrase for the new keys", hint=f"put it into {variable or PASSPHRASE_VARIABLE}")
    return found


def _change(
    role: str,
    edit: Callable[[Root, Sequence[CryptoSigner]], None],
    *,
    store: Path,
    root_keys: tuple[Path, ...],
    passphrase_env: str | None,
    encrypt_keys: bool,
    makes_keys: bool = True,
    replace_all: bool = False,
) -> None:
    """Makes the keys that are needed, prepares the root, and puts it into force where its holders are here."""
    from cloud_train.publish.keys import create_key
    from cloud_train.publish.publish import bring_to_servers
    from cloud_train.publish.repository import KEYS_NAME
    from cloud_train.publish.root import apply_draft, change_root, count_keys, draft_of, sign_draft

    own = store / KEYS_NAME
    number = (count_keys(store, role) if replace_all else 1) if makes_keys else 0
    places = root_keys if role == "root" and root_keys else (own,)
    passphrase = _new_passphrase(passphrase_env, encrypt_keys and makes_keys)
    new = [create_key(places[one % len(places)], role, passphrase=passphrase) for one in range(number)]
    draft = change_root(store, lambda root: edit(root, new), now=time.time())
    for folder in (own, *root_keys):
        if any(folder.glob("root*.pem")):
            sign_draft(draft.file, folder, ask=ask_for(passphrase_env))
    draft = draft_of(store)
    for line in draft.changes:
        click.echo(line)
    if draft.is_complete:
        apply_draft(store, now=time.time(), ask=ask_for(passphrase_env))
        bring_to_servers(store)
        click.echo(f"root version {draft.version} is in force")
    else:
        click.echo(_what_is_missing(draft))


def _what_is_missing(draft: Draft) -> str:
    (have, need), (have_new, need_new) = draft.signed, draft.signed_new
    return (
        f"root version {draft.version} waits for signatures: {have} of {need} of the present root keys, {have_new} of"
        f" {need_new} of the new ones; holders run `edgeloop publish keys sign --root-keys DIR {draft.file}`, then"
        f" `edgeloop publish keys apply`"
    )
