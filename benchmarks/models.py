"""Makes what the benchmarks run: a classifier, an embedder, a detector of 640 pixels, and bundles of them.

python -m benchmarks.models [--out work/benchmark-models] [--data ../shared/data] [--again]

The classifier and the embedder share MobileNetV2 with ImageNet weights. The detector is a YOLO11n with random weights,
made by ultralytics in its own environment (python -m benchmarks.peers): it serves timing only and finds nothing.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import torch

from benchmarks.bundles import write_counter, write_detector
from benchmarks.detector import make_detector
from benchmarks.int8 import as_pictures, to_models
from converters.examples import LabelledPicture
from converters.job import ConversionJob
from converters.pipeline import convert
from converters.recipes import STATIC_INT8
from edge.bundle.manifest import DecisionPolicy, KeepPolicy, PreprocessSpec, Provenance, QualityLimits
from edge.errors import EdgeloopError
from model_zoo.common.heads import build_classifier
from model_zoo.types import ModelDef

SPEC = PreprocessSpec(width=224, height=224)
MODEL = ModelDef(architecture="mobilenetv2_100", preprocess=SPEC)
NUM_CALIBRATION = 100


class Embedder(torch.nn.Module):
    """A classifier's pooled features instead of its logits.

    Args:
        classifier: With its normalisation inside.
    """

    def __init__(self, classifier: torch.nn.Module) -> None:
        super().__init__()
        self.classifier = classifier
        classifier.network.classifier = torch.nn.Identity()

    def forward(self, pictures: torch.Tensor) -> dict[str, torch.Tensor]:
        """float32 (N, 3, H, W), 0 to 255, to `embedding` (N, 1280)."""
        return {"embedding": self.classifier(pictures)}


def imagenet_classifier(weights: Path) -> torch.nn.Module:
    """MobileNetV2 with its 1,000 classes."""
    from safetensors.torch import load_file

    network = build_classifier(MODEL, 1000)
    network.network.load_state_dict(load_file(weights))
    return network.eval()


def imagenet_labels(file: Path) -> tuple[str, ...]:
    """The 1,000 names without the background; one that comes twice gets a number."""
    seen: dict[str, int] = {}
    labels = []
    for line in file.read_text().splitlines()[1:]:
        seen[line] = seen.get(line, 0) + 1
        labels.append(line if seen[line] == 1 else f"{line} ({seen[line]})")
    return tuple(labels)


def labelled_samples(folder: Path, labels: tuple[str, ...]) -> tuple[LabelledPicture, ...]:
    """The sample pictures whose class, which is in the file name, is a label's first or only name."""
    first = {label.split(",")[0].replace(" ", "_").lower(): label for label in reversed(labels)}
    samples = []
    for picture in as_pictures(sorted(folder.glob("*.JPEG"))):
        name = picture.path.stem.split("_", 1)[1].lower()
        if name in first:
            samples.append(LabelledPicture(digest=picture.digest, path=picture.path, label=first[name]))
    return tuple(samples)


def calibration_pictures(data: Path, count: int = NUM_CALIBRATION) -> list[Path]:
    """At least so many training pictures of the groceries, evenly over all, and the ImageNet samples."""
    groceries = sorted((data / "grocery" / "train").rglob("*.jpg"))
    samples = sorted((data / "models" / "imagenet_samples").glob("*.JPEG"))
    return [*groceries[:: max(1, len(groceries) // count)], *samples]


def make_classifier(data: Path, out: Path) -> None:
    """Writes `mobilenetv2_224_{int8,fp32}.tflite`, their labels and the bundle `classifier`.

    The proof of 20 pictures says little; it is there because a bundle of ours has one.
    """
    labels = imagenet_labels(data / "models" / "imagenet_labels.txt")
    job = ConversionJob(
        network=imagenet_classifier(data / "weights" / "mobilenetv2_100.safetensors"),
        name="benchmark-classifier",
        version=1,
        labels=labels,
        preprocess=SPEC,
        temperature=1.0,
        calibration=as_pictures(calibration_pictures(data, len(labels))),  # one for each class is the least
        validation=labelled_samples(data / "models" / "imagenet_samples", labels),
        limits=QualityLimits(max_drop_points=10.0, max_drop_upper_points=20.0),
        decision=DecisionPolicy(),
        keep=KeepPolicy(),
        provenance=Provenance(run="", snapshot="", train_recipe="benchmark", seed=0, weights="", producer="benchmark"),
        out=out / "classifier",
        recipes=(STATIC_INT8,),
    )
    bundle = convert(job, progress=False)
    shutil.copy(bundle / "classify.tflite", out / "mobilenetv2_224_int8.tflite")
    shutil.copy(bundle / "classify.onnx", out / "mobilenetv2_224_fp32.onnx")
    (out / "imagenet_labels.txt").write_text("\n".join(labels) + "\n")
    if not (out / "mobilenetv2_224_fp32.tflite").is_file():
        (out / "mobilenetv2_224_fp32.tflite").write_bytes(_float_tflite(job.network))


def _float_tflite(network: torch.nn.Module) -> bytes:
    from converters.export import export_network
    from converters.tflite import to_tflite

    return to_tflite(export_network(network, height=SPEC.height, width=SPEC.width))


def make_embedder(data: Path, out: Path) -> None:
    """Writes `embedder_224_{int8,fp32}.tflite` with the one output `embedding`, float32 (1, 1280)."""
    network = Embedder(imagenet_classifier(data / "weights" / "mobilenetv2_100.safetensors"))
    float_model, int8_model = to_models(network, STATIC_INT8, calibration_pictures(data), SPEC)
    (out / "embedder_224_fp32.tflite").write_bytes(float_model)
    (out / "embedder_224_int8.tflite").write_bytes(int8_model)


def make_bundles(_: Path, out: Path) -> None:
    """Writes the bundles `detector` and `counter`, of models that are there."""
    write_detector(out)
    write_counter(out)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One thing to make.

    Attributes:
        make: Takes the real pictures and the folder to write to.
        last: The file it writes last; where that is, the part is made. Empty to make it every time.
    """

    make: Callable[[Path, Path], None]
    last: str = ""


PARTS = {
    "classifier": Part(make=make_classifier),
    "embedder": Part(make=make_embedder, last="embedder_224_int8.tflite"),
    "detector": Part(make=make_detector, last="yolo11n_640_int8.tflite"),
    "bundles": Part(make=make_bundles),
}


@click.command()
@click.option("--out", default=Path("work/benchmark-models"), type=click.Path(path_type=Path), show_default=True)
@click.option("--data", default=Path("../shared/data"), type=click.Path(path_type=Path), show_default=True)
@click.option("--only", type=click.Choice(list(PARTS)), multiple=True, help="Make these only.")
@click.option("--again", is_flag=True, help="Make also what is there.")
def main(out: Path, data: Path, only: tuple[str, ...], again: bool) -> None:
    """Writes the models into a folder; what cannot be made is said and left out."""
    out.mkdir(parents=True, exist_ok=True)
    for name in only or PARTS:
        part, began = PARTS[name], time.monotonic()
        if part.last and (out / part.last).is_file() and not again:
            continue
        try:
            part.make(data, out)
        except (EdgeloopError, OSError) as error:
            print(f"{name}: not made: {error}")
            continue
        print(f"{name}: {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
