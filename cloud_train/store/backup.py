"""Takes a backup of a store while servers write to it."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from cloud_train.store.backup_file import FILES, TABLES, BackupManifest, BackupWriter, Progress
from cloud_train.store.dump import dump_table, frozen, table_names
from cloud_train.store.opened import Store
from cloud_train.store.published import LAST, PublishedFiles, PublishedFolder
from edge.errors import DamagedError, UsageError

LOCAL = ("snapshots", "runs", "bundles", "reports")
SECRET = ("keys", "ca")
REPOSITORY = "repository"
_IN_MEMORY = 1 << 20
_logger = logging.getLogger(__name__)


def back_up(
    store: Store,
    target: Path,
    *,
    with_keys: bool,
    now: float,
    progress: Progress = lambda done, total: None,
) -> BackupManifest:
    """Writes a backup that is consistent: what its tables name is in it.

    Most of the pictures are copied first; then the tables are read as of one moment, and then the pictures that have
    come since. A damaged picture is left out, and said. The same call after a kill goes on with the pictures.

    Args:
        store: What to save.
        target: The file to make.
        with_keys: Whether the keys of the repository and of the authority go with it.
        now: Seconds since the epoch, UTC.
        progress: Told pictures done, and pictures in all.

    Raises:
        UsageError: The file is there already.
        StorageError: Something cannot be read or written; what was written stays for the next call.
    """
    if target.exists():
        raise UsageError(f"{target} is there already", hint="choose another name for each backup")
    writer = BackupWriter(target)
    try:
        _add_blobs(store, writer, progress)
        with ExitStack() as stack:
            latest = _timestamp(_repository(store))
            tables, revision = _dump(store, stack)
            _add_blobs(store, writer, progress)
            _add_files(store, writer, latest, with_keys=with_keys)
            for name, file in tables.items():
                writer.add_stream(f"{TABLES}{name}.jsonl", file)
            return writer.finish(made_at=now, revision=revision, with_keys=with_keys)
    finally:
        writer.close()


def _add_blobs(store: Store, writer: BackupWriter, progress: Progress) -> None:
    missing = sorted(set(store.blobs.digests()) - writer.digests)
    done, total = len(writer.digests), len(writer.digests) + len(missing)
    for number, digest in enumerate(missing):
        try:
            writer.add_blob(digest, store.blobs.read(digest))
        except DamagedError as error:  # one bad picture must not keep all others from being saved
            _logger.error("left out of the backup: %s", error)
        except KeyError:  # nothing named it, and a sweep has removed it meanwhile
            continue
        progress(done + number + 1, total)


def _dump(store: Store, stack: ExitStack) -> tuple[dict[str, IO[bytes]], str]:
    tables: dict[str, IO[bytes]] = {}
    revision = store.database.revision()
    with frozen(store.database) as connection:
        for name in table_names():
            tables[name] = stack.enter_context(tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY))  # noqa: SIM115
            dump_table(connection, name, tables[name])
    return tables, revision


def _add_files(store: Store, writer: BackupWriter, latest: bytes | None, *, with_keys: bool) -> None:
    for path in _local_files(store.layout.root, (*LOCAL, *(SECRET if with_keys else ()))):
        with path.open("rb") as file:
            writer.add_stream(FILES + path.relative_to(store.layout.root).as_posix(), file)
    published = _repository(store)
    for path, _ in sorted(published.list()):
        if path != LAST:
            with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as file:
                file.writelines(published.read(path))
                writer.add_stream(f"{FILES}{REPOSITORY}/{path}", file)
    if latest is not None:
        writer.add(f"{FILES}{REPOSITORY}/{LAST}", latest)


def _repository(store: Store) -> PublishedFiles:
    """The publisher's own folder where it is here, otherwise what was published from elsewhere."""
    folder = store.layout.repository
    return PublishedFolder(folder) if folder.is_dir() else store.published


def _timestamp(published: PublishedFiles) -> bytes | None:
    """Read before the rest: what it names is there then, and stays."""
    try:
        return b"".join(published.read(LAST))
    except FileNotFoundError:
        return None


def _local_files(root: Path, names: tuple[str, ...]) -> Iterator[Path]:
    for name in names:
        for path in sorted((root / name).rglob("*")):
            if path.is_file() and not path.is_symlink() and not path.name.endswith(".tmp"):
                yield path
