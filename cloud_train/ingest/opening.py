"""Opens what the services of one server process work with."""

from __future__ import annotations

import asyncio
import random
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from cloud_train.fleet.desk import open_check_ins
from cloud_train.ingest.arrivals import ArrivalParts, store_arrivals
from cloud_train.ingest.commit import GroupCommit, GroupLimits
from cloud_train.ingest.desk import Desk
from cloud_train.ingest.door import Door
from cloud_train.ingest.handlers import known_samples
from cloud_train.ingest.intake import Intake
from cloud_train.ingest.journal import Journal
from cloud_train.ingest.ledger import Ledger
from cloud_train.ingest.metrics import make_metrics
from cloud_train.ingest.ports import Ports
from cloud_train.ingest.push_stream import PushLimits, PushParts
from cloud_train.ingest.quota import QuotaLimits, Quotas
from cloud_train.ingest.room import Room
from cloud_train.ingest.turns import Turns

if TYPE_CHECKING:
    from cloud_train.settings import ServeSettings
    from cloud_train.store.opened import Store


def open_desk(
    settings: ServeSettings,
    store: Store,
    *,
    workers: ThreadPoolExecutor,
    writer: ThreadPoolExecutor,
    ports: Ports,
) -> Desk:
    """Puts a server's parts together. Called in its event loop.

    Args:
        settings: How it runs.
        store: Its records and pictures.
        workers: Threads for everything that blocks.
        writer: The one thread that commits samples.
        ports: Where callers come in.
    """
    meta, blobs, audit, metrics = store.meta, store.blobs, store.audit, make_metrics()
    journal = Journal(audit, time.time)
    in_thread = partial(asyncio.get_running_loop().run_in_executor, workers)
    intake = Intake(settings.store / "partial", max_bytes=settings.max_partial_bytes, max_pixels=settings.max_pixels)
    arrivals = ArrivalParts(
        meta=meta, blobs=blobs, intake=intake, metrics=metrics, max_pixels=settings.max_pixels, clock=time.time
    )
    limits = GroupLimits(
        size=settings.group_size,
        max_size=max(settings.group_size, settings.max_group_size),
        wait_s=settings.group_wait_s,
    )
    pushes = PushParts(
        intake=intake,
        turns=Turns(),
        commits=GroupCommit(partial(store_arrivals, arrivals), writer, limits=limits),
        room=Room(settings.max_memory_bytes),
        ledger=Ledger(
            quotas=Quotas(_quotas(settings)),
            journal=journal,
            metrics=metrics,
            steady=time.monotonic,
            jitter=random.random,
        ),
        open=set(),
        is_stored=lambda digest: bool(known_samples((digest,), meta=meta, blobs=blobs)),
        in_thread=in_thread,
        limits=PushLimits(
            max_payload_bytes=settings.max_payload_bytes, idle_s=settings.push_idle_s, max_age_s=settings.push_age_s
        ),
    )
    return Desk(
        settings=settings,
        ports=ports,
        gate=ports.gate(meta.database, in_thread=in_thread, clock=time.time),
        enrolments=ports.enrolments(meta.database),
        meta=meta,
        audit=audit,
        blobs=blobs,
        published=store.published,
        check_ins=open_check_ins(store, settings),
        pushes=pushes,
        door=Door(
            max_calls=settings.max_calls,
            max_uploads=settings.max_uploads,
            device_uploads=settings.device_uploads,
            metrics=metrics,
            jitter=random.random,
        ),
        journal=journal,
        metrics=metrics,
        in_thread=in_thread,
        clock=time.time,
    )


def _quotas(settings: ServeSettings) -> QuotaLimits:
    return QuotaLimits(
        bytes_per_day=settings.device_bytes_per_day,
        samples_per_minute=settings.device_samples_per_minute,
        offers_per_minute=settings.device_offers_per_minute,
    )
