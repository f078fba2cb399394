"""The versions that are installed, as lines of a constraints file."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.metadata import Distribution

_OWN = "edgeloop"
_VERSION = re.compile(r"[0-9][A-Za-z0-9.!]*")


def installed_pins(distributions: Iterable[Distribution]) -> tuple[str, ...]:
    """`name==version` of each, by name; without edgeloop, and without builds that no registry has (`+cpu`)."""
    found = {}
    for one in distributions:
        name, version = one.metadata["Name"], one.version
        if name and name.lower() != _OWN and _VERSION.fullmatch(version or ""):
            found[re.sub(r"[-_.]+", "-", name).lower()] = version
    return tuple(f"{name}=={version}" for name, version in sorted(found.items()))
