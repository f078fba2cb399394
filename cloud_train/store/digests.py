"""What a name of bytes is, how it is made, and where the bytes lie that it names."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from edge.errors import FormatError

NEW = "new"
"""Where files are put first."""
ASIDE = "aside"
"""Where pictures wait for their removal that nothing names."""
_DIGEST = re.compile(r"[0-9a-f]{64}")


def is_digest(text: str) -> bool:
    """Whether `text` is a SHA-256 in lower-case hex."""
    return _DIGEST.fullmatch(text) is not None


def check_digests(digests: Iterable[str]) -> None:
    """Refuses what is no digest, before anything is made of it.

    Raises:
        FormatError: Names the first.
    """
    for digest in digests:
        if not is_digest(digest):
            raise FormatError(f"{digest!r} is not a SHA-256 in hex")


def place_of(digest: str) -> str:
    """Where bytes lie for good, below the place of all."""
    return f"{digest[:2]}/{digest}"


def digest_of_file(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
