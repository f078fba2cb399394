"""Options of a demo in a small work folder, for tests of its parts."""

from __future__ import annotations

import sys
from pathlib import Path

from cloud_train.demo.options import DemoOptions


def demo_options(work: Path, **changes: object) -> DemoOptions:
    """Options as `edgeloop demo --work WORK` makes them, with some replaced."""
    fields: dict[str, object] = {
        "work": str(work),
        "data": "",
        "weights": "",
        "application": "shelf",
        "device_python": sys.executable,
        "per_class": 8,
        "field_fraction": 0.5,
        "num_unknown": 1,
        "epochs": 1,
        "fps": 25.0,
        "seed": 7,
    }
    return DemoOptions(**(fields | changes))
