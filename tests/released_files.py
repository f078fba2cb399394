"""What is published in a store, as a server in memory hands it out."""

from __future__ import annotations

from pathlib import Path

from cloud_train.ingest.handlers import published_file

_MANIFEST = "targets/channel/stable/manifest.json"


def files_of(store: Path) -> dict[str, bytes]:
    """Every published file by the path that devices ask for."""
    repository = store / "repository"
    paths = [path.relative_to(repository).as_posix() for path in repository.rglob("*") if path.is_file()]
    files = {path: (repository / path).read_bytes() for path in paths}
    return files | {_MANIFEST: published_file(repository, _MANIFEST).read_bytes()}
