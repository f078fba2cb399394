"""Samples for tests of outbox, wire and sync: small, distinct, valid in every field."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import random

from PIL import Image

from edge.outbox.base import Sample, SampleMetadata
from edge.sync.types import SampleOffer
from edge.types import KeepReason, Outcome


def make_metadata(**changes: object) -> SampleMetadata:
    """Valid metadata, with some fields replaced."""
    metadata = SampleMetadata(
        device_id="kiosk-1",
        captured_at=1_700_000_000.25,
        source="camera/Küche.jpg",
        prediction_id="0123456789ab-cdef01234567",
        bundle_digest="ab" * 32,
        label="Früchtetee",
        confidence=0.5,
        margin=0.125,
        outcome=Outcome.CONFIRM,
        reason=KeepReason.LOW_CONFIDENCE,
        value=0.5,
    )
    return dataclasses.replace(metadata, **changes)


def make_sample(number: int, *, size_bytes: int = 64, value: float = 0.5, **changes: object) -> Sample:
    """A sample of seeded noise; the same number gives the same bytes."""
    payload = random.Random(number).randbytes(size_bytes)
    return sample_of(payload, value=value, **changes)


def make_picture_sample(number: int, *, side: int = 24, **changes: object) -> Sample:
    """A sample that is a real PNG of seeded noise: about 3 * side * side bytes."""
    noise = random.Random(number).randbytes(3 * side * side)
    file = io.BytesIO()
    Image.frombytes("RGB", (side, side), noise).save(file, "PNG")
    return sample_of(file.getvalue(), **changes)


def sample_of(payload: bytes, **changes: object) -> Sample:
    """A sample with this payload."""
    digest = hashlib.sha256(payload).hexdigest()
    return Sample(digest=digest, payload=payload, metadata=make_metadata(**changes))


def offer_of(sample: Sample) -> SampleOffer:
    """What a device would offer."""
    return SampleOffer(digest=sample.digest, size_bytes=len(sample.payload), metadata=sample.metadata)
