"""Changing who may sign: a new root is prepared, signed by its holders one after another, and applied.

The draft lies in the store as `root-draft.json` until enough keys of the old root *and* of the new one have signed it;
then it becomes `<n>.root.json`, and everything that the new online keys must answer for is signed anew. The keys of
root need never be on the server: a holder signs the draft wherever the key is (`edgeloop publish keys sign`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloud_train.errors import PublishError
from cloud_train.publish import metadata as signed_metadata
from cloud_train.publish.keys import MAX_KEYS, Ask, create_first_keys, create_key, load_signers, read_keys
from cloud_train.publish.repository import KEYS_NAME, REPOSITORY_NAME, locked
from edge import durable
from edge.errors import StorageError, UsageError

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner
    from tuf.api.metadata import Key, Metadata, Root

DRAFT_NAME = "root-draft.json"
_FOLDERS = ("metadata", "targets/channel", "files/sha256", "files/measurements")


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A root in preparation.

    Attributes:
        file: Where it lies.
        version: Its version, one above the newest root's.
        signed: How many holders of the old root have signed it, and how many must.
        signed_new: The same of the keys that the draft itself names for root.
        changes: What it changes, a line each.
    """

    file: Path
    version: int
    signed: tuple[int, int]
    signed_new: tuple[int, int]
    changes: tuple[str, ...]

    @property
    def is_complete(self) -> bool:
        """Whether it can be applied."""
        return all(have >= need for have, need in (self.signed, self.signed_new))


def init_repository(
    store: Path,
    *,
    now: float,
    root_folders: Sequence[Path] = (),
    root_keys: int = 1,
    root_threshold: int = 1,
    passphrase: bytes | None = None,
    ask: Ask | None = None,
) -> None:
    """Makes the keys and the first, empty state of a repository.

    Args:
        store: The store folder; created when missing.
        now: Seconds since the epoch, UTC.
        root_folders: Where the keys of root go, in turn; none for the store's own keys folder.
        root_keys: How many there shall be, 1 to `MAX_KEYS`.
        root_threshold: How many of them must sign a new root.
        passphrase: Encrypts every key, or None.
        ask: Gives it back where a killed ceremony is taken up; None for the environment.

    Raises:
        UsageError: There is a repository already, or the numbers make no sense.
        StorageError: A folder cannot be written.
    """
    if not 1 <= root_threshold <= root_keys <= MAX_KEYS:
        raise UsageError(f"{root_threshold} of {root_keys} root keys makes no sense", hint=f"at most {MAX_KEYS} keys")
    keys, repository = store / KEYS_NAME, store / REPOSITORY_NAME
    for name in _FOLDERS:
        durable.make_folder(repository / name)
    with locked(store):
        if (repository / "metadata" / "1.root.json").exists():
            raise UsageError(f"{store} has a repository already", hint="change it with `edgeloop publish keys rotate`")
        known = {key.public_key.keyid for folder in root_folders for key in read_keys(folder, "root", ask=ask)}
        if known:
            raise UsageError(f"there are root keys in {root_folders[0]} already", hint="name an empty folder")
        create_first_keys(keys, ("targets", "snapshot", "timestamp"), passphrase=passphrase)
        signers: dict[str, Sequence[CryptoSigner]] = {
            role: read_keys(keys, role, ask=ask or (lambda path: passphrase))
            for role in ("targets", "snapshot", "timestamp")
        }
        places = root_folders or (keys,)
        signers["root"] = [
            create_key(places[number % len(places)], "root", passphrase=passphrase) for number in range(root_keys)
        ]
        signed_metadata.create_state(repository / "metadata", signers, now=now, root_threshold=root_threshold)


def change_root(store: Path, edit: Callable[[Root], None], *, now: float) -> Draft:
    """Begins a new root, or goes on with the one in preparation; what was signed of that counts no more.

    Args:
        store: The store folder.
        edit: Changes the roles in place.
        now: Seconds since the epoch, UTC; it is good for a year from then.

    Raises:
        PublishError: The change makes no sense.
        StorageError: The store cannot be written, or metadata are damaged.
    """
    from tuf.api.metadata import Metadata

    with locked(store):
        file = store / DRAFT_NAME
        old = _newest(store)
        draft = _read(file) if file.exists() else None
        if draft is None or draft.signed.version != old.signed.version + 1:
            draft = Metadata.from_bytes(old.to_bytes())
            draft.signed.version += 1
        edit(draft.signed)
        draft.signed.expires = signed_metadata.root_expiry(now)
        draft.signatures.clear()
        durable.write_bytes(file, draft.to_bytes(), point="publish.root_draft")
    return draft_of(store)


def sign_draft(file: Path, folder: Path, *, ask: Ask | None = None) -> int:
    """Signs a root in preparation with every root key in a folder; needs nothing but these two.

    Args:
        file: The draft.
        folder: Holds keys of root.
        ask: Gives their passphrases; None for the environment.

    Returns:
        How many keys signed.

    Raises:
        UsageError: No key of root is there, or the file is no root.
        StorageError: The file cannot be written.
    """
    keys = read_keys(folder, "root", ask=ask)
    if not keys:
        raise UsageError(f"there is no root key in {folder}", hint="name the folder that holds root.pem")
    draft = _read(file)
    for key in keys:
        draft.sign(key, append=True)
    durable.write_bytes(file, draft.to_bytes(), point="publish.root_signature")
    return len(keys)


