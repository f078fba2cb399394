"""The names and the signed words of bundles in TUF targets metadata, the same for publisher and device. Pure.

    channel/<channel>/manifest.json           the settled bundle
    channel/<channel>/offers/<digest>.json    one candidate, or one that was withdrawn

Both are manifests; what may be done with them stands in the `custom` field of the signed targets metadata. Format page:
docs/formats/repository.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from edge import jsonvalue
from edge.bundle.manifest import MANIFEST_NAME
from edge.bundle.sealed import SealedFile
from edge.errors import FormatError
from edge.update.types import Offered

MAX_ROLLBACK = 16
MAX_OFFERS = 16
"""Most offers of one channel that a device reads, withdrawn ones among them."""
SIGNED_AT = "x-edgeloop-signed-at"
"""A field of timestamp metadata beside those of TUF: when it was signed, whole seconds since the epoch, UTC."""
_DIGEST = re.compile(r"[0-9a-f]{64}")
Custom = Mapping[str, jsonvalue.Json]


def settled_name(channel: str) -> str:
    """Name of a channel's settled manifest in the signed metadata."""
    return f"channel/{channel}/{MANIFEST_NAME}"


def offer_name(channel: str, digest: str) -> str:
    """Name of a candidate's manifest in the signed metadata."""
    return f"channel/{channel}/offers/{digest}.json"


def offer_digest(channel: str, name: str) -> str:
    """The digest in the name of one of a channel's offers, empty for any other name."""
    prefix, suffix = f"channel/{channel}/offers/", ".json"
    digest = name.removeprefix(prefix).removesuffix(suffix)
    return digest if _DIGEST.fullmatch(digest) and name == offer_name(channel, digest) else ""


def custom_of(offered: Offered) -> dict[str, jsonvalue.Json]:
    """What is signed beside the manifest's digest; only what differs from the default is written."""
    custom: dict[str, jsonvalue.Json] = {"name": offered.name, "version": offered.version}
    if offered.rollback_to:
        custom["rollback_to"] = list(offered.rollback_to)
    custom |= {word: True for word in ("downgrade", "withdrawn") if getattr(offered, word)}
    if offered.after_rollout:
        custom["after_rollout"] = offered.after_rollout
    if offered.sealed:
        custom["sealed"] = {name: jsonvalue.to_json(file) for name, file in sorted(offered.sealed.items())}
    return custom


def offered_from(digest: str, custom: object, *, where: str) -> Offered:
    """Reads what was signed beside a manifest's digest.

    Raises:
        FormatError: It was signed, and makes no sense all the same; names the target.
    """
    if not isinstance(custom, Mapping):
        raise FormatError(f"{where}: its signed fields are missing")
    version, rollback_to = custom.get("version"), custom.get("rollback_to", [])
    if type(version) is not int or version < 0 or not isinstance(custom.get("name"), str):
        raise FormatError(f"{where}: its signed name or version is missing")
    if not isinstance(rollback_to, list) or not all(_is_digest(item) for item in rollback_to):
        raise FormatError(f"{where}: its signed field 'rollback_to' is no list of digests")
    after = custom.get("after_rollout", 0)
    return Offered(
        digest=digest,
        name=str(custom["name"]),
        version=version,
        rollback_to=tuple(rollback_to),
        downgrade=custom.get("downgrade") is True,
        withdrawn=custom.get("withdrawn") is True,
        sealed=_sealed(custom.get("sealed", {}), where),
        after_rollout=after if type(after) is int and after > 0 else 0,
    )


def _sealed(value: object, where: str) -> dict[str, SealedFile]:
    if not isinstance(value, Mapping):
        raise FormatError(f"{where}: its signed field 'sealed' is no object")
    return {str(name): jsonvalue.from_json(SealedFile, file, where=f"{where}: {name}") for name, file in value.items()}


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None
