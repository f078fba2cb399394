"""JPEG bytes → decision: a static-int8 classifier of 224 pixels against its floor and against peers on the same file.

python -m benchmarks.frame_path [--rounds 10] [--frames 20]

Floor: Pillow `draft`, resize and a bare interpreter call, one thread. Peers get the path, as their users call them.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import click

from benchmarks.blocks import Series, interleave, ratio
from benchmarks.cast import EDGE, FLOOR, Program, start_all
from benchmarks.peers import MEDIAPIPE, ULTRALYTICS
from benchmarks.photos import EIGHT_MEGAPIXELS, FULL_HD, plain_photo, wall_photo
from benchmarks.places import with_places
from benchmarks.table import Row, show

LIMIT_OVER_FLOOR = 1.10
LEAST_LEAD = {(ULTRALYTICS, FULL_HD): 2.2, (MEDIAPIPE, FULL_HD): 1.8} | {
    (ULTRALYTICS, EIGHT_MEGAPIXELS): 3.3,
    (MEDIAPIPE, EIGHT_MEGAPIXELS): 3.0,
}
TITLE = "JPEG bytes to decision, MobileNetV2 224 static int8, one thread"


def programs(models: Path) -> list[Program]:
    """Ours, the floor and both peers, on the same model file."""
    model = models / "mobilenetv2_224_int8.tflite"
    return [
        Program(name=EDGE, module="benchmarks.workers.classify_edge", arguments=(models / "classifier",)),
        Program(name=FLOOR, module="benchmarks.workers.classify_floor", arguments=(model,)),
        Program(
            name=ULTRALYTICS,
            module="benchmarks.peer.ultralytics_predict",
            arguments=(model, "classify", "224", "1"),
            peer=ULTRALYTICS,
        ),
        Program(name=MEDIAPIPE, module="benchmarks.peer.mediapipe_classify", arguments=(model,), peer=MEDIAPIPE),
    ]


def measure(models: Path, data: Path, *, rounds: int, frames: int) -> list[Row]:
    """All rows: two kinds of photo, two sizes, three opponents."""
    rows = []
    with ExitStack() as stack:
        workers, absent = start_all(stack, programs(models), plain_photo(data, models, FULL_HD))
        for size in (FULL_HD, EIGHT_MEGAPIXELS):
            for make in (wall_photo, plain_photo):
                photo = make(data, models, size)
                found = interleave(workers, photo, rounds=rounds, frames=frames)
                rows += _rows(photo, size, found, absent)
    return rows


def _rows(photo: Path, size: tuple[int, int], found: dict[str, Series], absent: dict[str, str]) -> list[Row]:
    what = f"{photo.stem}, {photo.stat().st_size // 1024} KB"
    rows = [_floor_row(what, found[EDGE], found[FLOOR])]
    for peer in (ULTRALYTICS, MEDIAPIPE):
        if peer in absent:
            rows.append(Row(what=f"{what}: {peer}", figures="", note=absent[peer]))
        else:
            rows.append(_peer_row(what, found[EDGE], found[peer], LEAST_LEAD[peer, size]))
    return rows


def _floor_row(what: str, ours: Series, floor: Series) -> Row:
    over = ratio(ours, floor)
    same = ours.blocks[-1].said == floor.blocks[-1].said
    return Row(
        what=f"{what}: floor",
        figures=f"{ours.median_ms:.2f} against {floor.median_ms:.2f} ms: {over}",
        target=f"≤ {LIMIT_OVER_FLOOR:.2f} times",
        met=same and over.value <= LIMIT_OVER_FLOOR,
        note="" if same else "the answers differ",
    )


def _peer_row(what: str, ours: Series, peer: Series, least: float) -> Row:
    lead = ratio(peer, ours)
    return Row(
        what=f"{what}: {peer.name}",
        figures=f"{peer.median_ms:.2f} ms: {lead} times as long",
        target=f"≥ {least} times",
        met=lead.value >= least,
    )


@click.command()
@with_places
@click.option("--rounds", default=10, show_default=True, help="Blocks of each program.")
@click.option("--frames", default=20, show_default=True, help="Frames in a block.")
def main(models: Path, data: Path, rounds: int, frames: int) -> None:
    """Prints the table."""
    show(TITLE, measure(models, data, rounds=rounds, frames=frames))


if __name__ == "__main__":
    main()
