"""Metadata of a sample as the outbox keeps it: canonical JSON, checked on the way in and on the way out."""

from __future__ import annotations

import hashlib

from edge import jsonvalue
from edge.errors import DamagedError, FormatError
from edge.outbox.base import Sample, SampleMetadata


def encode(sample: Sample) -> str:
    """The metadata as JSON, once the sample has proven to be what its digest says.

    Raises:
        FormatError: The digest is not the payload's, or a field of the metadata cannot be written down.
    """
    actual = hashlib.sha256(sample.payload).hexdigest()
    if actual != sample.digest:
        raise FormatError(f"sample {sample.digest[:80]}: the SHA-256 of its payload is {actual}")
    try:
        return jsonvalue.canonical_bytes(sample.metadata).decode()
    except ValueError as cause:
        raise FormatError(f"sample {sample.digest}: metadata cannot be kept: {cause}") from cause


def decode(text: str, *, where: str) -> SampleMetadata:
    """Reads what `encode` wrote.

    Args:
        text: The JSON.
        where: File and digest, for errors.

    Raises:
        DamagedError: It is not what `encode` writes: the file is damaged.
    """
    try:
        return jsonvalue.load(SampleMetadata, text.encode(), where=where)
    except (FormatError, ValueError) as cause:
        raise DamagedError(f"{where}: damaged metadata: {cause}") from cause
