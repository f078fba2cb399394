"""What a channel offers besides its settled bundle: reading and changing it in targets metadata, and the version rules.

Everything here works on metadata in memory or reads them; signing and writing is the repository's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cloud_train.errors import PublishError
from cloud_train.publish import metadata as signed_metadata
from edge.errors import FormatError, StorageError
from edge.update.offers import MAX_ROLLBACK, custom_of, offer_digest, offer_name, offered_from, settled_name
from edge.update.types import Offered

if TYPE_CHECKING:
    from tuf.api.metadata import TargetFile, Targets

MAX_LIVE = 8
"""Most candidates of one channel at a time: each is a line in metadata that every device fetches."""
MAX_WITHDRAWN = 8
"""So many withdrawn ones are remembered, so that devices that still run them may go back."""


def read_offers(folder: Path, channel: str) -> tuple[Offered, ...]:
    """The candidates of a channel by the metadata in the repository `folder`; needs no keys.

    Returns:
        Without the settled one and what was withdrawn, lowest version first; none where there is no repository yet.

    Raises:
        StorageError: The metadata are damaged.
    """
    if not signed_metadata.exists(folder / "metadata"):
        return ()
    return live_offers(signed_metadata.read_state(folder / "metadata").targets, channel)


def read_settled(folder: Path, channel: str) -> Offered | None:
    """The settled bundle of a channel with all that was signed of it; needs no keys.

    Raises:
        StorageError: The metadata are damaged.
    """
    if not signed_metadata.exists(folder / "metadata"):
        return None
    return settled_of(signed_metadata.read_state(folder / "metadata").targets, channel)


def settled_of(targets: Targets, channel: str) -> Offered | None:
    """The settled bundle of a channel."""
    target = targets.targets.get(settled_name(channel))
    return None if target is None else _offered(target)


def live_offers(targets: Targets, channel: str) -> tuple[Offered, ...]:
    """The candidates of a channel, lowest version first."""
    return tuple(offered for offered in _all_offers(targets, channel) if not offered.withdrawn)


def put_settled(targets: Targets, channel: str, offered: Offered, manifest: bytes) -> None:
    """Makes a bundle the settled one; it is no candidate any more."""
    targets.targets.pop(offer_name(channel, offered.digest), None)
    _put(targets, settled_name(channel), replace(offered, withdrawn=False), manifest)


def put_offer(targets: Targets, channel: str, offered: Offered, manifest: bytes) -> None:
    """Puts a candidate beside the settled bundle; of those withdrawn long ago the oldest are forgotten."""
    _put(targets, offer_name(channel, offered.digest), offered, manifest)
    withdrawn = [other for other in _all_offers(targets, channel) if other.withdrawn]
    for forgotten in withdrawn[: max(0, len(withdrawn) - MAX_WITHDRAWN)]:
        del targets.targets[offer_name(channel, forgotten.digest)]


def mark_withdrawn(targets: Targets, channel: str, digest: str) -> None:
    """Lets nobody take a candidate any more; it may be rolled back to what was signed, and to the settled bundle.

    Raises:
        PublishError: The channel has no such candidate.
    """
    target = targets.targets.get(offer_name(channel, digest))
    if target is None:
        raise PublishError(f"channel {channel} offers no bundle {digest[:12]}")
    offered, settled = _offered(target), settled_of(targets, channel)
    back = offered.rollback_to
    if settled is not None and settled.digest not in back:  # something else was published since the offer was signed
        back = (settled.digest, *back)[:MAX_ROLLBACK]
    target.unrecognized_fields["custom"] = custom_of(replace(offered, withdrawn=True, rollback_to=back))


def find_offer(targets: Targets, channel: str, digest: str) -> Offered:
    """One live candidate.

    Raises:
        PublishError: The channel has no such candidate.
    """
    found = next((offered for offered in live_offers(targets, channel) if offered.digest == digest), None)
    if found is None:
        raise PublishError(f"channel {channel} offers no bundle {digest[:12]}", hint="offer it first")
    return found


def check_offer(offered: Offered, settled: Offered | None, live: Iterable[Offered]) -> None:
    """The version rules of a candidate. Pure.

    Raises:
        PublishError: Not above the settled one without being marked as a downgrade, a version that another candidate
            has, one candidate too many, or too many bundles to go back to.
    """
    others = [other for other in live if other.digest != offered.digest]
    if settled is not None and offered.digest == settled.digest:
        raise PublishError(f"bundle {offered.digest[:12]} is what the channel offers to everybody already")
    if settled is not None and offered.version <= settled.version and not offered.downgrade:
        raise PublishError(
            f"bundle version {offered.version} is not above version {settled.version}, which the channel offers",
            hint="convert it again with a higher version, or offer it as a downgrade",
        )
    if any(other.version == offered.version for other in others):
        raise PublishError(f"another bundle of version {offered.version} is offered already", hint="withdraw it first")
    if len(others) >= MAX_LIVE:
        raise PublishError(f"the channel has {len(others)} candidates, the most there may be", hint="withdraw one")
    if len(offered.rollback_to) > MAX_ROLLBACK:
        raise PublishError(f"more than {MAX_ROLLBACK} bundles to go back to")


def _all_offers(targets: Targets, channel: str) -> list[Offered]:
    found = [_offered(target) for name, target in targets.targets.items() if offer_digest(channel, name)]
    return sorted(found, key=lambda offered: (offered.version, offered.digest))


def _put(targets: Targets, name: str, offered: Offered, manifest: bytes) -> None:
    from tuf.api.metadata import TargetFile

    targets.targets[name] = TargetFile.from_data(name, manifest, ["sha256"])
    targets.targets[name].unrecognized_fields["custom"] = custom_of(offered)


def _offered(target: TargetFile) -> Offered:
    try:
        return offered_from(target.hashes["sha256"], target.custom, where=target.path)
    except (FormatError, KeyError) as cause:
        raise StorageError(f"the metadata of {target.path} are damaged: {cause}", hint="restore a backup") from cause
