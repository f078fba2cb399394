"""What the signed metadata must follow with when a rollout ends, where the keys are at hand."""

from __future__ import annotations

import time
from collections.abc import Callable

from cloud_train.fleet_types import Rollout, RolloutState
from cloud_train.publish.repository import KEYS_NAME, open_repository
from cloud_train.store.opened import Store
from cloud_train.store.published import copy_repository

Settle = Callable[[Rollout], None]


def settler(store: Store, *, clock: Callable[[], float] = time.time) -> Settle | None:
    """Makes the bundle of a finished rollout the channel's, and withdraws that of one that was rolled back.

    Returns:
        None where the keys are elsewhere: then the publisher does it, with `edgeloop publish promote` and
        `edgeloop publish withdraw`.
    """
    root = store.location.root
    if not any((root / KEYS_NAME).glob("*targets*")):
        return None

    def settle(rollout: Rollout) -> None:
        repository = open_repository(root, now=clock())
        if rollout.state is RolloutState.DONE:
            repository.promote(rollout.channel, rollout.bundle_digest, now=clock())
        elif rollout.state is RolloutState.ROLLED_BACK:
            repository.withdraw(rollout.channel, rollout.bundle_digest, now=clock(), rollout_id=rollout.rollout_id)
        copy_repository(repository.folder, store.published)

    return settle
