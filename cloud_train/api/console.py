"""Makes the parts of the console out of a database: what a server process calls."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from cloud_train.api.count_desk import CountDesk
from cloud_train.api.drift_desk import DriftDesk, FindExpected
from cloud_train.api.parts import ConsoleParts, silent_after_s
from cloud_train.api.rollout_desk import RolloutDesk
from cloud_train.fleet.people import People
from cloud_train.fleet.watch import WatchParts
from cloud_train.store.answered import AnsweredSamples
from cloud_train.store.audit import SqlAuditLog
from cloud_train.store.audit_list import AuditList
from cloud_train.store.database import Database
from cloud_train.store.device_list import DeviceList
from cloud_train.store.hours import SqlHourStore
from cloud_train.store.members import SqlFleetStore
from cloud_train.store.people import SqlPeopleStore
from cloud_train.store.rollouts import SqlRolloutStore
from cloud_train.store.roster import SqlRoster


def console_parts(
    database: Database,
    *,
    session_key: bytes,
    channel: str,
    check_in_s: float,
    hosts: tuple[str, ...] = (),
    is_tls: bool = False,
    per_minute: int = 300,
    sign_ins_per_minute: int = 10,
    people: People | None = None,
    watch: WatchParts | None = None,
    find_expected: FindExpected = lambda channel, bundle_digest: None,
    note: Callable[..., None] = lambda who, action, subject, **detail: None,
    clock: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
) -> ConsoleParts:
    """Everything that `add_console` needs.

    Args:
        database: Of the store.
        session_key: See `cloud_train.api.session_key.session_key`.
        channel: The update channel of devices that have none of their own.
        check_in_s: Seconds between two check-ins of a device.
        hosts: Names under which browsers may call it.
        is_tls: Whether it is served over TLS.
        per_minute: Requests that change something, a minute and address.
        sign_ins_per_minute: Of these, those that sign somebody in.
        people: The server's own, so that wrong tokens are counted together; None for another.
        watch: What the server's watch over rollouts works with; None for the same of this database,
            without keys.
        find_expected: What the proof of a bundle says, by channel and digest.
        note: Takes what was refused, for the audit.
        clock: Seconds since the epoch, UTC.
        monotonic: Seconds that never go back.
    """
    watched = watch or WatchParts(
        rollouts=SqlRolloutStore(database),
        hours=SqlHourStore(database),
        roster=SqlRoster(database),
        default_channel=channel,
        silent_s=silent_after_s(check_in_s),
    )
    behind = ThreadPoolExecutor(1, thread_name_prefix="edgeloop-console")
    devices = DeviceList(database, silent_after_s=watched.silent_s)
    counts = CountDesk(devices, in_background=behind.submit)
    return ConsoleParts(
        devices=devices,
        counts=counts,
        drift=DriftDesk(devices, counts, watched.hours, find_expected, channel=channel, in_background=behind.submit),
        fleet=SqlFleetStore(database),
        people=people or People(SqlPeopleStore(database), SqlAuditLog(database)),
        audit=AuditList(database),
        rollouts=RolloutDesk(watched, answers=AnsweredSamples(database), in_background=behind.submit),
        session_key=session_key,
        hosts=hosts,
        is_tls=is_tls,
        channel=channel,
        per_minute=per_minute,
        sign_ins_per_minute=sign_ins_per_minute,
        note=note,
        clock=clock,
        monotonic=monotonic,
    )
