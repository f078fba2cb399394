"""What is signed for the channels, read again only when the published metadata changed.

The signatures are not checked here: a device does that, and takes nothing that they do not name.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cloud_train.fleet.check_in import Channel
from cloud_train.store.published import LAST, PublishedFiles
from edge.errors import StorageError

if TYPE_CHECKING:
    from tuf.api.metadata import Targets


class ChannelBook:
    """Remembers channels for as long as `timestamp.json` stays the same. Thread-safe.

    Args:
        published: What devices fetch.
        keep_s: Seconds for which it is believed without a look; 0 looks every time.
        steady: Seconds that never jump.
    """

    def __init__(
        self, published: PublishedFiles, *, keep_s: float = 0.0, steady: Callable[[], float] = time.monotonic
    ) -> None:
        self._published = published
        self._keep_s = keep_s
        self._steady = steady
        self._lock = threading.Lock()
        self._looked_at = float("-inf")
        self._stamp: bytes | None = None
        self._targets: Targets | None = None

    def channel(self, name: str) -> Channel:
        """What is signed for a channel now; nothing where nothing was ever published.

        Raises:
            StorageError: The metadata are damaged, or their place fails.
        """
        from cloud_train.publish.offers import live_offers, settled_of

        with self._lock:
            self._look()
            targets = self._targets
        if targets is None:
            return Channel()
        settled, live = settled_of(targets, name), live_offers(targets, name)
        digests = {offered.digest for offered in live}
        again = {offered.digest: offered.after_rollout for offered in live if offered.after_rollout}
        if settled is None:
            return Channel(offered=frozenset(digests), again=again)
        return Channel(settled=settled.digest, offered=frozenset({*digests, settled.digest}), again=again)

    def _look(self) -> None:
        now = self._steady()
        if self._looked_at + self._keep_s > now:
            return
        stamp = self._bytes(LAST)
        if stamp != self._stamp:
            self._targets = None if stamp is None else self._newest_targets(stamp)
            self._stamp = stamp
        self._looked_at = now

    def _newest_targets(self, stamp: bytes) -> Targets:
        timestamp = _parsed(stamp, LAST)
        snapshot = self._parsed_file(f"metadata/{timestamp.snapshot_meta.version}.snapshot.json")
        targets: Targets = self._parsed_file(f"metadata/{snapshot.meta['targets.json'].version}.targets.json")
        return targets

    def _parsed_file(self, path: str) -> Any:  # noqa: ANN401 - the class follows from the role
        data = self._bytes(path)
        if data is None:
            raise StorageError(f"{path} is missing from what is published", hint="publish again")
        return _parsed(data, path)

    def _bytes(self, path: str) -> bytes | None:
        try:
            return b"".join(self._published.read(path))
        except FileNotFoundError:
            return None


def _parsed(data: bytes, path: str) -> Any:  # noqa: ANN401 - the class follows from the role
    from tuf.api.exceptions import RepositoryError
    from tuf.api.metadata import Metadata

    try:
        return Metadata.from_bytes(data).signed
    except (RepositoryError, ValueError) as cause:
        raise StorageError(f"{path} is damaged", hint="publish again, or restore it from a backup") from cause
