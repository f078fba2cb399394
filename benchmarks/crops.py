"""60 crops of a 1080p photo embedded and matched against 1,000 SKUs on two cores.

python -m benchmarks.crops [--rounds 8] [--frames 3]

Floor: the same preparation code and one interpreter of one thread, batch 1, in one loop. The gallery is random, of the
real size: 1,000 vectors of 1,280 numbers.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import click

from benchmarks.blocks import Series, interleave, ratio
from benchmarks.bundles import EMBEDDER_FILE
from benchmarks.cast import EDGE, FLOOR, Program, start_all
from benchmarks.photos import FULL_HD, wall_photo
from benchmarks.places import with_places
from benchmarks.table import Row, show

NUM_CROPS = 60
LEAST_RATE = 1.8
MOST_PREPARATION = 0.5
TITLE = "60 crops embedded (MobileNetV2 224 static int8) and matched against 1,000 SKUs, two workers"


def programs(models: Path) -> list[Program]:
    """Ours, the floor, and the floor's two halves."""
    model = models / EMBEDDER_FILE
    floor = "benchmarks.workers.crops_floor"
    return [
        Program(name=EDGE, module="benchmarks.workers.crops_edge", arguments=(models / "counter", "2")),
        Program(name=FLOOR, module=floor, arguments=(model, "all")),
        Program(name="preparation", module=floor, arguments=(model, "prepare")),
        Program(name="model", module=floor, arguments=(model, "model")),
    ]


def measure(models: Path, data: Path, *, rounds: int, frames: int) -> list[Row]:
    """Both rows."""
    photo = wall_photo(data, models, FULL_HD)
    with ExitStack() as stack:
        workers, _ = start_all(stack, programs(models), photo)
        found = interleave(workers, photo, rounds=rounds, frames=frames)
    return [_rate_row(found[EDGE], found[FLOOR]), _share_row(found["preparation"], found["model"])]


def _rate_row(ours: Series, floor: Series) -> Row:
    gain = ratio(floor, ours)
    same = ours.blocks[-1].said == floor.blocks[-1].said
    rates = [NUM_CROPS * 1000 / series.median_ms for series in (ours, floor)]
    return Row(
        what="rate against the floor",
        figures=f"{rates[0]:.0f} against {rates[1]:.0f} crops a second: {gain}",
        target=f"≥ {LEAST_RATE} times",
        met=same and gain.value >= LEAST_RATE,
        note="" if same else "the answers differ",
    )


def _share_row(preparation: Series, model: Series) -> Row:
    share = ratio(preparation, model)
    each = [series.median_ms / NUM_CROPS for series in (preparation, model)]
    return Row(
        what="preparation against the model's time",
        figures=f"{each[0]:.2f} against {each[1]:.2f} ms a crop: {share}",
        target=f"≤ {MOST_PREPARATION}",
        met=share.value <= MOST_PREPARATION,
    )


@click.command()
@with_places
@click.option("--rounds", default=8, show_default=True, help="Blocks of each program.")
@click.option("--frames", default=3, show_default=True, help="Times 60 crops in a block.")
def main(models: Path, data: Path, rounds: int, frames: int) -> None:
    """Prints the table."""
    show(TITLE, measure(models, data, rounds=rounds, frames=frames))


if __name__ == "__main__":
    main()
