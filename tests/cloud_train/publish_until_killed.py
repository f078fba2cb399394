"""Publishes a bundle in a child process that ends at the n-th durable write, for every n; run by test_publish.py.

Prints one JSON line a kill: the point, what a client found afterwards, and what the repeated command came to.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from cloud_train.ingest.handlers import published_file
from cloud_train.publish.publish import publish_bundle
from edge import durable
from edge.update.types import Release

NOW = 1_800_000_000.0


def kill_at(number: int, note: Path) -> Callable[[str], None]:
    """An observer that ends the process at its `number`-th call and notes where that was."""
    seen = []

    def observer(point: str) -> None:
        seen.append(point)
        if len(seen) == number:
            note.write_text(point)
            os._exit(9)

    return observer


def publish_in_child(bundle: Path, store: Path, number: int, note: Path) -> bool:
    """True when the child was killed, False when it came to its end."""
    child = os.fork()
    if child == 0:
        durable.observe(kill_at(number, note))
        publish_bundle(bundle, store, channel="stable", now=NOW)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def seen_by_client(store: Path, folder: Path) -> int | None:
    """Version of the bundle that a fresh client finds, all of its files checked; None when none is offered."""
    from test_repository import Client

    repository = store / "repository"
    if not (repository / "metadata" / "timestamp.json").exists():
        return None
    shutil.rmtree(folder, ignore_errors=True)
    manifest, hashed = (Client(folder, repository, prefixed=prefixed).manifest(now=NOW) for prefixed in (False, True))
    assert manifest == hashed, "clients of the two ways disagree"
    if manifest is None:
        return None
    for entry in manifest["files"]:
        data = published_file(repository, f"files/sha256/{entry['sha256']}").read_bytes()
        assert len(data) == entry["size_bytes"]
    return manifest["version"]


def finished(release: Release) -> dict[str, object]:
    return {"version": release.version, "digest": release.bundle_digest}


def main(bundle: Path, first_store: Path, work: Path) -> None:
    """Kills at every durable write of publishing `bundle` into copies of `first_store`."""
    number, killed = 0, True
    while killed:
        number += 1
        store, note = work / f"store-{number}", work / f"note-{number}"
        if first_store.exists():
            shutil.copytree(first_store, store)
        killed = publish_in_child(bundle, store, number, note)
        line = {"point": note.read_text() if killed else "end", "seen": seen_by_client(store, work / "client")}
        line["again"] = finished(publish_bundle(bundle, store, channel="stable", now=NOW))
        line["seen_again"] = seen_by_client(store, work / "client")
        line["leftovers"] = [path.name for path in store.rglob("*.tmp")]
        print(json.dumps(line))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main(*map(Path, sys.argv[1:4]))
