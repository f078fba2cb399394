"""Where a store lies: a local folder, and by URL a database and an object store that several servers share."""

from __future__ import annotations

import json
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path

from cloud_train.store.layout import StoreLayout
from edge import durable
from edge.errors import EdgeloopError, StorageError, UsageError

LOCATION_FILE = "store.toml"
_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreLocation:
    """Where the parts of one store are.

    Attributes:
        root: Local folder: keys, snapshots, runs, bundles, reports, unfinished uploads.
        database: Path of an SQLite file, or a database URL; never printed, it may hold a password.
        objects: Folder or object store URL that holds `blobs/` and `repository/`.
    """

    root: Path
    database: Path | str
    objects: Path | str

    def __repr__(self) -> str:
        """Without the password of the database."""
        from cloud_train.store.engines import public_name

        return f"StoreLocation(root={self.root}, database={public_name(self.database)}, objects={self.objects})"


def read_location(root: Path) -> StoreLocation:
    """Where the store of a folder lies: `store.toml`, with `EDGELOOP_DATABASE` and `EDGELOOP_OBJECTS` before it.

    Raises:
        UsageError: A URL is none, or of a kind that no store can have.
        StorageError: `store.toml` cannot be read.
    """
    from cloud_train.settings import PlaceSettings

    written, given = _written(root / LOCATION_FILE), PlaceSettings()
    return located(
        root,
        database=given.database or written.get("database", ""),
        objects=given.objects or written.get("objects", ""),
    )


def located(root: Path, *, database: str = "", objects: str = "") -> StoreLocation:
    """A checked location.

    Args:
        root: The local folder.
        database: A database URL, empty for the file of the folder.
        objects: An object store URL, empty for the folder itself.

    Raises:
        UsageError: A URL is none, or of a kind that no store can have.
    """
    from cloud_train.store.engines import checked_url
    from cloud_train.store.objects import checked_place

    return StoreLocation(
        root=root,
        database=checked_url(database) if database else StoreLayout(root=root).meta,
        objects=checked_place(objects) if objects else root,
    )


def write_location(root: Path, *, database: str = "", objects: str = "") -> StoreLocation:
    """Writes `store.toml`, readable by its owner only.

    Raises:
        UsageError: A URL makes no sense, or the folder is a store that lies elsewhere already.
        StorageError: The file cannot be written.
    """
    location = located(root, database=database, objects=objects)
    if (root / LOCATION_FILE).exists():
        _require_same(root, database=database, objects=objects)
        return location
    if database and StoreLayout(root=root).meta.exists():
        raise UsageError(
            f"{root} holds samples in a database of its own",
            hint="take a backup, and restore it into a new folder that was made with --database",
        )
    durable.make_folder(root)
    lines = [f"format = {_FORMAT}"]
    lines += [f"{name} = {_quoted(value)}" for name, value in (("database", database), ("objects", objects)) if value]
    durable.write_bytes(root / LOCATION_FILE, ("\n".join(lines) + "\n").encode(), point="store.toml", mode=0o600)
    return location


def is_store(root: Path) -> bool:
    """Whether a folder has been used as a store, or says where one lies."""
    layout = StoreLayout(root=root)
    return any(path.exists() for path in (root / LOCATION_FILE, layout.meta, layout.blobs)) or _elsewhere(root)


def _elsewhere(root: Path) -> bool:
    location = read_location(root)
    return root.is_dir() and (location.database, location.objects) != (StoreLayout(root=root).meta, root)


def _require_same(root: Path, *, database: str, objects: str) -> None:
    there = _written(root / LOCATION_FILE)
    if (there.get("database", ""), there.get("objects", "")) != (database, objects):
        raise UsageError(
            f"{root / LOCATION_FILE} names another place",
            hint="move the samples with `edgeloop store backup` and `restore`, or remove the file yourself",
        )


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # a JSON string is a TOML basic string, URLs hold no control characters


def _written(path: Path) -> dict[str, str]:
    try:
        with path.open("rb") as file:
            found = tomllib.load(file)
    except (FileNotFoundError, NotADirectoryError):  # whoever writes next says what is in the way
        return {}
    except OSError as cause:
        raise StorageError(f"cannot read {path}: {os.strerror(cause.errno or 0).lower()}") from cause
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as cause:
        raise _wrong(path, "is not TOML") from cause
    for name, value in found.items():
        if name not in ("format", "database", "objects"):
            raise _wrong(path, f"holds an unknown key {name!r}")
        if name != "format" and not isinstance(value, str):
            raise _wrong(path, f"{name} must be a text")
    if found.pop("format", _FORMAT) != _FORMAT:
        raise StorageError(f"{path} was written by a newer edgeloop", hint="update edgeloop")
    return found


def _wrong(path: Path, what: str) -> EdgeloopError:
    return UsageError(f"{path} {what}", hint="see docs/formats/store.md, or write it with `edgeloop store init`")
