"""The test's own memory of what each device kept: one file a device, every line on the disk before life goes on."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

TRIED, KEPT = "tried", "kept"


class ChaosJournal:
    """Written by a device that may be killed at any moment.

    Args:
        file: Created when missing; an unfinished last line of a killed life is ended.
    """

    def __init__(self, file: Path) -> None:
        self._handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.write(self._handle, b"\n")

    def note(self, word: str, digest: str) -> None:
        """One line, on the disk on return."""
        os.write(self._handle, f"{word} {digest}\n".encode())
        os.fdatasync(self._handle)


def read_journals(folder: Path) -> dict[str, set[str]]:
    """All digests of all devices by word; half-written lines count for nothing."""
    found: dict[str, set[str]] = defaultdict(set)
    for file in folder.glob("*.journal"):
        for line in file.read_text().splitlines():
            word, _, digest = line.partition(" ")
            if word in (TRIED, KEPT) and len(digest) == 64:
                found[word].add(digest)
    return found
