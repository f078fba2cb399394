"""The loop of a measured program: it answers frame by frame when told to, and times itself. Standard library only.

A line `N PATH` on stdin asks for N answers about the file; one JSON line on stdout says how many milliseconds each
took, what the last answer was, and how large the process is. Programs of every environment share this, peers included.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path


def serve(answer: Callable[[Path, bytes], str]) -> None:
    """Works until stdin ends.

    Args:
        answer: Takes the path of a picture and its bytes, whichever it needs; says in short what it saw.
    """
    lines = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not come between
    for order in sys.stdin:
        count, path = order.rstrip("\n").split(" ", 1)
        print(json.dumps(_answers(answer, Path(path), int(count))), file=lines, flush=True)


def resident_bytes() -> int:
    """Physical memory of this process now."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _answers(answer: Callable[[Path, bytes], str], path: Path, count: int) -> dict[str, object]:
    data = path.read_bytes()
    times_ms, said = [], ""
    for _ in range(count):
        began = time.perf_counter()
        said = answer(path, data)
        times_ms.append((time.perf_counter() - began) * 1e3)
    return {"times_ms": times_ms, "said": said, "rss": resident_bytes()}
