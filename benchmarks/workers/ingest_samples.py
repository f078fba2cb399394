"""Samples of 30 KB for the ingest benchmarks: real JPEGs, each different."""

from __future__ import annotations

import hashlib
import io
import random
import time
from functools import cache

from edge.outbox.base import Sample, SampleMetadata
from edge.types import KeepReason, Outcome

SIZE_BYTES = 30_000


def samples(number: int, *, seed: str, device_id: str = "bench-1") -> list[Sample]:
    """Samples of `SIZE_BYTES` each; another seed gives others."""
    rng, base = random.Random(seed), _jpeg()  # noqa: S311 - noise, no secrets
    made = []
    for _ in range(number):
        payload = base + rng.randbytes(SIZE_BYTES - len(base))
        digest = hashlib.sha256(payload).hexdigest()
        made.append(Sample(digest=digest, payload=payload, metadata=metadata(device_id)))
    return made


def metadata(device_id: str) -> SampleMetadata:
    """What a device would know."""
    return SampleMetadata(
        device_id=device_id,
        captured_at=time.time(),
        source="camera:0",
        prediction_id="0123456789ab-cdef01234567",
        bundle_digest="ab" * 32,
        label="Hagebutte",
        confidence=0.5,
        margin=0.125,
        outcome=Outcome.CONFIRM,
        reason=KeepReason.LOW_CONFIDENCE,
        value=0.5,
    )


@cache
def _jpeg() -> bytes:
    """A JPEG of noise, a little below the size."""
    from PIL import Image

    best, noise = b"", random.Random(1)  # noqa: S311 - noise, no secrets
    for side in range(100, 300, 4):
        file = io.BytesIO()
        Image.frombytes("RGB", (side, side), noise.randbytes(3 * side * side)).save(file, "JPEG", quality=75)
        if file.tell() > SIZE_BYTES - 64:
            return best
        best = file.getvalue()
    return best
