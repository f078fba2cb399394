"""Trains the blood-cell detector that the detector tables are made with: YOLO11n at 320 pixels, from random weights.

python -m benchmarks.train_detector --data ../shared/data --out work/networks/yolo11n-blood-cells [--epochs N]

The data set's own lists say what is trained on (`train`), what chooses the pass (`val`), and what nobody looks at
(`test`). The same command resumes. `train.log` in the folder of the run has a line a pass.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from converters.foreign.truth import KnownPicture, read_boxes
from edge.bundle.manifest import CropPolicy, PreprocessSpec
from edge.errors import UsageError

if TYPE_CHECKING:
    from cloud_train.training.detect_data import DetectRecipe
    from model_zoo.common.yolo_run import YoloRun

CLASSES = ("RBC", "WBC", "Platelets")
SPEC = PreprocessSpec(width=320, height=320, crop=CropPolicy.LETTERBOX)
_log = logging.getLogger("train_detector")


def read_split(data: Path, split: str) -> tuple[KnownPicture, ...]:
    """The blood-cell pictures of one of the data set's lists.

    Args:
        data: Folder of the data sets.
        split: `train`, `val` or `test`.

    Raises:
        UsageError: The data set is not there.
    """
    root = data / "blood_cells" / "BCCD"
    names = root / "ImageSets" / "Main" / f"{split}.txt"
    if not names.is_file():
        raise UsageError(f"no file {names}", hint="name the folder of the data sets with --data")
    listed = set(names.read_text(encoding="utf-8").split())
    return tuple(picture for picture in read_boxes(root, CLASSES) if picture.path.stem in listed)


def recipe(epochs: int) -> DetectRecipe:
    """Cells look the same from every side, and their size says what they are: mirrored both ways, zoomed little.

    Made for a CPU that others use too: one thread, more than half of the passes on small pictures.
    """
    from cloud_train.training.detect_data import DetectRecipe

    return DetectRecipe(
        name="yolo11n-blood-cells",
        architecture="yolo11n",
        preprocess=SPEC,
        epochs=epochs,
        patience=epochs,
        small_epochs=epochs * 7 // 12,
        plain_epochs=epochs // 6,
        epochs_per_check=4,
        batch_size=8,
        learning_rate=1.5e-3,
        flip_upright=0.5,
        scale=0.3,
    )


def train(data: Path, out: Path, epochs: int) -> YoloRun:
    """Trains, or goes on with it.

    Raises:
        UsageError: The data set is not there, or the folder holds another run.
        MissingExtraError: ultralytics is not installed.
    """
    from cloud_train.training.detect import train_detector

    started = time.monotonic()

    def report(run: YoloRun) -> None:
        _log.info(
            "%.0f s: pass %d of %d, best is pass %d with %.2f mAP50 on val",
            time.monotonic() - started,
            run.epochs,
            epochs,
            run.best_epoch + 1,
            run.val_map50,
        )

    return train_detector(
        read_split(data, "train"), read_split(data, "val"), CLASSES, recipe(epochs), out, on_epoch=report
    )


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=Path("../shared/data"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("work/networks/yolo11n-blood-cells"))
@click.option("--epochs", type=click.IntRange(min=1), default=48, show_default=True)
def main(data: Path, out: Path, epochs: int) -> None:
    """Trains the blood-cell detector."""
    out.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", handlers=[logging.FileHandler(out / "train.log")]
    )
    try:
        run = train(data, out, epochs)
    except Exception:
        _log.exception("stopped")
        raise
    print(f"{out}: {run.val_map50} mAP50 on val, pass {run.best_epoch + 1} of {run.epochs}")


if __name__ == "__main__":
    main()
