"""What a bundle said about the validation pictures it was proven on, as its published proof tells it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from cloud_train.store.published import PublishedFiles
from edge.bundle.manifest import MANIFEST_NAME


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the field is held against.

    Attributes:
        classes: Label to number; empty when not known.
        confidence: Numbers by confidence, bins of equal width; empty when not known.
        source: Where this comes from, for people.
    """

    classes: dict[str, float] = field(default_factory=dict)
    confidence: tuple[float, ...] = ()
    source: str


def expected_of(published: PublishedFiles, channel: str, bundle_digest: str) -> Expected | None:
    """The distribution in a bundle's proof, or the classes alone where an older edgeloop proved it; else None.

    Raises:
        StorageError: The place of what is published fails.
    """
    manifest = _json(published, f"targets/channel/{channel}/{bundle_digest}.{MANIFEST_NAME}")
    name = str(manifest.get("proof", {}).get("file", ""))
    entry = next((entry for entry in manifest.get("files", ()) if entry.get("name") == name), None)
    proof = _json(published, f"files/sha256/{entry['sha256']}") if name and entry else {}
    first = next(iter(proof.get("artifacts", ())), None)
    return None if first is None else expected_from(first, metric=str(proof.get("metric", "top1")))


def expected_from(artifact: dict[str, Any], *, metric: str) -> Expected | None:
    """The same from one entry of a proof. Pure."""
    found = artifact.get("distribution")
    if found:
        return Expected(
            classes=dict(found["classes"]), confidence=tuple(found["confidence"]), source="the validation pictures"
        )
    answers = artifact.get("answers", ())
    if metric not in ("top1", "macro_f1") or not answers:
        return None
    classes: dict[str, float] = {}
    for pair in answers:
        classes[pair["after"]] = classes.get(pair["after"], 0) + pair["num"]
    return Expected(classes=classes, source="the validation pictures (classes alone: an older proof)")


def _json(published: PublishedFiles, path: str) -> dict[str, Any]:
    try:
        found = json.loads(b"".join(published.read(path)))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
