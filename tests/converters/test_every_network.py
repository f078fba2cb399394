"""Every network of the zoo in every format, under the one contract: with seeded weights agreement is all one can ask.

Accuracy is measured by `python -m benchmarks.conversion` on trained ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters import recipes
from converters.cache import ConversionCache
from converters.examples import LabelledPicture, Picture, TrueBox
from converters.fit import check_job
from converters.job import ConversionJob
from converters.parity import one_thread
from converters.progress import Steps
from converters.workshop import Workshop
from edge.bundle.manifest import (
    ArtifactFormat,
    DecisionPolicy,
    Decoder,
    DetectSpec,
    KeepPolicy,
    MatchSpec,
    OutputKind,
    OutputSpec,
    PreprocessSpec,
    Provenance,
    QualityLimits,
    Task,
    TextSpec,
)
from edge.types import Box
from model_zoo.types import ModelDef

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

LABELS = ("a", "b", "c", "d")
NUM_PICTURES = 10
ANYTHING = QualityLimits(max_drop_points=100, max_drop_upper_points=100)
NOBODY = Provenance(run="", snapshot="", train_recipe="", seed=0, weights="", producer="test")
# Least decibels and least cosine of the worst output. Seeded networks have no margin to spare: int8 takes most of their
# signal (the more, the deeper and the more swishes), trained ones keep some ten decibels more.
FLOORS = {
    recipes.FLOAT32: (80, 0.9999),
    recipes.FLOAT16: (20, 0.99),
    recipes.WEIGHT_INT8: (-2, 0.6),
    recipes.STATIC_INT8: (-2, 0.4),
    recipes.ONNX_FLOAT16: (15, 0.98),
    recipes.ONNX_INT8: (-2, 0.4),
}
# Of a large model's weights; small heads and graphs add their own.
MOST_BYTES = {recipes.FLOAT16: 0.6, recipes.WEIGHT_INT8: 0.4, recipes.STATIC_INT8: 0.4, recipes.ONNX_INT8: 0.42}

CLASSIFIERS = ("mobilenetv2_100", "efficientnet_b0", "efficientnet_b2", "resnet50")
HEADS = ("attributes", "embedding", "text")
DETECTORS = ("yolov8n", "yolo11n", "yolo26n")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Picture]:
    """Smooth coloured noise: enough for every layer to have something to say."""
    from PIL import Image

    rng, folder, made = np.random.default_rng(5), tmp_path_factory.mktemp("noise"), []
    for number in range(NUM_PICTURES):
        path = folder / f"{number}.png"
        small = Image.fromarray(rng.integers(0, 256, size=(12, 12, 3), dtype=np.uint8))
        small.resize((128, 96), Image.Resampling.BICUBIC).save(path)
        made.append(Picture(digest=hashlib.sha256(path.read_bytes()).hexdigest(), path=path))
    return made


def settled(network: Any, spec: PreprocessSpec, pictures: list[Picture]) -> Any:
    """Batch statistics from the pictures; branches that training would have opened are opened."""
    import torch

    from converters.answers import see
    from model_zoo.common.statistics import settle_statistics

    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d) and module.affine and not bool(module.weight.any()):
            torch.nn.init.uniform_(module.weight, 0.2, 0.6)
    pixels = np.stack([one.pixels for one in see([picture.path for picture in pictures], spec)])
    settle_statistics(network, torch.from_numpy(pixels).permute(0, 3, 1, 2).float())
    return network.eval()


def job_of(network: Any, spec: PreprocessSpec, pictures: list[Picture], **fields: Any) -> ConversionJob:
    judged = [
        LabelledPicture(
            digest=picture.digest,
            path=picture.path,
            label=LABELS[number % 4],
            attributes=(("colour", "a"), ("shape", "x")) if fields.get("task") is Task.ATTRIBUTES else (),
            boxes=(TrueBox(index=number % 4, box=Box(left=8, top=8, right=60, bottom=60)),),
        )
        for number, picture in enumerate(pictures)
    ]
    return ConversionJob(
        network=settled(network, spec, pictures),
        name="zoo",
        version=1,
        labels=LABELS,
        preprocess=spec,
        calibration=tuple(pictures),
        validation=tuple(judged),
        limits=ANYTHING,
        decision=DecisionPolicy(),
        keep=KeepPolicy(),
        provenance=NOBODY,
        out=Path("never"),
        **fields,
    )


def classifier(name: str, pictures: list[Picture]) -> ConversionJob:
    import torch

    from model_zoo.common.heads import build_classifier

    torch.manual_seed(3)
    spec = PreprocessSpec(width=96, height=96)
    return job_of(build_classifier(ModelDef(architecture=name, preprocess=spec), len(LABELS)), spec, pictures)


def with_head(name: str, pictures: list[Picture]) -> ConversionJob:
    import torch

    from model_zoo.common import heads

    torch.manual_seed(3)
    spec = PreprocessSpec(width=96, height=32 if name == "text" else 96)
    model = ModelDef(architecture="mobilenetv2_100", preprocess=spec)
    if name == "attributes":
        outputs = (
            OutputSpec(name="colour", kind=OutputKind.LOGITS, shape=(1, 4)),
            OutputSpec(name="shape", kind=OutputKind.LOGITS, shape=(1, 2), labels=("x", "y")),
        )
        network = heads.build_multi_task(model, {"colour": 4, "shape": 2})
        return job_of(network, spec, pictures, task=Task.ATTRIBUTES, outputs=outputs)
    if name == "embedding":
        outputs = (OutputSpec(name="embedding", kind=OutputKind.EMBEDDING, shape=(1, 64)),)
        references = tuple(
            LabelledPicture(digest=one.digest, path=one.path, label=LABELS[number % 4])
            for number, one in enumerate(pictures)
        )
        match = MatchSpec(gallery=("gallery-0.bin",), threshold=0.0)
        network = heads.build_embedder(model, 64)
        return job_of(network, spec, pictures, task=Task.MATCH, outputs=outputs, match=match, references=references)
    outputs = (OutputSpec(name="steps", kind=OutputKind.STEPS, shape=(1, 12, 5)),)
    text = TextSpec(charset="".join(LABELS), blank=0)
    return job_of(heads.build_ctc_reader(model, 5), spec, pictures, task=Task.TEXT, outputs=outputs, text=text)


def detector(name: str, pictures: list[Picture]) -> ConversionJob:
    pytest.importorskip("ultralytics", reason="the extra `detect` is not installed")
    from model_zoo.common.yolo import build_yolo

    spec = PreprocessSpec(width=128, height=128)
    places = sum((128 // stride) ** 2 for stride in (8, 16, 32))
    outputs = (
        OutputSpec(name="boxes", kind=OutputKind.BOXES, shape=(1, places, 4)),
        OutputSpec(name="scores", kind=OutputKind.SCORES, shape=(1, places, 4)),
    )
    detect = DetectSpec(decoder=Decoder.YOLO, score_threshold=0.01)
    network = build_yolo(name, len(LABELS), 3, size=128)
    return job_of(network, spec, pictures, task=Task.DETECT, outputs=outputs, detect=detect)


ROWS: dict[str, Callable[[str, list[Picture]], ConversionJob]] = {
    **dict.fromkeys(CLASSIFIERS, classifier),
    **dict.fromkeys(HEADS, with_head),
    **dict.fromkeys(DETECTORS, detector),
}


@pytest.fixture(scope="module", params=list(ROWS))
def shop(
    request: pytest.FixtureRequest, pictures: list[Picture], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workshop]:
    from converters.references import embed_references

    job = ROWS[request.param](request.param, pictures)
    check_job(job)
    with one_thread():
        made = Workshop(job, tmp_path_factory.mktemp("models"), ConversionCache(), Steps())
        if job.references:
            made.files["gallery-0.bin"] = embed_references(made)
        yield made


def test_both_float_files_answer_as_torch_does(shop: Workshop) -> None:
    for form in ArtifactFormat:
        parity = shop.parity(form)
        assert min(error.sqnr_db for error in parity.errors) > 80
        assert parity.agreement > 0.99


@pytest.mark.parametrize("recipe", list(FLOORS), ids=lambda recipe: recipe.name)
def test_every_format_keeps_the_contract_and_the_answers(shop: Workshop, recipe: Any) -> None:
    trial = shop.trial(recipe)
    assert len(trial.answers) == NUM_PICTURES
    assert {error.output for error in trial.proof.errors} == {output.name for output in shop.job.stage_outputs}
    decibels, cosine = FLOORS[recipe]
    assert min(error.sqnr_db for error in trial.proof.errors) > decibels
    assert min(error.cosine for error in trial.proof.errors) > cosine
    whole = len(shop.float_model(recipe.format))
    assert trial.artifact.size_bytes <= MOST_BYTES.get(recipe, 1.0) * whole + 40_000


def test_decoding_stays_float_in_int8(shop: Workshop) -> None:
    """Boxes of an int8 detector are right to a pixel or two, whatever the scores: one scale for both would lose one."""
    if shop.job.task is not Task.DETECT:
        pytest.skip("no detector")
    errors = {error.output: error for error in shop.trial(recipes.STATIC_INT8).proof.errors}
    assert errors["boxes"].sqnr_db > 20
    assert errors["boxes"].mean_abs < 4
