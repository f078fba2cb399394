"""Resident memory over many frames, of the classifier and of the detector with the embedder behind it.

python -m benchmarks.memory [--frames 100000] [--count-frames 1000]

The pictures go round: 50 real ones, half of them as PNG. Drift is the median of the last tenth of the samples minus
that of the third tenth: the first fifth is warm-up, in which each thread's heap finds its size.
"""

from __future__ import annotations

import statistics
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
from PIL import Image

from benchmarks.blocks import DEVICE_PYTHON
from benchmarks.photos import FULL_HD, plain_photo
from benchmarks.places import with_places
from benchmarks.table import Row, show
from edge.errors import EdgeloopError

NUM_PICTURES = 50
NUM_SAMPLES = 100
LIMIT_MB = 2.0
TITLE = "memory over many frames"


def sampled(bundle: Path, folder: Path, frames: int) -> subprocess.Popen[str]:
    """Starts the program that answers and samples."""
    every = max(1, frames // NUM_SAMPLES)
    module = "benchmarks.workers.many_frames"
    command = [DEVICE_PYTHON, "-m", module, bundle, folder, str(frames), str(every)]
    return subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )


def samples_of(process: subprocess.Popen[str]) -> list[int]:
    """What it said, in bytes.

    Raises:
        EdgeloopError: It failed; says its last words.
    """
    said, words = process.communicate()
    if process.returncode != 0:
        raise EdgeloopError(f"the frames stopped: {(words.strip().splitlines() or ['no word'])[-1]}")
    return [int(line) for line in said.split()]


def drift_mb(samples: Sequence[int]) -> float:
    """Growth from the third tenth to the last, in MB."""
    tenth = max(1, len(samples) // 10)
    return (statistics.median(samples[-tenth:]) - statistics.median(samples[2 * tenth : 3 * tenth])) / 1e6


def write_pictures(data: Path, folder: Path) -> Path:
    """Real grocery pictures, every other one as PNG."""
    folder.mkdir()
    for number, path in enumerate(sorted((data / "grocery" / "val").rglob("*.jpg"))[:NUM_PICTURES]):
        if number % 2:
            Image.open(path).save(folder / f"{number:02d}.png")
        else:
            (folder / f"{number:02d}.jpg").write_bytes(path.read_bytes())
    return folder


def measure(models: Path, data: Path, *, frames: int, count_frames: int) -> list[Row]:
    """Both rows; the two programs run side by side, since nothing is timed."""
    with tempfile.TemporaryDirectory() as scratch:
        pictures = write_pictures(data, Path(scratch) / "small")
        photos = Path(scratch) / "large"
        photos.mkdir()
        photo = plain_photo(data, models, FULL_HD)
        (photos / photo.name).write_bytes(photo.read_bytes())
        counting = sampled(models / "counter", photos, count_frames)
        classifying = sampled(models / "classifier", pictures, frames)
        found = samples_of(classifying), samples_of(counting)
    names = (f"classifier, {frames:,} frames", f"detector and embedder, {count_frames:,} frames of 1080p")
    return [_row(name, samples) for name, samples in zip(names, found, strict=True)]


def _row(name: str, samples: Sequence[int]) -> Row:
    drift = drift_mb(samples)
    return Row(
        what=name,
        figures=f"{samples[0] / 1e6:.1f} MB at first, {samples[-1] / 1e6:.1f} at last, drift {drift:+.2f} MB",
        target=f"≤ {LIMIT_MB:.0f} MB",
        met=drift <= LIMIT_MB,
    )


@click.command()
@with_places
@click.option("--frames", default=100_000, show_default=True, help="Of the classifier.")
@click.option("--count-frames", default=1000, show_default=True, help="Of the detector with the embedder.")
def main(models: Path, data: Path, frames: int, count_frames: int) -> None:
    """Prints the table."""
    show(TITLE, measure(models, data, frames=frames, count_frames=count_frames))


if __name__ == "__main__":
    main()
