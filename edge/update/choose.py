"""Which bundle a device takes. Pure: signed channel, slots and the server's wish in, one decision with its reason out.

The server's wish is a hint: it chooses among what was signed for the channel, never beyond.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from edge.update.slots import NAMES
from edge.update.types import Offered, SignedChannel, Slot, SlotState, TrustMark


class Step(enum.Enum):
    """STAY is as it should be; TAKE another bundle; REFUSE one, which a person should hear of."""

    STAY = "stay"
    TAKE = "take"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a device does.

    Attributes:
        step: Stay, take or refuse.
        offered: What to take, None otherwise.
        reason: One line for STAY and REFUSE where there is something to say.
    """

    step: Step
    offered: Offered | None = None
    reason: str = ""


def choose(channel: SignedChannel, state: SlotState, *, wanted: str = "") -> Choice:
    """Decides what a device does with what its channel offers.

    Args:
        channel: What was signed.
        state: What lies in the slots.
        wanted: Digest that the server's directive names, empty when it has no wish.
    """
    active = state.slots.get(state.active, Slot())
    if wanted and wanted == active.bundle_digest:
        return Choice(step=Step.STAY)
    target = _target(channel, active, wanted)
    if isinstance(target, Choice):
        return target
    if target.digest == active.bundle_digest:
        return Choice(step=Step.STAY)
    if target.digest in state.rejected:
        reason = f"bundle {target.digest[:12]} has failed on this device before and is not tried again"
        return Choice(step=Step.REFUSE, reason=reason)
    if _is_on_trial(state) and target.digest != _other(state).bundle_digest:
        return Choice(step=Step.STAY, reason="the bundle that runs is still on trial")
    return _by_version(channel, active, target, wanted)


def went_back(mark: TrustMark, state: SlotState) -> str:
    """Why metadata that verify are older than what this device has accepted; empty when they are not.

    TUF remembers versions too, in files that a device may lose. New signers of targets that a newer root names begin
    to count anew, so that a publisher whose key was stolen and used to sign version 2^31 can go on.
    """
    if mark.root_version < state.root_version:
        return f"the trusted root went back from version {state.root_version} to {mark.root_version}"
    has_new_signers = state.signers not in ("", mark.signers) and mark.root_version > state.root_version
    if mark.metadata_version < state.metadata_version and not has_new_signers:
        return f"the release metadata went back from version {state.metadata_version} to {mark.metadata_version}"
    return ""


def _target(channel: SignedChannel, active: Slot, wanted: str) -> Offered | Choice:
    """The bundle that is meant: the server's wish where it was signed, else the settled one."""
    found = channel.find(wanted) if wanted else None
    if found is not None and not found.withdrawn:
        return found
    if wanted and active.bundle_digest:
        word = "was withdrawn from" if found is not None else "is not signed for"
        reason = f"the server asks for bundle {wanted[:12]}, which {word} channel {channel.channel!r}"
        return Choice(step=Step.REFUSE, reason=f"{reason}; the device stays on the bundle it has")
    if channel.settled is None:
        if active.bundle_digest and not channel.offers:
            reason = f"nothing is signed for channel {channel.channel!r}; the device stays on the bundle it has"
            return Choice(step=Step.REFUSE, reason=reason)
        return Choice(step=Step.STAY, reason="the channel offers nothing yet")
    return channel.settled


def _by_version(channel: SignedChannel, active: Slot, target: Offered, wanted: str) -> Choice:
    """A lower version only where that is signed: by the bundle that goes, or by the one that comes."""
    if not active.bundle_digest or target.version >= active.version or target.downgrade:
        return Choice(step=Step.TAKE, offered=target)
    own = channel.find(active.bundle_digest)
    if own is not None and target.digest in own.rollback_to and (wanted or own.withdrawn):
        return Choice(step=Step.TAKE, offered=target)
    told = f"version {target.version} is below version {active.version}, which runs here"
    if not wanted and own is not None:
        return Choice(step=Step.STAY, reason=f"{told}; it goes back only when the server says so")
    reason = f"{told}, and nobody signed that this device may go back to it"
    return Choice(step=Step.REFUSE, reason=f"bundle {target.digest[:12]}: {reason}")


def _is_on_trial(state: SlotState) -> bool:
    return bool(state.trial) and bool(_other(state).bundle_digest)


def _other(state: SlotState) -> Slot:
    """The slot that does not run; an empty one before the first install."""
    other = next((name for name in NAMES if name != state.active), "") if state.active else ""
    return state.slots.get(other, Slot())
