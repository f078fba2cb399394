"""A detector and a second network on a device of 512 MB: a thousand large photos, under a limit that kills."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from memory_cgroup import MemoryGroup, memory_group
from pipeline_bundles import COLOURS, build_pipeline, squares
from real_bundles import build_counter, grocery_photos, tile_photos

LIMIT_BYTES = 512 << 20
KINDS = ("Granny-Smith", "Orange", "Banana", "Pineapple", "Lemon", "Red-Delicious")
NUM_PHOTOS = 12

# The process joins the group before it loads anything.
_JOIN = """
import os, sys
with open(sys.argv[1], "w") as procs:
    procs.write(str(os.getpid()))
"""
_GRAB = _JOIN + "held = bytearray(int(sys.argv[2])); held[::4096] = bytes([1]) * len(held[::4096])\n"
_LOOK = (
    _JOIN
    + """
import json, resource
from collections.abc import Callable
from pathlib import Path
from edge import open_engine
bundle, folder, frames, workers = sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
photos = sorted(folder.iterdir())
found = 0
with open_engine(bundle, allow_unproven=True, workers=workers) as engine:
    for number in range(frames):
        found += len(engine.infer(photos[number % len(photos)]).prediction.items)
lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
peak = int(lines["VmHWM"].split()[0]) * 1024
print(json.dumps({"frames": frames, "found": found, "rss_peak_bytes": peak}))
"""
)
# As on a device of four processors, whatever this machine has.
_LOOK_SIDE_BY_SIDE = (
    _JOIN
    + """
import threading
from edge import open_engine
bundle, picture, number = sys.argv[2], sys.argv[3], int(sys.argv[4])
with open_engine(bundle) as engine:
    threads = [threading.Thread(target=engine.infer, args=(picture,)) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""
)

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def counter(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_counter(data_root / "models", tmp_path_factory.mktemp("limit") / "counter")


@pytest.fixture(scope="module")
def shelves(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of photos in Full HD, each of four real ones."""
    folder = tmp_path_factory.mktemp("shelves")
    photos = {kind: grocery_photos(data_root, kind) for kind in KINDS}
    for number in range(NUM_PHOTOS):
        chosen = [photos[KINDS[(number + step) % len(KINDS)]][number] for step in range(4)]
        (folder / f"{number:02d}.jpg").write_bytes(tile_photos(chosen, columns=2))
    return folder


@pytest.fixture(scope="module")
def large_png(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 megapixels, a little less than is refused."""
    from PIL import Image

    path = tmp_path_factory.mktemp("large") / "large.png"
    Image.new("RGB", (7000, 6900), (90, 120, 60)).save(path, compress_level=1)
    return path


def test_the_limit_kills(repository: Path) -> None:
    """Otherwise the other tests would say nothing."""
    _skip_with_swap()
    with memory_group(LIMIT_BYTES) as group:
        modest = _run(repository, _GRAB, group, str(100 << 20))
        greedy = _run(repository, _GRAB, group, str(600 << 20))
        peak = group.peak_bytes()
    assert modest.returncode == 0, modest.stderr
    assert greedy.returncode == -signal.SIGKILL
    assert peak >= LIMIT_BYTES - (1 << 20)


def test_a_drawn_shelf_fits(repository: Path, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "shelf.jpg").write_bytes(
        squares((1, 1, COLOURS["red"]), (5, 5, COLOURS["blue"]), side=1920, kind="JPEG")
    )
    said, _ = _look(repository, build_pipeline(tmp_path / "bundle"), pictures, frames=50, workers=2)
    assert said["found"] == 100


@pytest.mark.parametrize("number", [1, 4])
def test_the_largest_pictures_fit(repository: Path, large_png: Path, tmp_path: Path, number: int) -> None:
    """The limits of decoding promise room for two models in 512 MB."""
    bundle = build_pipeline(tmp_path / "bundle")
    with memory_group(LIMIT_BYTES) as group:
        done = _run(repository, _LOOK_SIDE_BY_SIDE, group, str(bundle), str(large_png), str(number))
        print(f"{group.peak_bytes() >> 20} of {LIMIT_BYTES >> 20} MB at most")
    assert done.returncode == 0, f"exit {done.returncode}: {done.stderr[-2000:]}"


@pytest.mark.data
def test_detector_and_reader_fit(
    repository: Path, counter: Path, shelves: Path, record_property: Callable[[str, object], None]
) -> None:
    said, peak = _look(repository, counter, shelves, frames=3 * NUM_PHOTOS, workers=4)
    record_property("group_peak_bytes", peak)
    assert said["found"] >= 3 * NUM_PHOTOS
    assert peak < 0.9 * LIMIT_BYTES


@pytest.mark.data
@pytest.mark.slow
def test_a_thousand_frames_fit(
    repository: Path, counter: Path, shelves: Path, record_property: Callable[[str, object], None]
) -> None:
    said, peak = _look(repository, counter, shelves, frames=1000, workers=2)
    record_property("group_peak_bytes", peak)
    record_property("rss_peak_bytes", said["rss_peak_bytes"])
    assert (said["frames"], said["found"] >= 1000) == (1000, True)
    assert peak < 0.9 * LIMIT_BYTES


def _look(repository: Path, bundle: Path, pictures: Path, *, frames: int, workers: int) -> tuple[dict[str, int], int]:
    """What the child said, and the greatest memory of its group in bytes.

    The kernel charges a library's pages to the group that touched them first, which may be another one; the resident
    memory counts them all, so that must fit as well.
    """
    with memory_group(LIMIT_BYTES) as group:
        done = _run(repository, _LOOK, group, str(bundle), str(pictures), str(frames), str(workers))
        peak = group.peak_bytes()
    assert done.returncode == 0, f"exit {done.returncode}: {done.stderr[-2000:]}"
    said = json.loads(done.stdout)
    print(f"{said}, {peak >> 20} of {LIMIT_BYTES >> 20} MB at most")
    assert max(peak, said["rss_peak_bytes"]) < LIMIT_BYTES
    return said, peak


def _run(repository: Path, program: str, group: MemoryGroup, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program, str(group.procs), *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, cwd=repository, timeout=900)


def _skip_with_swap() -> None:
    if len(Path("/proc/swaps").read_text(encoding="ascii").splitlines()) > 1:
        pytest.skip("faults: swap takes what the limit refuses")
