"""Measured program: 60 crops of one decoded picture embedded and matched by the pipeline's own reading of crops.

python -m benchmarks.workers.crops_edge BUNDLE WORKERS
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path

from benchmarks.photos import crop_boxes
from benchmarks.worker import serve
from edge.backends.base import RuntimeOptions
from edge.bundle.reader import open_bundle
from edge.image.picture import Picture, open_picture
from edge.loading import LoadedModels, StageChoice
from edge.pipeline import read_crops
from edge.types import Box, Detection, Geometry

NUM_CROPS = 60


@functools.cache
def opened(data: bytes) -> Picture:
    """A picture that is decoded once; its decoding is no part of the figure."""
    return open_picture(data)


def detections(size: tuple[int, int]) -> list[Detection]:
    """60 boxes as a detector would find them."""
    boxes = [Box(left=x0, top=y0, right=x1, bottom=y1) for x0, y0, x1, y1 in crop_boxes(size, NUM_CROPS)]
    return [Detection(box=box, label="thing", index=0, score=0.9) for box in boxes]


def main(bundle_folder: Path, workers: int) -> None:
    """Answers with the best SKU of the first crops."""
    bundle = open_bundle(bundle_folder)
    choices = tuple(
        StageChoice(artifact=stage.artifacts[0], options=RuntimeOptions(threads=1), workers=workers)
        for stage in bundle.manifest.stages
    )
    reader = LoadedModels(bundle, choices).stages()[-1]

    def answer(_: Path, data: bytes) -> str:
        picture = opened(data)
        width, height = picture.size
        geometry = Geometry(
            picture_width=width, picture_height=height, scale_x=1.0, scale_y=1.0, offset_x=0.0, offset_y=0.0
        )
        found = read_crops(reader, picture, detections(picture.size), geometry)
        return ",".join(matches.top[0].label.split()[-1] for matches in found[:8])

    serve(answer)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
