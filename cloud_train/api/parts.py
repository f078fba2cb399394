"""What the API and its pages work with."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cloud_train.api.count_desk import CountDesk
    from cloud_train.api.drift_desk import DriftDesk
    from cloud_train.api.rollout_desk import RolloutDesk
    from cloud_train.fleet.people import People
    from cloud_train.store.audit_list import AuditList
    from cloud_train.store.device_list import DeviceList
    from cloud_train.store.members import FleetStore

SILENT_CHECK_INS = 5
_LEAST_SILENT_S = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleParts:
    """What `add_console` needs; `console_parts` makes it of a database.

    Attributes:
        devices: Reads devices.
        counts: Counts all of them.
        drift: Looks at what they see.
        fleet: Changes what people decided about them.
        people: Who may come in, and whose token is whose.
        audit: Reads what was done.
        rollouts: Reads and moves rollouts.
        session_key: Signs the cookies of the pages; the same in every process of one fleet. At least 32 bytes.
        hosts: Names under which browsers may call it; addresses and `localhost` always may.
        is_tls: Whether it is served over TLS; cookies are then kept to it.
        channel: The update channel of devices that have none of their own.
        per_minute: Requests that change something, a minute and address; of others ten times as many.
        sign_ins_per_minute: Of these, those that sign somebody in.
        note: Takes what was refused, for the audit: who, action, subject, more.
        clock: Seconds since the epoch, UTC.
        monotonic: Seconds that never go back.
    """

    devices: DeviceList
    counts: CountDesk
    drift: DriftDesk
    fleet: FleetStore
    people: People
    audit: AuditList
    rollouts: RolloutDesk
    session_key: bytes = field(repr=False)
    hosts: tuple[str, ...] = ()
    is_tls: bool = False
    channel: str = "stable"
    per_minute: int = 300
    sign_ins_per_minute: int = 10
    note: Callable[..., None] = lambda who, action, subject, **detail: None
    clock: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic


def silent_after_s(check_in_s: float) -> float:
    """Seconds without a check-in after which a device counts as silent.

    Args:
        check_in_s: Seconds between two check-ins.
    """
    return max(_LEAST_SILENT_S, SILENT_CHECK_INS * check_in_s)
