"""What a server process needs of the fleet: check-ins and the watch over rollouts."""

from __future__ import annotations

from cloud_train.fleet.channels import ChannelBook
from cloud_train.fleet.check_in import CheckInParts, CheckInRules
from cloud_train.fleet.settle import settler
from cloud_train.fleet.watch import WatchParts
from cloud_train.settings import ServeSettings
from cloud_train.store.check_ins import SqlCheckInStore
from cloud_train.store.hours import SqlHourStore
from cloud_train.store.opened import Store
from cloud_train.store.published import PublishedFolder
from cloud_train.store.rollouts import SqlRolloutStore
from cloud_train.store.roster import SqlRoster

_OBJECTS_KEEP_S = 5.0  # an object store is asked for the timestamp this often, not at every check-in
_LEAST_SILENT_S = 900.0
_SILENT_CHECK_INS = 5


def open_check_ins(store: Store, settings: ServeSettings) -> CheckInParts:
    """What check-ins are answered with.

    Args:
        store: Of the server.
        settings: Channel and interval.
    """
    return CheckInParts(
        store=SqlCheckInStore(store.database),
        read_channel=channel_book(store).channel,
        rules=CheckInRules(channel=settings.channel, check_in_s=settings.check_in_s),
    )


def open_watch(store: Store, settings: ServeSettings) -> WatchParts:
    """What the watch over rollouts works with (`cloud_train.fleet.watch.watch`).

    Args:
        store: Of the server.
        settings: Channel and interval.
    """
    return WatchParts(
        rollouts=SqlRolloutStore(store.database),
        hours=SqlHourStore(store.database),
        roster=SqlRoster(store.database),
        default_channel=settings.channel,
        silent_s=max(_LEAST_SILENT_S, _SILENT_CHECK_INS * settings.check_in_s),
        read_channel=channel_book(store).channel,
        settle=settler(store),
    )


def channel_book(store: Store) -> ChannelBook:
    """What is signed for the channels of a store."""
    published = store.published
    return ChannelBook(published, keep_s=0.0 if isinstance(published, PublishedFolder) else _OBJECTS_KEEP_S)
