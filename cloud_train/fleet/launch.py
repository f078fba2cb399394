"""Starts rollouts and A/B comparisons: finds the bundle, has it signed for the channel, records the plan."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cloud_train.errors import RolloutError
from cloud_train.fleet.acts import check_plan, start
from cloud_train.fleet_types import HealthLimits, Ring, Rollout, RolloutKind, RolloutPlan
from cloud_train.publish.offers import read_settled
from cloud_train.publish.repository import Repository, check_publishable, open_repository
from cloud_train.store.opened import Store
from cloud_train.store.published import copy_repository
from cloud_train.store.rollouts import OPEN, RolloutStore, SqlRolloutStore, rolled_back
from edge.bundle.manifest import MANIFEST_NAME
from edge.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What a person wants to bring to the devices.

    Attributes:
        bundle: Folder of a finished bundle, or the digest of one that is offered or lies in the store; its first
            digits suffice.
        channel: Whose devices.
        kind: Replace, or compare.
        plan: Rings and limits.
        who: The person.
        now: Seconds since the epoch, UTC.
    """

    bundle: str
    channel: str
    kind: RolloutKind
    plan: RolloutPlan
    who: str
    now: float


def launch(store: Store, wanted: Launch) -> Rollout:
    """Has a bundle signed as an offer of the channel and starts its rollout.

    Raises:
        RolloutError: Another rollout has the channel, or the channel offers nothing yet.
        UsageError: There is no such bundle, or the plan makes no sense.
        PublishError: The bundle may not be published.
        StorageError: The disk or the database failed.
    """
    rollouts = SqlRolloutStore(store.database)
    check_plan(wanted.plan)
    _require_free(rollouts, wanted.channel)
    repository = open_repository(store.location.root, now=wanted.now)
    settled = repository.current(wanted.channel)
    if settled is None:
        raise RolloutError(
            f"channel {wanted.channel} offers no bundle yet, so there is nothing to replace step by step",
            hint=f"publish the first one: edgeloop publish BUNDLE --channel {wanted.channel}",
        )
    digest = _offered_digest(store, repository, wanted, rollouts)
    after = rolled_back(rollouts, wanted.channel, digest)
    repository.allow_back(wanted.channel, digest, settled.bundle_digest, now=wanted.now, after_rollout=after)
    copy_repository(repository.folder, store.published)
    rollout = Rollout(
        channel=wanted.channel,
        kind=wanted.kind,
        bundle_digest=digest,
        base_digest=settled.bundle_digest,
        plan=wanted.plan,
        started_at=wanted.now,
        ring_since=wanted.now,
        made_by=wanted.who,
    )
    return start(rollout, rollouts, who=wanted.who)


def _offered_digest(store: Store, repository: Repository, wanted: Launch, rollouts: RolloutStore) -> str:
    """The candidate that is meant; a bundle that is none yet becomes one, encrypted where the channel's others are."""
    offers = repository.offers(wanted.channel)
    digests = [one.digest for one in offers if _is_digest(wanted.bundle) and one.digest.startswith(wanted.bundle)]
    if len(digests) == 1:
        return digests[0]
    settled = read_settled(repository.folder, wanted.channel)
    encrypt = bool(settled and settled.sealed) or any(one.sealed for one in offers)
    folder = find_bundle(store, wanted.bundle)
    after = rolled_back(rollouts, wanted.channel, check_publishable(folder).digest)
    return repository.offer(folder, wanted.channel, now=wanted.now, encrypt=encrypt, after_rollout=after).digest


def find_bundle(store: Store, bundle: str) -> Path:
    """The folder of a bundle, by its path or its digest.

    Raises:
        UsageError: There is none.
    """
    from edge.bundle.reader import open_bundle

    if Path(bundle).is_dir():
        return Path(bundle)
    if _is_digest(bundle):
        for manifest in sorted(store.layout.bundles.glob(f"*/{MANIFEST_NAME}")):
            if open_bundle(manifest.parent).digest.startswith(bundle):
                return manifest.parent
    raise UsageError(f"no bundle {bundle!r}", hint="give a bundle folder, or the digest of one in the store")


def plan_of(
    percents: tuple[float, ...],
    limits: HealthLimits,
    *,
    labels: dict[str, str],
    min_minutes: float,
    max_minutes: float,
    min_devices: int,
    min_frames: int,
) -> RolloutPlan:
    """A plan whose rings all ask for the same.

    Args:
        percents: Share of each ring; the last one is for everybody.
        limits: When to halt.
        labels: Devices that have all of these make a ring of their own, before all others.
        min_minutes: Least time in a ring.
        max_minutes: Time after which doubt alone holds nothing up.
        min_devices: Least devices that must have reported in each ring.
        min_frames: Least frames they must have answered.
    """

    def ring(percent: float, labels: dict[str, str]) -> Ring:
        return Ring(
            percent=percent,
            labels=labels,
            min_minutes=min_minutes,
            max_minutes=max(max_minutes, min_minutes),
            min_devices=min_devices,
            min_frames=min_frames,
        )

    first = (ring(0.0, labels),) if labels else ()
    return RolloutPlan(rings=(*first, *(ring(percent, {}) for percent in percents)), limits=limits)


def _require_free(rollouts: SqlRolloutStore, channel: str) -> None:
    """Says it before a bundle is signed for nothing; `RolloutStore.start` looks again."""
    newest = next(iter(rollouts.rollouts(channel=channel, limit=1)), None)
    if newest is not None and newest.state in OPEN:
        raise RolloutError(
            f"rollout {newest.rollout_id} of channel {channel} is {newest.state.value}",
            hint=f"end it first: edgeloop rollout rollback {newest.rollout_id}",
        )


def _is_digest(text: str) -> bool:
    return 8 <= len(text) <= 64 and all(character in "0123456789abcdef" for character in text)
