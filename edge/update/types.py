"""Releases, slots and what an update came to."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from edge.bundle.sealed import SealedFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What a channel offers, as the signed repository says it.

    Attributes:
        channel: Name of the channel.
        bundle_digest: SHA-256 of the bundle's manifest, hex.
        name: Name in the manifest.
        version: Version in the manifest.
        metadata_version: Version of the signed targets metadata it was read from.
    """

    channel: str
    bundle_digest: str
    name: str
    version: int
    metadata_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """One bundle that the signed metadata of a channel name.

    Attributes:
        digest: SHA-256 of the bundle's manifest, hex.
        name: Name in the manifest.
        version: Version in the manifest.
        rollback_to: Digests of bundles of lower versions that a device may go back to from this one.
        downgrade: Whether a device may take it over a bundle of a higher version.
        withdrawn: Whether no device shall take it any more; its `rollback_to` goes on to count.
        sealed: Which of its files travel encrypted, by name.
        after_rollout: Number of the rollout of this bundle that had been rolled back when it was offered again, 0 for
            none; for servers alone.
    """

    digest: str
    name: str
    version: int
    rollback_to: tuple[str, ...] = ()
    downgrade: bool = False
    withdrawn: bool = False
    after_rollout: int = 0
    sealed: dict[str, SealedFile] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustMark:
    """How new signed metadata are, so that a device can tell whether they went back.

    Attributes:
        metadata_version: Version of the signed targets metadata.
        root_version: Version of the root they were checked against.
        signers: Digest of the keys and the threshold of targets in that root.
    """

    metadata_version: int
    root_version: int = 0
    signers: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedChannel:
    """What the signed metadata say of one channel.

    Attributes:
        channel: Its name.
        settled: What every device of the channel may run, None while nothing was ever published.
        offers: Candidates, and what has been withdrawn; each may be run by the devices that are told to.
        mark: How new the metadata are.
        expires_at: When the targets metadata expire, seconds since the epoch, UTC.
        fetched_bytes: What travelled to learn it.
    """

    channel: str
    settled: Offered | None
    offers: tuple[Offered, ...]
    mark: TrustMark
    expires_at: float
    fetched_bytes: int = 0

    def find(self, digest: str) -> Offered | None:
        """The bundle of a digest, withdrawn or not; the settled one first."""
        known = (self.settled, *self.offers) if self.settled is not None else self.offers
        return next((offered for offered in known if offered is not None and offered.digest == digest), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One of the two places for a bundle.

    Attributes:
        bundle_digest: What lies in it, empty when nothing does.
        version: Its version.
        tested_on: Fingerprint of runtime and hardware on which its golden vectors passed, empty when never.
    """

    bundle_digest: str = ""
    version: int = 0
    tested_on: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotState:
    """Which slot runs and which is on trial; written durably at every change.

    Attributes:
        slots: Slot `a` and slot `b`.
        active: `a` or `b`, empty before the first install.
        trial: The slot whose bundle has been activated and not yet confirmed, empty otherwise.
        trial_starts: How often the process has started on the trial bundle without confirming it.
        rejected: Digests of bundles that failed here, never to be installed again.
        metadata_version: Version of the signed metadata of the newest release ever accepted.
        root_version: Version of the root those were checked against, 0 when a former edgeloop accepted them.
        signers: Digest of the keys of targets in that root, empty then.
    """

    slots: dict[str, Slot]
    active: str = ""
    trial: str = ""
    trial_starts: int = 0
    rejected: tuple[str, ...] = ()
    metadata_version: int = 0
    root_version: int = 0
    signers: str = ""


class UpdateOutcome(enum.Enum):
    """What an update attempt came to."""

    CURRENT = "current"
    ACTIVATED = "activated"
    REJECTED = "rejected"
    OFFLINE = "offline"


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateResult:
    """What an update attempt came to.

    Attributes:
        outcome: CURRENT: nothing new; ACTIVATED: a new bundle runs; REJECTED: it was refused; OFFLINE: no news.
        bundle_digest: The bundle that is active now.
        fetched_bytes: What travelled.
        reason: One line, for REJECTED and OFFLINE.
    """

    outcome: UpdateOutcome
    bundle_digest: str
    fetched_bytes: int
    reason: str = ""