def apply_draft(store: Path, *, now: float, ask: Ask | None = None) -> int:
    """Makes the root in preparation the newest one, and signs anew whatever its online keys must answer for.

    A process that is killed on the way leaves the old root or the new one, and the same call finishes the work.

    Returns:
        The version of root.

    Raises:
        PublishError: There is none, or too few holders have signed it.
        StorageError: An online key that it names is not here, or the store cannot be written.
    """
    with locked(store):
        file, metadata = store / DRAFT_NAME, store / REPOSITORY_NAME / "metadata"
        if not file.exists():
            raise PublishError("there is no root in preparation", hint="begin one with `edgeloop publish keys rotate`")
        draft, old = _read(file), _newest(store)
        if draft.signed.version == old.signed.version and draft.signed != old.signed:
            raise PublishError(
                f"root version {old.signed.version} was made meanwhile, without these changes",
                hint=f"remove {file} and make the change again",
            )
        if draft.signed.version != old.signed.version:  # else a killed call has got so far already
            _require_complete(draft_of(store))
            _drop_strangers(draft, old.signed)
            load_signers(store / KEYS_NAME, draft.signed, ask=ask)  # before devices are told of keys that nobody has
            durable.write_bytes(metadata / f"{draft.signed.version}.root.json", draft.to_bytes(), point="publish.root")
        signers = load_signers(store / KEYS_NAME, draft.signed, ask=ask)
        signed_metadata.sign_for_root(metadata, signed_metadata.read_state(metadata), signers, now=now)
        file.unlink(missing_ok=True)
        return int(draft.signed.version)


def draft_of(store: Path) -> Draft:
    """How far the root in preparation is.

    Raises:
        PublishError: There is none.
        StorageError: It or the newest root is damaged.
    """
    file = store / DRAFT_NAME
    if not file.exists():
        raise PublishError("there is no root in preparation", hint="begin one with `edgeloop publish keys rotate`")
    draft, old = _read(file), _newest(store).signed
    return Draft(
        file=file,
        version=draft.signed.version,
        signed=_count(old, draft),
        signed_new=_count(draft.signed, draft),
        changes=_changes(old, draft.signed),
    )


def count_keys(store: Path, role: str) -> int:
    """How many keys a role has by the newest root."""
    return len(_newest(store).signed.roles[role].keyids)


def rotate(root: Root, role: str, keys: Sequence[Key]) -> None:
    """Puts new keys in the place of all that a role has; the threshold stays."""
    for keyid in list(root.roles[role].keyids):
        root.revoke_key(keyid, role)
    for key in keys:
        root.add_key(key, role)


def remove_key(root: Root, role: str, prefix: str) -> None:
    """Takes a key from a role.

    Raises:
        PublishError: No such key, several begin so, or too few would be left.
    """
    found = [keyid for keyid in root.roles[role].keyids if prefix and keyid.startswith(prefix)]
    if len(found) != 1:
        raise PublishError(
            f"{len(found)} keys of {role} begin with {prefix!r}", hint="see `edgeloop publish keys list`"
        )
    if len(root.roles[role].keyids) - 1 < root.roles[role].threshold:
        raise PublishError(f"{role} would have fewer keys than must sign", hint="add one, or lower its threshold first")
    root.revoke_key(found[0], role)


def set_threshold(root: Root, role: str, number: int) -> None:
    """Says how many keys of a role must sign.

    Raises:
        PublishError: Fewer than one, or more than it has.
    """
    if not 1 <= number <= len(root.roles[role].keyids):
        raise PublishError(f"{role} has {len(root.roles[role].keyids)} keys, so {number} of them cannot sign")
    root.roles[role].threshold = number


def _require_complete(draft: Draft) -> None:
    if not draft.is_complete:
        (have, need), (have_new, need_new) = draft.signed, draft.signed_new
        raise PublishError(
            f"root version {draft.version} has {have} of {need} signatures of the present root keys and {have_new} of"
            f" {need_new} of its own",
            hint=f"every holder runs `edgeloop publish keys sign --root-keys DIR {draft.file}`, then apply it",
        )


def _count(root: Root, draft: Metadata[Any]) -> tuple[int, int]:
    result = root.get_verification_result("root", draft.signed_bytes, draft.signatures)
    return len(result.signed), result.threshold


def _drop_strangers(draft: Metadata[Any], old: Root) -> None:
    """Signatures of keys that neither root names would only travel."""
    known = {*old.roles["root"].keyids, *draft.signed.roles["root"].keyids}
    for keyid in set(draft.signatures) - known:
        del draft.signatures[keyid]


def _changes(old: Root, new: Root) -> tuple[str, ...]:
    lines = []
    for role, entry in new.roles.items():
        before = old.roles[role]
        lines += [f"{role}: key {keyid[:8]} is new" for keyid in entry.keyids if keyid not in before.keyids]
        lines += [f"{role}: key {keyid[:8]} goes" for keyid in before.keyids if keyid not in entry.keyids]
        if entry.threshold != before.threshold:
            lines.append(f"{role}: {entry.threshold} must sign instead of {before.threshold}")
    return (*lines, f"expires on {new.expires:%Y-%m-%d}")


def _newest(store: Path) -> Metadata[Any]:
    metadata = store / REPOSITORY_NAME / "metadata"
    if not (metadata / "1.root.json").exists():
        raise PublishError(f"{store} has no repository", hint="make one with `edgeloop publish keys init`")
    root = signed_metadata.newest_root(metadata)
    return signed_metadata.read_metadata(metadata / f"{root.version}.root.json", "root")


def _read(file: Path) -> Metadata[Any]:
    try:
        return signed_metadata.read_metadata(file, "root")
    except StorageError as error:
        raise UsageError(f"{file} is no root in preparation: {error.message}") from error
