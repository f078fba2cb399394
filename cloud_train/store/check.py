"""Looks whether a store is whole: every sample and every item of a snapshot has its picture, as it was put."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

from cloud_train.store.backup_file import Progress
from cloud_train.store.named import named_in_snapshots
from cloud_train.store.opened import Store
from edge.errors import DamagedError

_READERS = 8
_AT_ONCE = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreReport:
    """What a check found.

    Attributes:
        num_samples: Rows of samples.
        num_snapshot_items: Pictures that snapshots name, of this folder and shared ones.
        num_blobs: Pictures that are there.
        missing: Digests that a row or a snapshot names and that are not there, sorted.
        damaged: Digests whose bytes are not what their name says, sorted; empty when nothing was read.
        num_orphans: Pictures that neither a row nor a snapshot names; they are no fault (`sweep.py` clears them away).
        num_read: Pictures that were read and compared.
    """

    num_samples: int
    num_snapshot_items: int
    num_blobs: int
    missing: tuple[str, ...]
    damaged: tuple[str, ...]
    num_orphans: int
    num_read: int

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing or damaged."""
        return not self.missing and not self.damaged


def check_store(store: Store, *, read: bool = True, progress: Progress = lambda done, total: None) -> StoreReport:
    """Compares rows, snapshots and pictures.

    Args:
        store: What to check; servers may go on writing.
        read: Whether every picture is read, rather than only looked for.
        progress: Told pictures read, and pictures in all.

    Raises:
        StorageError: A part of the store does not answer.
    """
    from sqlalchemy import select

    from cloud_train.store.tables import SAMPLES

    samples = {row["digest"] for row in store.database.read(select(SAMPLES.c.digest))}
    items = named_in_snapshots(store)
    there = set(store.blobs.digests())  # after the rows: a picture is there before its row
    named = samples | items
    damaged = tuple(_damaged(store, sorted(there), progress)) if read else ()
    return StoreReport(
        num_samples=len(samples),
        num_snapshot_items=len(items),
        num_blobs=len(there),
        missing=tuple(sorted(named - there)),
        damaged=damaged,
        num_orphans=len(there - named),
        num_read=len(there) if read else 0,
    )


def _damaged(store: Store, digests: list[str], progress: Progress) -> Iterator[str]:
    def is_damaged(digest: str) -> bool:
        try:
            store.blobs.read(digest)
        except (DamagedError, KeyError):
            return True
        return False

    done = 0
    with ThreadPoolExecutor(_READERS) as pool:
        for group in _groups(digests):
            for digest, bad in zip(group, pool.map(is_damaged, group), strict=True):
                if bad:
                    yield digest
            done += len(group)
            progress(done, len(digests))


def _groups(digests: Iterable[str]) -> Iterator[list[str]]:
    todo = iter(digests)
    while group := list(islice(todo, _AT_ONCE)):
        yield group
