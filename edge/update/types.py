"""Releases, slots and what an update came to."""

from __future__ import annotations

import enum
from dataclasses import dataclass


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
    """

    slots: dict[str, Slot]
    active: str = ""
    trial: str = ""
    trial_starts: int = 0
    rejected: tuple[str, ...] = ()
    metadata_version: int = 0


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
