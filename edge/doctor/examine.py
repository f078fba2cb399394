"""The whole examination, check by check."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from edge.doctor import bundle, runtimes, source
from edge.doctor.agent import examine_agent
from edge.doctor.clock import examine_clock
from edge.doctor.disk import examine_room, examine_writing
from edge.doctor.extras import examine_extras
from edge.doctor.health import examine_health
from edge.doctor.identity import examine_identity
from edge.doctor.kiosk import examine_kiosk
from edge.doctor.limited import run_check, within
from edge.doctor.memory import examine_memory
from edge.doctor.outbox import examine_outbox
from edge.doctor.processor import examine_processor
from edge.doctor.secrets import without_secrets
from edge.doctor.server import examine_server
from edge.doctor.software import examine_software
from edge.doctor.trust import examine_trust
from edge.doctor.types import Check, Finding, Subject
from edge.home import DeviceHome
from edge.settings import AgentSettings

# A lock that cannot even be looked at may well be held.
_LOCK_LIMIT_S = 10.0
_DISK_STUCK = "the disk does not answer: check its cable or card, and the journal (`journalctl -k`)"
_NETWORK_STUCK = "check the network: packets go out and nothing comes back"

CHECKS = (
    Check(name="agent", examine=examine_agent, stuck_fix=_DISK_STUCK),
    Check(name="software", examine=examine_software),
    Check(name="extras", examine=examine_extras),
    Check(
        name="runtime",
        examine=runtimes.examine_runtimes,
        limit_s=runtimes.PROBE_LIMIT_S * runtimes.NUM_PROBES_AT_MOST,
        stuck_fix="take another version of the runtime",
    ),
    Check(name="memory", examine=examine_memory),
    Check(name="processor", examine=examine_processor),
    Check(name="clock", examine=examine_clock),
    Check(name="disk room", examine=examine_room, stuck_fix=_DISK_STUCK),
    Check(name="disk writing", examine=examine_writing, limit_s=30.0, stuck_fix=_DISK_STUCK),
    Check(name="disk health", examine=examine_health, stuck_fix=_DISK_STUCK),
    Check(name="outbox", examine=examine_outbox, limit_s=20.0, stuck_fix=_DISK_STUCK),
    Check(
        name="bundle",
        examine=bundle.examine_bundle,
        limit_s=bundle.GOLDEN_LIMIT_S + 30.0,
        stuck_fix="take a smaller model, or a faster card",
    ),
    Check(name="trusted root", examine=examine_trust, stuck_fix=_DISK_STUCK),
    Check(name="identity", examine=examine_identity, stuck_fix=_DISK_STUCK),
    Check(name="server", examine=examine_server, limit_s=25.0, stuck_fix=_NETWORK_STUCK),
    Check(name="source", examine=source.examine_source, limit_s=source.FRAME_LIMIT_S, stuck_fix=source.STUCK_FIX),
    Check(name="kiosk", examine=examine_kiosk),
)
"""In the order in which they are made and read."""


def examine(
    settings: AgentSettings,
    *,
    offline: bool = False,
    now: Callable[[], float] = time.time,
    root: Path = Path("/"),
    checks: tuple[Check, ...] = CHECKS,
) -> tuple[Finding, ...]:
    """Looks at everything that a device needs, and says what is wrong and what to do about it.

    Nothing is changed, nothing is sent but one question to the server, and nothing secret is told. A check that takes
    too long or goes wrong is a finding like any other.

    Args:
        settings: What the device was told.
        offline: Leave the server alone.
        now: Seconds since the epoch, UTC.
        root: Where `/proc`, `/sys` and `/run` are read.
        checks: What to look at.

    Returns:
        At least one finding a check, in their order.
    """
    subject = Subject(
        settings=settings,
        offline=offline,
        is_running=within(_LOCK_LIMIT_S, DeviceHome(folder=settings.home).is_held, otherwise=True),
        now=now(),
        root=root,
    )
    found = [finding for check in checks for finding in run_check(check, subject)]
    return tuple(
        replace(one, detail=without_secrets(one.detail, settings), fix=without_secrets(one.fix, settings))
        for one in found
    )
