"""Publishing as one step: into the signed repository, and into the store's history."""

from __future__ import annotations

from pathlib import Path

from cloud_train.publish.keys import Ask
from cloud_train.publish.repository import REPOSITORY_NAME, check_publishable, open_repository
from cloud_train.store.opened import open_store
from cloud_train.store.published import copy_repository
from cloud_train.store.rollouts import SqlRolloutStore, rolled_back
from edge.update.types import Offered, Release


def publish_bundle(
    bundle_folder: Path,
    store_folder: Path,
    *,
    channel: str,
    now: float,
    downgrade: bool = False,
    encrypt: bool = False,
    ask: Ask | None = None,
) -> Release:
    """Publishes a bundle on a channel and records the release; harmless to repeat.

    Args:
        bundle_folder: A finished, proven bundle.
        store_folder: The store; created when missing.
        channel: Lower-case name of the channel.
        now: Seconds since the epoch, UTC.
        downgrade: Sign that devices may take it over a higher version.
        encrypt: Encrypt its models to the fleet's key.
        ask: Gives the passphrases of encrypted keys; None for the environment.

    Raises:
        BundleError: The bundle is damaged.
        PublishError: It is not proven, or not newer than what the channel offers.
        StorageError: The disk is full or failing; the channel is as it was.
    """
    check_publishable(bundle_folder)  # before a store comes into being for nothing
    repository = open_repository(store_folder, now=now, ask=ask)
    release = repository.publish(bundle_folder, channel=channel, now=now, downgrade=downgrade, encrypt=encrypt)
    with open_store(store_folder) as store:
        store.meta.add_release(release, now=now)
        copy_repository(repository.folder, store.published)
    return release


def offer_bundle(
    bundle_folder: Path,
    store_folder: Path,
    *,
    channel: str,
    now: float,
    rollback_to: tuple[str, ...] | None = None,
    downgrade: bool = False,
    encrypt: bool = False,
    ask: Ask | None = None,
) -> Offered:
    """Offers a candidate beside a channel's settled bundle, and brings it to the servers; harmless to repeat.

    One whose rollout was rolled back is offered anew: that rollback does not withdraw it again.

    Args:
        bundle_folder: A finished, proven bundle.
        store_folder: The store; created when missing.
        channel: Lower-case name of the channel.
        now: Seconds since the epoch, UTC.
        rollback_to: Digests that devices may go back to from it; None for the settled one.
        downgrade: Sign that devices may take it over a higher version.
        encrypt: Encrypt its models to the fleet's key.
        ask: Gives the passphrases of encrypted keys; None for the environment.

    Raises:
        EdgeloopError: As `Repository.offer` and `bring_to_servers`.
    """
    bundle = check_publishable(bundle_folder)
    repository = open_repository(store_folder, now=now, ask=ask)
    with open_store(store_folder) as store:
        offered = repository.offer(
            bundle_folder,
            channel,
            now=now,
            rollback_to=rollback_to,
            downgrade=downgrade,
            encrypt=encrypt,
            after_rollout=rolled_back(SqlRolloutStore(store.database), channel, bundle.digest),
        )
        copy_repository(repository.folder, store.published)
    return offered


def bring_to_servers(store_folder: Path) -> int:
    """Copies what was signed to where servers read it, where that is not the publisher's own folder.

    Returns:
        How many files were copied.

    Raises:
        StorageError: The place fails, or holds something newer; the same call goes on later.
    """
    with open_store(store_folder) as store:
        return copy_repository(store_folder / REPOSITORY_NAME, store.published)
