"""JPEG bytes of 1080p → boxes: our static-int8 detector of 640 pixels against its floor and against ultralytics' float.

python -m benchmarks.detect_path [--rounds 8] [--frames 8]

The network is a YOLO11n with random weights: timing only. Floor: decode, letterbox and a bare interpreter call of the
same file. ultralytics runs the same network in its float forms, one thread each; its `.pt` is run on 640x384, for only
there it may cut the grey border off. How many boxes each found stands beside the times, for it is what an NMS costs.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import click

from benchmarks.blocks import Series, interleave, ratio
from benchmarks.cast import EDGE, FLOOR, Program, start_all
from benchmarks.peers import ULTRALYTICS
from benchmarks.photos import FULL_HD, plain_photo
from benchmarks.places import with_places
from benchmarks.table import Row, show

LIMIT_OVER_FLOOR = 1.10
LEAST_LEAD = 1.5
TITLE = "JPEG bytes of 1080p to boxes, YOLO11n 640 (random weights), one thread"
FLOATS = ("tflite", "onnx", "pt")


def programs(models: Path) -> list[Program]:
    """Ours, the floor, and ultralytics with each of its float files."""
    model = models / "yolo11n_640_int8.tflite"
    return [
        Program(name=EDGE, module="benchmarks.workers.detect_edge", arguments=(models / "detector",)),
        Program(name=FLOOR, module="benchmarks.workers.detect_floor", arguments=(model,)),
        *(
            Program(
                name=f"{ULTRALYTICS} float {kind}",
                module="benchmarks.peer.ultralytics_predict",
                arguments=(models / f"yolo11n_float.{kind}", "detect", "640", "1"),
                peer=ULTRALYTICS,
            )
            for kind in FLOATS
        ),
    ]


def measure(models: Path, data: Path, *, rounds: int, frames: int) -> list[Row]:
    """All rows."""
    photo = plain_photo(data, models, FULL_HD)
    cast = programs(models)
    with ExitStack() as stack:
        workers, absent = start_all(stack, cast, photo)
        found = interleave(workers, photo, rounds=rounds, frames=frames)
    rows = [_floor_row(found[EDGE], found[FLOOR])]
    for program in cast[2:]:
        if program.name in absent:
            rows.append(Row(what=program.name, figures="", note=absent[program.name]))
        else:
            rows.append(_peer_row(found[EDGE], found[program.name]))
    return rows


def _floor_row(ours: Series, floor: Series) -> Row:
    over = ratio(ours, floor)
    return Row(
        what="floor",
        figures=f"{ours.median_ms:.1f} ({ours.blocks[-1].said} boxes) against {floor.median_ms:.1f} ms: {over}",
        target=f"≤ {LIMIT_OVER_FLOOR:.2f} times",
        met=over.value <= LIMIT_OVER_FLOOR,
    )


def _peer_row(ours: Series, peer: Series) -> Row:
    lead = ratio(peer, ours)
    return Row(
        what=peer.name,
        figures=f"{peer.median_ms:.1f} ms ({peer.blocks[-1].said} boxes): {lead} times as long",
        target=f"≥ {LEAST_LEAD} times",
        met=lead.value >= LEAST_LEAD,
    )


@click.command()
@with_places
@click.option("--rounds", default=8, show_default=True, help="Blocks of each program.")
@click.option("--frames", default=8, show_default=True, help="Frames in a block.")
def main(models: Path, data: Path, rounds: int, frames: int) -> None:
    """Prints the table."""
    show(TITLE, measure(models, data, rounds=rounds, frames=frames))


if __name__ == "__main__":
    main()
