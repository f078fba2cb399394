"""Bundles that are damaged on purpose, digests put right again, so that only the damage itself can be the reason."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge import jsonvalue

Edit = Callable[[dict[str, Any]], None]


def setting(path: str, value: object) -> Edit:
    """An edit of a manifest: `stages.0.name` becomes the value."""

    def edit(manifest: dict[str, Any]) -> None:
        parent, last = _parent(manifest, path)
        parent[last] = value

    return edit


def deleting(path: str) -> Edit:
    """An edit of a manifest: the field goes."""

    def edit(manifest: dict[str, Any]) -> None:
        parent, last = _parent(manifest, path)
        del parent[last]

    return edit


def doubling(path: str) -> Edit:
    """An edit of a manifest: the last item of a list comes twice."""

    def edit(manifest: dict[str, Any]) -> None:
        parent, last = _parent(manifest, path)
        parent[last].append(parent[last][-1])

    return edit


def every(*edits: Edit) -> Edit:
    """Several edits, one after the other."""

    def edit(manifest: dict[str, Any]) -> None:
        for one in edits:
            one(manifest)

    return edit


def edit_manifest(folder: Path, edit: Edit) -> None:
    """Changes the manifest and keeps it canonical."""
    path = folder / "manifest.json"
    value = json.loads(path.read_bytes())
    edit(value)
    path.write_bytes(json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode())


def replace_file(folder: Path, name: str, data: bytes) -> None:
    """Writes a file of the bundle anew and its size and digest into the manifest, as a careless packer would."""
    (folder / name).write_bytes(data)

    def refresh(manifest: dict[str, Any]) -> None:
        manifest["files"] = [entry for entry in manifest["files"] if entry["name"] != name]
        entry = {"name": name, "sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
        manifest["files"] = sorted([*manifest["files"], entry], key=lambda item: item["name"])

    edit_manifest(folder, refresh)


def edit_golden(folder: Path, edit: Edit) -> None:
    """Changes the golden vectors' index, digests put right."""
    value = json.loads((folder / "golden.json").read_bytes())
    edit(value)
    replace_file(folder, "golden.json", jsonvalue.canonical_bytes(value))


def _parent(value: Any, path: str) -> tuple[Any, Any]:
    *parents, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    for key in parents:
        value = value[key]
    return value, last
