"""status.json: what an agent says about itself about once a second, and how people read it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from edge import durable, jsonvalue
from edge.engine import Engine
from edge.errors import FormatError, TrustError, UsageError
from edge.following import open_following
from edge.home import DeviceHome
from edge.outbox.base import OutboxStats
from edge.settings import AgentSettings
from edge.telemetry import Counts
from edge.update.types import SlotState

Status = dict[str, jsonvalue.Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentState:
    """What is written about a running agent besides its counts.

    Attributes:
        device_id: Its name.
        phase: `starting`, `waiting for a bundle`, `running`, `draining` or `stopped`.
        slots: What lies in the slots.
        outbox: What waits to be sent.
        server_reached_at: When the server last answered, seconds since the epoch, 0 before.
        held_back: Why samples and bundles wait although the server may be there; empty while they may go.
        at: Now.
        channel: The update channel that it follows.
        channel_reason: Why that one, in a few words.
    """

    device_id: str
    phase: str
    slots: SlotState
    outbox: OutboxStats
    server_reached_at: float
    at: float
    held_back: str = ""
    channel: str = ""
    channel_reason: str = ""


def write_status(home: DeviceHome, counts: Counts, state: AgentState, engine: Engine | None) -> None:
    """Replaces status.json.

    Raises:
        StorageError: The disk is full or failing; the old content stands.
    """
    manifest = engine.bundle.manifest if engine is not None else None
    status = _object(counts) | {
        "device_id": state.device_id,
        "pid": os.getpid(),
        "at": state.at,
        "phase": state.phase,
        "frames_dropped": counts.frames_dropped,
        "bundle_digest": engine.bundle.digest if engine is not None else "",
        "bundle_version": manifest.version if manifest else 0,
        "bundle_name": manifest.name if manifest else "",
        "artifact": engine.artifact.file if engine is not None else "",
        "on_trial": bool(state.slots.trial),
        "outbox_pending": state.outbox.pending,
        "outbox_sent": state.outbox.sent,
        "outbox_parked": state.outbox.parked,
        "outbox_pending_bytes": state.outbox.pending_bytes,
        "outbox_shed": state.outbox.shed,
        "outbox_file_bytes": state.outbox.file_bytes,
        "answers_waiting": state.outbox.answers,
        "held_back": state.held_back,
        "channel": state.channel,
        "channel_reason": state.channel_reason,
        "server_reached_at": state.server_reached_at,
    }
    durable.replace_bytes(home.status, jsonvalue.pretty_bytes(status))


def read_status(settings: AgentSettings) -> Status:
    """What the agent last said about itself, and what the slots and the stored release say.

    Raises:
        UsageError: No device ever lived in this home.
    """
    from edge.update.slots import Slots

    home = DeviceHome(folder=settings.home)
    if not (home.status.exists() or home.outbox.exists() or (settings.home / "slots.json").exists()):
        raise UsageError(f"no device lives in {settings.home}", hint="start one there with `edgeloop device run`")
    status = _last_said(home)
    status["running"] = home.is_held()
    status["slots"] = jsonvalue.to_json(Slots(settings.home).state)
    if not status.get("channel"):  # no agent has run here since edgeloop says it
        following = open_following(settings)
        status |= {"channel": following.channel, "channel_reason": following.reason}
    status["release"] = _stored_release(settings, str(status["channel"]))
    return status


def status_lines(status: Status) -> list[str]:
    """The same for people."""
    slots, release = status["slots"], status["release"]
    assert isinstance(slots, dict)  # noqa: S101 - made by `read_status`
    assert isinstance(release, dict)  # noqa: S101 - made by `read_status`
    trial = f", slot {slots['trial']} on trial" if slots["trial"] else ""
    lines = [
        f"agent    {'running' if status['running'] else 'not running'}",
        f"bundle   {status.get('bundle_name') or '?'} version {status.get('bundle_version', 0)}"
        f" ({str(status.get('bundle_digest', ''))[:12] or 'none'}), slot {slots['active'] or 'none'}{trial}",
        f"release  {release.get('error') or str(release.get('bundle_digest'))[:12] + ', last verified'}",
        f"frames   {status.get('frames_answered', 0)} answered, {status.get('frames_unreadable', 0)} unreadable,"
        f" {status.get('frames_dropped', 0)} dropped, {status.get('passes', 0)} passes",
        f"kept     {status.get('kept', 0)}; outbox {status.get('outbox_pending', 0)} waiting,"
        f" {status.get('outbox_sent', 0)} sent, {status.get('outbox_parked', 0)} parked,"
        f" {status.get('outbox_shed', 0)} shed",
        f"latency  {_ms(status, 'latency_p50_ms')} median, {_ms(status, 'latency_p95_ms')} p95",
        f"channel  {status.get('channel')}, {status.get('channel_reason')}",
    ]
    if status.get("frames_unchanged") or status.get("frames_superseded"):
        lines.insert(
            4,
            f"skipped  {status.get('frames_unchanged', 0)} unchanged, {status.get('frames_superseded', 0)} superseded",
        )
    if status.get("held_back"):
        lines.append(f"waiting  {status['held_back']}: samples and bundles stay where they are")
    if status.get("last_error"):
        lines.append(f"error    {status['last_error']}")
    return lines


def _stored_release(settings: AgentSettings, channel: str) -> jsonvalue.Json:
    from edge.update.trust import TrustStore

    try:
        found = TrustStore(settings.home, None, channel=channel).last_verified()
    except (TrustError, UsageError) as error:
        return {"error": error.message}
    return _object(found.release) | {"expires_at": found.expires_at, "expired": found.expires_at <= time.time()}


def _ms(status: Status, name: str) -> str:
    value = status.get(name)
    return f"{value:.1f} ms" if isinstance(value, float) else "?"


def _last_said(home: DeviceHome) -> Status:
    try:
        said = jsonvalue.parse(home.status.read_bytes(), where=str(home.status))
    except (OSError, FormatError):
        return {}  # never written, or lost in a power cut: the next second brings another
    return said if isinstance(said, dict) else {}


def _object(value: object) -> Status:
    made = jsonvalue.to_json(value)
    assert isinstance(made, dict)  # noqa: S101 - a dataclass becomes an object
    return made
