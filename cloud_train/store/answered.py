"""Samples of a bundle that people answered: what it said beside what they said."""

from __future__ import annotations

from dataclasses import dataclass

from cloud_train.store.database import Database
from edge.types import FeedbackKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The samples of one device that people answered.

    Attributes:
        device_id: Whose.
        samples: How many.
        right: Of these, those on which the newest answer agrees with the bundle.
    """

    device_id: str
    samples: int
    right: int


class AnsweredSamples:
    """Reads answers by device. Thread-safe; raises `StorageError`.

    Args:
        database: Where.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, bundle_digest: str, *, since: float) -> tuple[Answered, ...]:
        """Samples that a bundle judged and that came since a moment; the newest answer about each counts."""
        from sqlalchemy import select

        from cloud_train.store.tables import LABELS, SAMPLES

        columns = (SAMPLES.c.digest, SAMPLES.c.device_id, SAMPLES.c.label, LABELS.c.kind, LABELS.c.label)
        query = (
            select(*columns)
            .join_from(SAMPLES, LABELS, LABELS.c.digest == SAMPLES.c.digest)
            .where(SAMPLES.c.bundle_digest == bundle_digest, SAMPLES.c.received_at >= since, SAMPLES.c.fault == "")
            .order_by(LABELS.c.id)
        )
        with self._database.connect() as connection:
            newest = {digest: rest for digest, *rest in connection.execute(query).all()}
        found: dict[str, list[int]] = {}
        for device, said, kind, truth in newest.values():
            counts = found.setdefault(device, [0, 0])
            counts[0] += 1
            counts[1] += kind == FeedbackKind.CONFIRMED.value or (bool(truth) and truth == said)
        return tuple(
            Answered(device_id=device, samples=samples, right=right)
            for device, (samples, right) in sorted(found.items())
        )
