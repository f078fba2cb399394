"""The signed metadata of a repository: read the current state, sign and write the next.

Roles and files follow the TUF specification 1.0 with consistent snapshots: every version of root, targets and snapshot
is a file of its own that never changes once it is in use; `timestamp.json` alone is replaced, last, and so switches
readers from one whole state to the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloud_train.publish.keys import ONLINE_ROLES, ROLES, Signers
from edge import durable
from edge.errors import StorageError
from edge.update.offers import SIGNED_AT

if TYPE_CHECKING:
    from tuf.api.metadata import Metadata, Root, Signed, Snapshot, Targets, Timestamp

DAYS = {"timestamp": 7, "snapshot": 30, "targets": 90, "root": 365}


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedState:
    """One whole state of the repository.

    Attributes:
        root: Newest keys and roles.
        targets: What is published.
        snapshot: Names the version of targets.
        timestamp: Names the version of snapshot.
    """

    root: Root
    targets: Targets
    snapshot: Snapshot
    timestamp: Timestamp


def exists(folder: Path) -> bool:
    """Whether a whole state has ever been written to the metadata folder."""
    return (folder / "timestamp.json").exists()


def read_state(folder: Path) -> SignedState:
    """Reads the state that `timestamp.json` names.

    Raises:
        StorageError: A file is missing or damaged.
    """
    timestamp = _read(folder / "timestamp.json", "timestamp")
    snapshot = _read(folder / f"{timestamp.snapshot_meta.version}.snapshot.json", "snapshot")
    targets = _read(folder / f"{snapshot.meta['targets.json'].version}.targets.json", "targets")
    return SignedState(root=newest_root(folder), targets=targets, snapshot=snapshot, timestamp=timestamp)


def create_state(folder: Path, signers: Signers, *, now: float, root_threshold: int = 1) -> None:
    """Writes the first state: the roles' keys, nothing published.

    Args:
        folder: The metadata folder.
        signers: Role to signers.
        now: Seconds since the epoch, UTC.
        root_threshold: How many keys of root must sign the next root.
    """
    from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

    root = Root(version=1, expires=_expiry("root", now), consistent_snapshot=True)
    for role in ROLES:
        for signer in signers[role]:
            root.add_key(signer.public_key, role)
    root.roles["root"].threshold = root_threshold
    if not (folder / "1.root.json").exists():
        _write(folder / "1.root.json", root, signers)
    _write(folder / "1.targets.json", Targets(version=1, expires=_expiry("targets", now)), signers)
    _write(folder / "1.snapshot.json", Snapshot(version=1, expires=_expiry("snapshot", now)), signers)
    timestamp = Timestamp(version=1, expires=_expiry("timestamp", now))
    timestamp.unrecognized_fields[SIGNED_AT] = int(now)
    _write(folder / "timestamp.json", timestamp, signers)


def write_next(folder: Path, state: SignedState, signers: Signers, *, now: float) -> None:
    """Signs changed targets and everything above them; readers see the change with the last write, or not at all.

    Args:
        folder: The metadata folder.
        state: The state as read, its targets changed in place; its versions and expiries are counted up here.
        signers: Role to signer.
        now: Seconds since the epoch, UTC.
    """
    _advance(state.targets, now)
    _write(folder / f"{state.targets.version}.targets.json", state.targets, signers)
    _write_snapshot(folder, state, signers, now=now)


def renew_state(folder: Path, state: SignedState, signers: Signers, *, now: float) -> tuple[str, ...]:
    """Signs anew whatever has used up half of its lifetime or is not signed by the keys of today's root.

    The timestamp is signed always, root only where enough of its keys are here.

    Returns:
        The roles that were signed.
    """
    stale = unsigned_roles(folder, state)
    renewed = tuple(role for role in ("targets", "snapshot") if role in stale or is_due(getattr(state, role), now))
    if is_due(state.root, now) and len(signers["root"]) >= state.root.roles["root"].threshold:
        _advance(state.root, now)
        _write(folder / f"{state.root.version}.root.json", state.root, signers)
        renewed = ("root", *renewed)
    if "targets" in renewed:
        write_next(folder, state, signers, now=now)
    elif "snapshot" in renewed:
        _write_snapshot(folder, state, signers, now=now)
    else:
        _write_timestamp(folder, state, signers, now=now)
    return (*renewed, "timestamp")


def sign_for_root(folder: Path, state: SignedState, signers: Signers, *, now: float) -> None:
    """Signs anew what the keys of today's root have not signed; nothing when they have signed all."""
    if unsigned_roles(folder, state):
        renew_state(folder, state, signers, now=now)


