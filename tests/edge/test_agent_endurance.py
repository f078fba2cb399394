"""An agent over many frames on a simulated clock: memory flat, the outbox within its cap, nothing sent twice."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from device_world import process_environment, publish
from endless_agent import CAP_BYTES

from edge.bundle.manifest import KeepPolicy
from edge.outbox.sqlite import SqliteOutbox

SCRIPT = Path(__file__).with_name("endless_agent.py")
# The first frames are warm-up, in which each thread's heap finds its size.
WARM_SHARE = 0.2


def live(folder: Path, make_bundle: Callable[..., Path], frames: int) -> dict[str, Any]:
    bundle = make_bundle(folder / "bundle", keep=KeepPolicy(random_fraction=0.0))
    publish(folder / "store", bundle, now=1.75e9)
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder / "home"), str(bundle), str(folder / "store"), str(frames)],
        capture_output=True,
        text=True,
        timeout=3000,
        env=process_environment(),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def slope_mb(marks: list[list[int]]) -> float:
    """Growth of resident memory in MB for each 100,000 frames: least squares after the warm-up."""
    warm = np.array(marks[int(WARM_SHARE * len(marks)) :], dtype=float)
    return float(np.polyfit(warm[:, 0], warm[:, 1], 1)[0] * 100_000 / 1e6)


def check(result: dict[str, Any], frames: int, home: Path) -> None:
    assert (result["answered"], result["dropped"]) == (frames, 0)
    assert result["kept"] == frames // 100
    assert result["sent_twice"] == 0
    assert max(size for _, _, size in result["marks"]) <= CAP_BYTES
    assert result["threads"] == 1
    assert result["said"] < 50
    outbox = SqliteOutbox(home / "outbox.sqlite")
    stats = outbox.stats()
    outbox.close()
    assert stats.sent == result["arrived"]
    assert stats.sent + stats.shed + stats.pending == result["kept"]


def test_a_short_life(tmp_path: Path, make_bundle: Callable[..., Path]) -> None:
    check(live(tmp_path, make_bundle, 4_000), 4_000, tmp_path / "home")


@pytest.mark.slow
def test_a_long_life_leaves_memory_and_disk_flat(tmp_path: Path, make_bundle: Callable[..., Path]) -> None:
    frames = 200_000
    result = live(tmp_path, make_bundle, frames)
    check(result, frames, tmp_path / "home")
    slope, largest = slope_mb(result["marks"]), max(size for _, _, size in result["marks"])
    print(f"{frames} frames: {slope:+.2f} MB for each 100,000, outbox at most {largest} of {CAP_BYTES} bytes")
    assert slope <= 2.0
