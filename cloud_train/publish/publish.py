"""Publishing as one step: into the signed repository, and into the store's history."""

from __future__ import annotations

from pathlib import Path

from cloud_train.publish.repository import check_publishable, open_repository
from cloud_train.store.layout import StoreLayout
from cloud_train.store.sql import open_meta_store
from edge.update.types import Release


def publish_bundle(bundle_folder: Path, store_folder: Path, *, channel: str, now: float) -> Release:
    """Publishes a bundle on a channel and records the release; harmless to repeat.

    Args:
        bundle_folder: A finished, proven bundle.
        store_folder: The store; created when missing.
        channel: Lower-case name of the channel.
        now: Seconds since the epoch, UTC.

    Raises:
        BundleError: The bundle is damaged.
        PublishError: It is not proven, or not newer than what the channel offers.
        StorageError: The disk is full or failing; the channel is as it was.
    """
    check_publishable(bundle_folder)  # before a store comes into being for nothing
    release = open_repository(store_folder, now=now).publish(bundle_folder, channel=channel, now=now)
    meta = open_meta_store(StoreLayout(root=store_folder).meta)
    try:
        meta.add_release(release, now=now)
    finally:
        meta.close()
    return release
