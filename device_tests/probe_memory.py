"""Started by the memory checks: answers many frames and prints its resident memory at each step, as one JSON object.

python -m device_tests.probe_memory BUNDLE FRAMES
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from device_tests.report import MemoryFigure

STATM = Path("/proc/self/statm")
# One of each kind, so that every decoder has its turn.
PICTURES = ("large-eighth.jpg", "rgb.png", "lossy.webp", "rgb.jpg")


def resident_bytes() -> int:
    """Resident memory of this process, from the kernel's page count."""
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def measure(path: Path, num_frames: int) -> MemoryFigure:
    """Opens a bundle and answers, looking at the memory between the steps; imports what it needs as it goes."""
    start = resident_bytes()
    import numpy  # noqa: F401  (what every engine has, before anything of a model)
    import PIL.Image  # noqa: F401

    from device_tests.models import bundle_title
    from device_tests.plan import VECTORS, opened
    from device_tests.report import MemoryFigure
    from edge.engine import open_engine

    imported = resident_bytes()
    pictures = [(VECTORS / name).read_bytes() for name in PICTURES]
    with opened(path) as bundle, open_engine(bundle, allow_unproven=True) as engine:
        title, artifact = bundle_title(bundle), "+".join(item.file for item in engine.load().artifacts)
        after_open = warm = resident_bytes()
        for number in range(num_frames):
            if number == max(len(pictures), num_frames // 5):
                warm = resident_bytes()
            engine.infer(pictures[number % len(pictures)])
        end = resident_bytes()
    return MemoryFigure(
        bundle=title,
        artifact=artifact,
        num_frames=num_frames,
        start_bytes=start,
        import_bytes=imported,
        open_bytes=after_open,
        end_bytes=end,
        drift_bytes=end - warm,
    )


def main(path: Path, num_frames: int) -> int:
    """Measures one bundle and prints the figure.

    Returns:
        0, or 77 where the system does not tell.
    """
    if not STATM.exists():
        print(f"{sys.platform} has no {STATM}", file=sys.stderr)
        return 77
    figure = measure(path, num_frames)
    from edge import jsonvalue

    print(jsonvalue.canonical_bytes(figure).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
