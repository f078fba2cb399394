"""The update client's downloads, carried over the same road as everything else. Imported only where tuf is at hand."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from tuf.api.exceptions import DownloadHTTPError  # noqa: TID253 - this file is imported only when an update is made
from tuf.ngclient.fetcher import FetcherInterface  # noqa: TID253

from edge.update.pace import in_time
from edge.update.published import PublishedFiles

NOT_FOUND = 404


class TransportFetcher(FetcherInterface):
    """Fetches published paths (`metadata/timestamp.json`) from the server; there are no URLs.

    Args:
        transport: The road.
    """

    def __init__(self, transport: PublishedFiles) -> None:
        self._transport = transport
        self.fetched_bytes = 0

    def _fetch(self, url: str) -> Iterator[bytes]:
        """The first piece is asked for at once, so that a missing file is known here and not in the middle."""
        pieces = iter(self._transport.fetch(url, offset=0))
        try:
            first = next(pieces, b"")
        except FileNotFoundError as cause:
            raise DownloadHTTPError(f"{url} is not on the server", NOT_FOUND) from cause
        return self._counted(in_time(chain((first,), pieces), url))

    def _counted(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self.fetched_bytes += len(piece)
            yield piece
