"""Samples for the checks of the outbox: the same number gives the same bytes on every machine."""

from __future__ import annotations

import hashlib

from edge.outbox.base import Sample, SampleMetadata
from edge.types import KeepReason, Outcome


def make_sample(number: int, *, size_bytes: int = 3000, value: float = 0.5) -> Sample:
    """A sample that no other number has."""
    payload = (number.to_bytes(4, "big") * (size_bytes // 4 + 1))[:size_bytes]
    metadata = SampleMetadata(
        device_id="device-tests",
        captured_at=1.7e9,
        source="device_tests",
        prediction_id="0" * 12 + "-" + "0" * 12,
        bundle_digest="0" * 64,
        label="red",
        confidence=0.5,
        margin=0.1,
        outcome=Outcome.CONFIRM,
        reason=KeepReason.LOW_CONFIDENCE,
        value=value,
    )
    return Sample(digest=hashlib.sha256(payload).hexdigest(), payload=payload, metadata=metadata)
