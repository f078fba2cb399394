"""What was kept lately: all that budgets, quotas and near-duplicates need to know, in a small frozen value.

It is made of plain numbers and strings, so `edge.jsonvalue` writes and reads it.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge.bundle.manifest import KeepPolicy
from edge.keep.budget import DAY_S, NOTHING_SPENT, Spending, Window
from edge.keep.scores import labels
from edge.types import Inference

REMEMBERED_HASHES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class RareCount:
    """How often one rare class was kept in the last day.

    Attributes:
        label: The class.
        day: Its samples.
    """

    label: str
    day: Window


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepLedger:
    """What was kept lately. The empty one is that of a device that has kept nothing.

    Attributes:
        spending: Counts and bytes of the last minute, hour and day.
        rare: Counts of the policy's rare classes that were kept at all.
        hashes: Perceptual hashes of the samples kept last, oldest first, at most 256.
    """

    spending: Spending = NOTHING_SPENT
    rare: tuple[RareCount, ...] = ()
    hashes: tuple[int, ...] = ()

    def rare_kept(self, label: str, now: float) -> int:
        """How many samples that name a class were kept in the day before `now`, for whatever reason."""
        return next((item.day.used(now).count for item in self.rare if item.label == label), 0)

    def after(
        self,
        inference: Inference,
        policy: KeepPolicy,
        *,
        now: float,
        size_bytes: int,
        picture_hash: int | None = None,
    ) -> KeepLedger:
        """The ledger once a sample is safely kept. Call it for those only.

        Args:
            inference: What the engine said of it.
            policy: Names the rare classes; counts of classes that are no longer rare are dropped.
            now: Seconds since the epoch, the same that the sample was judged at.
            size_bytes: Size of what was kept.
            picture_hash: Its perceptual hash, or None where nobody asked for it.
        """
        hashes = self.hashes if picture_hash is None else (*self.hashes, picture_hash)[-REMEMBERED_HASHES:]
        return KeepLedger(
            spending=self.spending.added(now, size_bytes),
            rare=self._rare_after(labels(inference), policy, now=now, size_bytes=size_bytes),
            hashes=hashes,
        )

    def _rare_after(
        self, named: frozenset[str], policy: KeepPolicy, *, now: float, size_bytes: int
    ) -> tuple[RareCount, ...]:
        days = {item.label: item.day for item in self.rare if item.label in policy.rare_classes}
        for label in sorted(named.intersection(policy.rare_classes)):
            days[label] = days.get(label, Window(span_s=DAY_S)).added(now, size_bytes)
        return tuple(RareCount(label=label, day=day) for label, day in days.items())
