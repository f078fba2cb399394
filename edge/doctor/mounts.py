"""Which file system a folder lies on, as /proc/self/mountinfo tells it (proc_pid_mountinfo(5))."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from edge.doctor.types import Subject

_FLEETING = frozenset(("tmpfs", "ramfs", "overlay", "aufs"))
_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One mounted file system.

    Attributes:
        point: Where it is mounted.
        kind: Its type, for instance `ext4`.
        options: Of the mount and of the file system, for instance `rw`.
        device: Its device number, `major:minor`.
    """

    point: Path
    kind: str
    options: frozenset[str]
    device: str

    @property
    def is_fleeting(self) -> bool:
        """Whether its content goes with the power or with the container."""
        return self.kind in _FLEETING


def find_mount(subject: Subject, folder: Path) -> Mount | None:
    """The mount that a folder lies on; None where the system does not say."""
    found = None
    real = folder.resolve()
    for line in subject.text("proc/self/mountinfo").splitlines():
        mount = _parse(line)
        if mount is None or not real.is_relative_to(mount.point):
            continue
        # A later line hides an earlier one at the same place.
        if found is None or len(mount.point.parts) >= len(found.point.parts):
            found = mount
    return found


def _parse(line: str) -> Mount | None:
    before, _, after = line.partition(" - ")
    first, last = before.split(), after.split()
    if len(first) < 6 or len(last) < 3:
        return None
    options = {*first[5].split(",")} | ({"ro"} & {*last[2].split(",")})
    return Mount(point=Path(_plain(first[4])), kind=last[0], options=frozenset(options), device=first[2])


def _plain(text: str) -> str:
    """Spaces and the like are written as octal numbers."""
    return _OCTAL.sub(lambda found: chr(int(found.group(1), 8)), text)
