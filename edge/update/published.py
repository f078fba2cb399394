"""What an update needs of the other side: published files by their paths. A server gives them, and so does a stick."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol


class PublishedFiles(Protocol):
    """Where published files come from; nothing that comes is trusted."""

    def fetch(self, path: str, *, offset: int) -> Iterator[bytes]:
        """Reads a published file from `offset` to its end.

        Args:
            path: As `metadata/timestamp.json` or `files/sha256/<digest>`.
            offset: Bytes to leave out.

        Raises:
            FileNotFoundError: No such file there.
            RoadError: It cannot be read just now.
        """
        ...
