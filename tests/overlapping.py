"""Servers that all take the same samples, each in an order of its own."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

from sample_values import make_metadata

from cloud_train.types import SampleRecord

NUM_SAMPLES = 60
_GROUP = 8


def payload(number: int) -> bytes:
    return b"picture %d" % number * 50


def add_overlapping(root: Path, *, seed: int) -> None:
    """Adds all samples to the store of a folder in groups, pictures first, as a server does."""
    from cloud_train.store.opened import open_store

    numbers = list(range(NUM_SAMPLES))
    random.Random(seed).shuffle(numbers)
    with open_store(root) as store:
        for start in range(0, NUM_SAMPLES, _GROUP):
            group = {hashlib.sha256(payload(n)).hexdigest(): payload(n) for n in numbers[start : start + _GROUP]}
            store.blobs.put_many(group)
            store.meta.add_samples(tuple(_record(digest, data) for digest, data in group.items()))


def _record(digest: str, data: bytes) -> SampleRecord:
    return SampleRecord(digest=digest, size_bytes=len(data), received_at=1.0, metadata=make_metadata())