def unsigned_roles(folder: Path, state: SignedState) -> tuple[str, ...]:
    """The roles whose current metadata the keys of today's root have not signed: after a rotation, until it is done."""
    from tuf.api.exceptions import UnsignedMetadataError

    stale = []
    for role in ONLINE_ROLES:
        metadata = read_metadata(file_of(folder, getattr(state, role)), role)
        try:
            state.root.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
        except UnsignedMetadataError:
            stale.append(role)
    return tuple(stale)


def file_of(folder: Path, signed: Signed) -> Path:
    """Where a role's metadata of a version lie."""
    name = f"{signed.type}.json" if signed.type == "timestamp" else f"{signed.version}.{signed.type}.json"
    return folder / name


def root_expiry(now: float) -> datetime:
    """When a root that is made now expires."""
    return _expiry("root", now)


def _write_snapshot(folder: Path, state: SignedState, signers: Signers, *, now: float) -> None:
    from tuf.api.metadata import MetaFile

    state.snapshot.meta["targets.json"] = MetaFile(version=state.targets.version)
    _advance(state.snapshot, now)
    _write(folder / f"{state.snapshot.version}.snapshot.json", state.snapshot, signers)
    _write_timestamp(folder, state, signers, now=now)


def _write_timestamp(folder: Path, state: SignedState, signers: Signers, *, now: float) -> None:
    from tuf.api.metadata import MetaFile

    state.timestamp.snapshot_meta = MetaFile(version=state.snapshot.version)
    state.timestamp.unrecognized_fields[SIGNED_AT] = int(now)
    _advance(state.timestamp, now)
    _write(folder / "timestamp.json", state.timestamp, signers)


def _advance(signed: Signed, now: float) -> None:
    signed.version += 1
    signed.expires = _expiry(signed.type, now)


def _expiry(role: str, now: float) -> datetime:
    return datetime.fromtimestamp(now, UTC).replace(microsecond=0) + timedelta(days=DAYS[role])


def is_due(signed: Signed, now: float) -> bool:
    """Whether metadata have used up half of their lifetime."""
    return signed.expires - datetime.fromtimestamp(now, UTC) < timedelta(days=DAYS[signed.type]) / 2


def _write(path: Path, signed: Signed, signers: Signers) -> None:
    from tuf.api.metadata import Metadata

    metadata: Metadata[Any] = Metadata(signed)
    for signer in signers[signed.type]:
        metadata.sign(signer, append=True)
    durable.write_bytes(path, metadata.to_bytes(), point=f"publish.{signed.type}")


def newest_root(folder: Path) -> Root:
    """The newest root.

    Raises:
        StorageError: It is missing or damaged.
    """
    version = 1
    while (folder / f"{version + 1}.root.json").exists():
        version += 1
    return _read(folder / f"{version}.root.json", "root")


def read_metadata(path: Path, role: str) -> Metadata[Any]:
    """One metadata file, its signatures unchecked.

    Raises:
        StorageError: It is missing, damaged, or of another role.
    """
    from tuf.api.exceptions import RepositoryError
    from tuf.api.metadata import Metadata

    try:
        metadata: Metadata[Any] = Metadata.from_bytes(path.read_bytes())
    except OSError as cause:
        raise StorageError(f"cannot read {path}", hint="restore the repository folder from a backup") from cause
    except (RepositoryError, ValueError) as cause:
        raise StorageError(f"{path} is damaged", hint="restore the repository folder from a backup") from cause
    if metadata.signed.type != role:
        raise StorageError(f"{path} is not {role} metadata", hint="restore the repository folder from a backup")
    return metadata


def _read(path: Path, role: str) -> Any:  # noqa: ANN401 - the class follows from the role
    return read_metadata(path, role).signed
