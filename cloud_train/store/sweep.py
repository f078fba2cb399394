"""Clears away pictures that nothing names: what is left of a push whose device was shut out, or whose server died.

A picture is put before its row is committed, and any number of servers put pictures meanwhile. So nothing is removed at
once: what nothing names and nobody has put for a while is set aside, where it can still be read. A later sweep brings
back what is named by then, and removes, where that is asked for, what has been aside for as long again. What goes is
therefore what nothing named at two looks, so long apart; between a picture and its row lie moments.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cloud_train.fleet_types import AuditEntry
from cloud_train.store.named import named_in_rows, named_in_snapshots, share_snapshots
from cloud_train.store.opened import Store
from edge.errors import UsageError

AGE_S = 86_400.0
_GROUP = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepReport:
    """What a sweep did.

    Attributes:
        num_set_aside: Pictures that nothing names, set aside now.
        num_brought_back: Pictures that something names again.
        num_removed: Pictures that had been aside long enough, removed for good.
        num_waiting: Pictures that are aside now.
    """

    num_set_aside: int = 0
    num_brought_back: int = 0
    num_removed: int = 0
    num_waiting: int = 0


def sweep(store: Store, *, who: str, now: float, age_s: float = AGE_S, removes: bool = False) -> SweepReport:
    """Sweeps once; servers may go on, and a kill at any moment loses nothing: the next sweep goes on.

    Args:
        store: With a database and pictures that any number of servers may share.
        who: As the audit names them, for instance `person:ann`.
        now: Seconds since the epoch, UTC.
        age_s: Younger pictures are left alone, and what is set aside stays so for as long.
        removes: Whether what has been aside for so long is removed for good.

    Raises:
        StorageError: A part of the store does not answer, or a snapshot is damaged; nothing that is named was removed.
    """
    return _Sweep(store, who, now, now - age_s).run(removes=removes)


def require_own(store: Store) -> None:
    """Looks whether the database and the pictures belong together, as far as that can be seen.

    A folder may know where pictures lie and not their database; to an empty one, nothing of them is named.

    Raises:
        UsageError: The pictures lie elsewhere and the database names none of them.
        StorageError: A part of the store does not answer.
    """
    place, root = store.location.objects, store.location.root
    if place == root:
        return
    digests = {digest for digest, _ in store.aside.kept()}
    if digests and not named_in_rows(store, digests):
        raise UsageError(
            f"the database of {root} names none of the {len(digests)} pictures in {place}",
            hint="sweep with the database that belongs to them: `database` in store.toml, or EDGELOOP_DATABASE",
        )


class _Sweep:
    """One sweep; pictures are listed before it is asked what is named, for a picture is there before its row."""

    def __init__(self, store: Store, who: str, now: float, before: float) -> None:
        self._store, self._aside = store, store.aside
        self._who, self._now, self._before = who, now, before

    def run(self, *, removes: bool) -> SweepReport:
        share_snapshots(self._store)
        old = {digest for digest, moment in self._aside.kept() if moment <= self._before}
        held = dict(self._aside.held())
        in_snapshots = named_in_snapshots(self._store)
        back = self._bring_back(held, in_snapshots)
        over = {digest for digest, moment in held.items() if moment <= self._before} - in_snapshots
        removed = sum(self._remove(group) for group in _groups(over)) if removes else 0
        taken = [digest for group in _groups(old - in_snapshots) for digest in self._take(group)]
        back += self._bring_back(taken, named_in_snapshots(self._store))
        return SweepReport(
            num_set_aside=len(taken),
            num_brought_back=back,
            num_removed=removed,
            num_waiting=sum(1 for _ in self._aside.held()),
        )

    def _bring_back(self, digests: Iterable[str], in_snapshots: frozenset[str]) -> int:
        wanted = frozenset(digests)
        named = (wanted & in_snapshots) | named_in_rows(self._store, wanted)
        for group in _groups(named):
            self._aside.give_back(group)
            self._write_down("picture.brought_back", group)
        return len(named)

    def _remove(self, group: list[str]) -> int:
        """Written down first: nothing is ever gone without a word."""
        unnamed = sorted(set(group) - named_in_rows(self._store, group))
        self._write_down("picture.removed", unnamed)
        return len(self._aside.remove(unnamed, before=self._before))

    def _take(self, group: list[str]) -> tuple[str, ...]:
        unnamed = sorted(set(group) - named_in_rows(self._store, group))
        taken = self._aside.take(unnamed, before=self._before)
        self._write_down("picture.set_aside", taken)
        return taken

    def _write_down(self, action: str, digests: Iterable[str]) -> None:
        self._store.audit.record(
            *(AuditEntry(at=self._now, who=self._who, action=action, subject=f"picture:{digest}") for digest in digests)
        )


def _groups(digests: Iterable[str]) -> list[list[str]]:
    ordered = sorted(digests)
    return [ordered[start : start + _GROUP] for start in range(0, len(ordered), _GROUP)]
