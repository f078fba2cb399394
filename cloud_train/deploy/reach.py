"""Whether another user of this machine can get at a program."""

from __future__ import annotations

import stat
from pathlib import Path


def barred_by(*places: Path) -> Path | None:
    """The first folder on the way to one of some places that not everybody may enter; None where all can be reached.

    Args:
        places: Absolute; what is not there bars nobody.
    """
    for place in places:
        for folder in (*reversed(place.parents), place):
            if folder.is_dir() and not folder.stat().st_mode & stat.S_IXOTH:
                return folder
    return None
