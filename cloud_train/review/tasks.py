"""What a person should look at next."""

from __future__ import annotations

from cloud_train.review.labels import is_settled, labels_by_sample
from cloud_train.store.meta import MetaStore
from cloud_train.types import ReviewTask, SampleRecord


def next_tasks(meta: MetaStore, *, limit: int) -> tuple[ReviewTask, ...]:
    """Samples that wait for a person: nobody answered, or the answers are tied.

    Args:
        meta: Where samples and answers are.
        limit: Most tasks wanted.

    Returns:
        Most instructive first: highest `metadata.value`, then the one that waits longest.
    """
    waiting = (*meta.unlabelled(limit=limit), *_tied(meta))
    return tuple(ReviewTask(record=record) for record in sorted(waiting, key=_rank)[:limit])


def _tied(meta: MetaStore) -> tuple[SampleRecord, ...]:
    tied = (digest for digest, labels in labels_by_sample(meta).items() if not is_settled(labels))
    return tuple(record for record in map(meta.sample, tied) if record is not None)


def _rank(record: SampleRecord) -> tuple[float, float, str]:
    return (-record.metadata.value, record.received_at, record.digest)
