"""Wheels of what is installed here, made out of its own records: a registry for tests that reach none.

PyPA's binary distribution format: an installed distribution lists its files in RECORD; put into an archive again with
the tag that WHEEL gives in its name, they are a wheel. Programs in `bin/` are left out: pip makes them anew.
"""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterable, Iterator
from email.message import Message
from email.parser import HeaderParser
from importlib import metadata
from pathlib import Path, PurePosixPath

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def needed_by(wheel: Path, extra: str) -> set[str]:
    """Names of the distributions that a wheel needs here with an extra, by its own word and by that of all of these."""
    own = _words_of(wheel)
    name = canonicalize_name(own["Name"])
    waiting, seen = [(name, frozenset((extra,)))], set()
    while waiting:
        one = waiting.pop()
        if one not in seen:
            seen.add(one)
            lines = (own.get_all("Requires-Dist") if one[0] == name else metadata.requires(one[0])) or ()
            waiting += [(canonicalize_name(more.name), frozenset(more.extras)) for more in _wanted(lines, one[1])]
    return {name for name, _ in seen} - {name}


def write_wheel(name: str, folder: Path) -> Path:
    """The wheel of an installed distribution."""
    found = metadata.distribution(name)
    tags = HeaderParser().parsestr(found.read_text("WHEEL") or "").get_all("Tag") or []
    path = folder / f"{_escaped(found.metadata['Name'])}-{found.version}-{_compressed(tags)}.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in found.files or ():
            inside = PurePosixPath(os.path.normpath(file))
            if inside.parts[0] != ".." and inside.suffix != ".pyc" and inside.name not in ("INSTALLER", "REQUESTED"):
                archive.write(found.locate_file(file), str(inside))
    return path


def _words_of(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (inside,) = (one for one in archive.namelist() if one.endswith(".dist-info/METADATA"))
        return HeaderParser().parsestr(archive.read(inside).decode())


def _wanted(lines: Iterable[str], extras: frozenset[str]) -> Iterator[Requirement]:
    for text in lines:
        one = Requirement(text)
        if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in (*extras, "")):
            yield one


def _escaped(text: str) -> str:
    return re.sub(r"[-_.]+", "_", text)


def _compressed(tags: list[str]) -> str:
    """`py2-none-any`, `py3-none-any` in one: `py2.py3-none-any`."""
    columns = zip(*(tag.split("-") for tag in tags), strict=True)
    return "-".join(".".join(dict.fromkeys(column)) for column in columns)
