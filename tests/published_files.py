"""What a server of published files holds, as a table that a test may damage; and what a thief of keys can sign."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from cloud_train.publish.keys import read_keys
from edge.errors import SelfTestError
from edge.update.selftest import self_test
from edge.update.slots import Slots
from edge.update.trust import TrustStore
from edge.update.types import UpdateResult
from edge.update.updater import Updater


def published_table(store: Path) -> dict[str, bytes]:
    """Path to content of everything that a store's repository publishes."""
    repository = store / "repository"
    return {
        path.relative_to(repository).as_posix(): path.read_bytes() for path in repository.rglob("*") if path.is_file()
    }


def signed_by(store: Path, data: bytes, change: Callable[[Any], None], *, roles: tuple[str, ...]) -> bytes:
    """Metadata as somebody makes them who has stolen the first key of each of some roles.

    Args:
        store: Whose keys.
        data: Honest metadata to begin with.
        change: Changes the signed part in place.
        roles: Whose keys sign.
    """
    from tuf.api.metadata import Metadata

    metadata: Metadata[Any] = Metadata.from_bytes(data)
    change(metadata.signed)
    metadata.signatures.clear()
    for role in roles:
        metadata.sign(read_keys(store / "keys", role)[0], append=True)
    return metadata.to_bytes()


class UpdatedDevice:
    """A device's home and its updates over any road; opened anew for each, as a process would."""

    def __init__(self, home: Path, *, channel: str = "stable", max_bytes: int = 0) -> None:
        self.home = home
        self.channel = channel
        self.max_bytes = max_bytes
        self.tested: list[str] = []
        self.fails: set[str] = set()

    @property
    def slots(self) -> Slots:
        return Slots(self.home)

    def updater(self, road: Any) -> Updater:
        trust = TrustStore(self.home, road, channel=self.channel)
        return Updater(
            self.slots, trust, road, self_test=self._test, fingerprint=lambda: "here", max_bytes=self.max_bytes
        )

    def trust_root(self, root: Path) -> None:
        TrustStore(self.home, None, channel=self.channel).install_root(root)

    def update(self, road: Any, now: float, *, wanted: str = "") -> UpdateResult:
        return self.updater(road).update(now, wanted=wanted)

    def runs(self) -> int:
        bundle = self.slots.open_active()
        return bundle.manifest.version if bundle else 0

    def left(self) -> dict[str, bytes]:
        """Every file of the home but the metadata of TUF, which may move on."""
        return {
            path.relative_to(self.home).as_posix(): path.read_bytes()
            for path in self.home.rglob("*")
            if path.is_file() and "tuf/metadata" not in path.as_posix()
        }

    def litter(self) -> list[str]:
        """Temporary and half-made things, anywhere in the home."""
        words = (".tmp", ".part", ".staging", ".unpacking")
        found = [path for path in self.home.rglob("*") if any(word in path.name for word in words)]
        found += list((self.home / "tuf" / "metadata").glob("tmp*"))
        return [str(path) for path in found]

    def _test(self, bundle: Any) -> None:
        self.tested.append(bundle.digest)
        if bundle.digest in self.fails:
            raise SelfTestError(f"golden vector golden-0.png: wrong on {bundle.manifest.version}")
        self_test(bundle)
