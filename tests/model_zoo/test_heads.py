"""Heads on every backbone that the zoo uses: shapes, what training sees, and what the device gets."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from edge.bundle.gallery import make_gallery
from edge.bundle.manifest import CropPolicy, MatchSpec, OutputKind, OutputSpec, PreprocessSpec, TextSpec
from edge.errors import UsageError
from edge.postprocess.classify import attributes
from edge.postprocess.embed import match
from edge.postprocess.text import read_text
from edge.types import RawOutputs
from model_zoo.common.backbone import Backbone
from model_zoo.common.heads import (
    ArcFaceEmbedder,
    CtcReader,
    MultiTaskClassifier,
    build_ctc_reader,
    build_embedder,
    build_multi_task,
)
from model_zoo.common.margin import ArcFaceMargin
from model_zoo.types import ModelDef

BACKBONES = ("mobilenetv2_100", "efficientnet_b0", "efficientnet_b2", "resnet50")
HEADS = {"shape": 4, "type": 3}
SIZE = 64


def _model(architecture: str = "mobilenetv2_050", *, width: int = SIZE, height: int = SIZE) -> ModelDef:
    spec = PreprocessSpec(width=width, height=height, crop=CropPolicy.STRETCH)
    return ModelDef(architecture=architecture, preprocess=spec)


def _pictures(count: int, model: ModelDef) -> torch.Tensor:
    draw = torch.Generator().manual_seed(3)
    return torch.rand(count, 3, model.preprocess.height, model.preprocess.width, generator=draw) * 255


def _opened(network: torch.nn.Module) -> torch.nn.Module:
    """With batch statistics of its own, and no branch closed by a scale of zero, as after a training."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            if module.weight is not None:
                torch.nn.init.uniform_(module.weight, 0.5, 1.0)
    return network.eval()


def _answers(network: torch.nn.Module, model: ModelDef, count: int = 2) -> dict[str, torch.Tensor]:
    with torch.inference_mode():
        answers = network.eval()(_pictures(count, model))
    assert all(answer.dtype == torch.float32 for answer in answers.values())
    return answers


@pytest.mark.parametrize("architecture", BACKBONES)
def test_several_heads_on_one_backbone(architecture: str) -> None:
    model = _model(architecture)
    answers = _answers(build_multi_task(model, HEADS), model)
    assert {name: list(answer.shape) for name, answer in answers.items()} == {"shape": [2, 4], "type": [2, 3]}


@pytest.mark.parametrize("architecture", BACKBONES)
def test_embeddings(architecture: str) -> None:
    model = _model(architecture)
    answers = _answers(build_embedder(model, 48), model)
    assert {name: list(answer.shape) for name, answer in answers.items()} == {"embedding": [2, 48]}


@pytest.mark.parametrize(("width", "height", "num_steps"), [(160, 32, 20), (97, 33, 13)])
@pytest.mark.parametrize("architecture", BACKBONES)
def test_one_step_for_each_eight_pixels_of_a_line(architecture: str, width: int, height: int, num_steps: int) -> None:
    model = _model(architecture, width=width, height=height)
    reader = build_ctc_reader(model, 11)
    assert list(_answers(reader, model)["steps"].shape) == [2, num_steps, 11]


@pytest.mark.parametrize("architecture", BACKBONES)
def test_a_reader_has_no_stages_that_it_does_not_use(architecture: str) -> None:
    model = _model(architecture, width=96, height=32)
    reader = build_ctc_reader(model, 11).train()
    reader(_pictures(2, model))["steps"].square().sum().backward()
    assert [name for name, weight in reader.named_parameters() if weight.grad is None] == []


def test_steps_run_from_left_to_right() -> None:
    model = _model(width=160, height=32)
    reader = _opened(build_ctc_reader(model, 11))
    picture = _pictures(1, model)
    changed = picture.clone()
    changed[..., :8] = 0
    with torch.inference_mode():
        moved = (reader(changed)["steps"] - reader(picture)["steps"]).abs().amax(dim=(0, 2))
    assert moved[0] > 0
    assert moved[-1] == 0


def test_a_reader_tells_above_from_below() -> None:
    model = _model(width=32, height=32)
    reader = _opened(build_ctc_reader(model, 11))
    features = torch.rand(1, reader.collapse[0].in_channels, 4, 4)
    with torch.inference_mode():
        assert not torch.allclose(reader.collapse(features), reader.collapse(features.flip(2)), atol=1e-3)


def test_heads_are_independent_and_named_in_the_weights() -> None:
    network = build_multi_task(_model(), HEADS)
    assert {name for name in network.state_dict() if name.startswith("heads.")} == {
        "heads.shape_head.weight", "heads.shape_head.bias", "heads.type_head.weight", "heads.type_head.bias",
    }  # fmt: skip
    assert "mean" not in network.state_dict()


def test_embedding_dimensions_have_one_scale_after_training() -> None:
    torch.manual_seed(0)
    model = _model()
    embedder = build_embedder(model, 16).train()
    embeddings = embedder(_pictures(24, model))["embedding"]
    assert embeddings.mean(dim=0).abs().max() < 1e-4
    assert (embeddings.std(dim=0, correction=0) - 1).abs().max() < 0.05


def test_weights_come_from_torchs_seed() -> None:
    for build in (
        lambda: build_multi_task(_model(), HEADS),
        lambda: build_embedder(_model(), 8),
        lambda: build_ctc_reader(_model(), 5),
    ):
        torch.manual_seed(4)
        one = build().state_dict()
        torch.manual_seed(4)
        same = build().state_dict()
        assert all(torch.equal(one[name], same[name]) for name in one)


def test_the_margin_is_the_papers() -> None:
    margin = ArcFaceMargin(2, 3, margin=0.3, scale=10.0)
    angles = torch.tensor([0.0, 2.0, 4.0])
    margin.centres.data = torch.stack([angles.cos(), angles.sin()], dim=1) * 7
    embedding = torch.tensor([[math.cos(0.5), math.sin(0.5)]]) * 3
    logits = margin(embedding, torch.tensor([0]))
    expected = [10 * math.cos(0.5 + 0.3), 10 * math.cos(1.5), 10 * math.cos(3.5)]
    assert logits[0].tolist() == pytest.approx(expected, abs=1e-5)
    assert margin.cosines(embedding)[0].tolist() == pytest.approx([math.cos(0.5), math.cos(1.5), math.cos(3.5)])


def test_a_worse_angle_never_costs_less() -> None:
    margin = ArcFaceMargin(2, 2, margin=0.5, scale=1.0)
    margin.centres.data = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    angles = torch.linspace(0, math.pi, 400)
    embeddings = torch.stack([angles.cos(), angles.sin()], dim=1)
    logits = margin(embeddings, torch.zeros(400, dtype=torch.long))[:, 0]
    assert bool((logits.diff() <= 1e-5).all())


@pytest.mark.parametrize("angle", [0.0, math.pi])
def test_gradients_are_finite_on_the_centre_and_opposite_to_it(angle: float) -> None:
    margin = ArcFaceMargin(2, 2)
    margin.centres.data = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    embedding = torch.tensor([[math.cos(angle), 0.0]], requires_grad=True)
    torch.nn.functional.cross_entropy(margin(embedding, torch.tensor([0])), torch.tensor([0])).backward()
    assert bool(torch.isfinite(embedding.grad).all())
    assert bool(torch.isfinite(margin.centres.grad).all())


def test_embeddings_learn_under_the_margin() -> None:
    """Noisy pictures of four colours: after a few steps each is nearest to the centre of its own."""
    torch.manual_seed(1)
    colours = torch.tensor([[100.0, 100, 100], [130, 100, 100], [100, 130, 100], [100, 100, 130]])
    targets = torch.arange(4).repeat(8)
    layers = [torch.nn.Conv2d(3, 16, 3, stride=2), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()]
    backbone = Backbone(network=torch.nn.Sequential(*layers), num_features=16)
    embedder = ArcFaceEmbedder(backbone, 8, mean=_model().mean, std=_model().std)
    margin = ArcFaceMargin(8, 4, scale=16.0)
    optimizer = torch.optim.AdamW([*embedder.parameters(), *margin.parameters()], lr=0.03)
    losses = []
    for _ in range(60):
        pictures = colours[targets][:, :, None, None] + 20 * torch.randn(32, 3, 32, 32)
        embeddings = embedder(pictures)["embedding"]
        loss = torch.nn.functional.cross_entropy(margin(embeddings, targets), targets)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0] / 4
    assert margin.cosines(embeddings).argmax(dim=1).tolist() == targets.tolist()


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: build_multi_task(_model(), {}), "needs at least one head"),
        (lambda: build_multi_task(_model(), {"colour": 1}), "classes of head 'colour' must be at least 2, found 1"),
        (lambda: build_multi_task(_model(), {"image": 3}), "head 'image' cannot be the name of an output"),
        (lambda: build_multi_task(_model(), {"two words": 3}), "head 'two words' cannot be the name"),
        (lambda: build_multi_task(_model(), {"a.b": 3}), "head 'a.b' cannot be the name"),
        (lambda: build_multi_task(_model("nonsense"), HEADS), "'nonsense' is not a network that timm knows"),
        (lambda: build_embedder(_model(), 1), "dimension must be at least 2, found 1"),
        (lambda: build_embedder(_model("nonsense"), 8), "'nonsense' is not a network that timm knows"),
        (lambda: build_embedder(_model("mobilenetv2_035"), 8, pretrained=True), "timm has no weights for"),
        (lambda: build_ctc_reader(_model(), 1), "classes must be at least 2, found 1"),
        (lambda: build_ctc_reader(_model("vit_tiny_patch16_224"), 5), "has no stage at stride 8"),
        (lambda: ArcFaceMargin(1, 4), "at least 2 dimensions and 2 classes, found 1 and 4"),
        (lambda: ArcFaceMargin(8, 1), "at least 2 dimensions and 2 classes, found 8 and 1"),
        (lambda: ArcFaceMargin(8, 4, margin=2.0), "margin must be at least 0 and below pi / 2"),
        (lambda: ArcFaceMargin(8, 4, margin=-0.1), "margin must be at least 0"),
        (lambda: ArcFaceMargin(8, 4, scale=0.0), "scale must be above 0, found 0.0"),
        (lambda: ArcFaceMargin(8, 4, scale=math.nan), "scale must be above 0, found nan"),
    ],
)
def test_bad_input(make: Callable[[], object], line: str) -> None:
    with pytest.raises(UsageError) as refused:
        make()
    assert line in refused.value.message
    assert "\n" not in str(refused.value)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """A network, what torch says, and what the device's runtime says about the same picture.

    Attributes:
        expected: By output, from torch.
        found: By output, from the TFLite backend.
        num_operations: Of the TFLite graph.
        kinds: Their names.
    """

    expected: dict[str, np.ndarray]
    found: RawOutputs
    num_operations: int
    kinds: frozenset[str]


def _deploy(network: MultiTaskClassifier | ArcFaceEmbedder | CtcReader, folder: Path, model: ModelDef) -> Deployed:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    from converters.export import export_network
    from converters.tflite import to_tflite
    from edge.backends.tflite import TfliteBackend

    torch.manual_seed(5)
    _opened(network)
    exported = export_network(network, height=model.preprocess.height, width=model.preprocess.width)
    assert exported.normalisation_folded
    # Neither backbone nor head leaves a batch normalisation of its own on the device.
    assert exported.num_folded == sum(isinstance(part, torch.nn.BatchNorm2d) for part in network.modules())
    path = folder / "model.tflite"
    path.write_bytes(to_tflite(exported))
    picture = _pictures(1, model)
    with torch.inference_mode():
        expected = {name: answer.numpy() for name, answer in network(picture).items()}
    found = TfliteBackend(path).run(picture.permute(0, 2, 3, 1).contiguous().numpy())
    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    operations = Interpreter(model_path=str(path), experimental_op_resolver_type=resolver)._get_ops_details()
    kinds = frozenset(operation["op_name"] for operation in operations)
    return Deployed(expected=expected, found=found, num_operations=len(operations), kinds=kinds)


def _require_equal(deployed: Deployed) -> None:
    assert deployed.found.by_name.keys() == deployed.expected.keys()
    for name, expected in deployed.expected.items():
        found = deployed.found.by_name[name]
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, atol=1e-4 * max(1.0, float(np.abs(expected).max())))


@pytest.mark.slow
def test_heads_answer_on_the_device_as_in_torch(tmp_path: Path) -> None:
    model = _model()
    deployed = _deploy(build_multi_task(model, HEADS), tmp_path, model)
    _require_equal(deployed)
    labels = {name: tuple(f"{name} {at}" for at in range(count)) for name, count in HEADS.items()}
    specs = [
        OutputSpec(name=name, kind=OutputKind.LOGITS, shape=(count,), labels=labels[name])
        for name, count in HEADS.items()
    ]
    answer = attributes(deployed.found, specs, ())
    best = {head.name: head.classification.top[0].index for head in answer.heads}
    assert best == {name: int(expected.argmax()) for name, expected in deployed.expected.items()}


@pytest.mark.slow
def test_embeddings_match_on_the_device_as_in_torch(tmp_path: Path) -> None:
    model = _model()
    deployed = _deploy(build_embedder(model, 32), tmp_path, model)
    _require_equal(deployed)
    assert "DIV" not in deployed.kinds
    own = deployed.expected["embedding"][0]
    gallery = make_gallery(["this", "other"], [0, 1], np.stack([own, np.roll(own, 5)]))
    spec = OutputSpec(name="embedding", kind=OutputKind.EMBEDDING, shape=(32,))
    answer = match(deployed.found, spec, MatchSpec(gallery=("gallery.bin",)), gallery)
    assert answer.known
    assert answer.top[0].label == "this"
    assert answer.top[0].similarity == pytest.approx(1.0, abs=1e-5)


@pytest.mark.slow
def test_text_is_read_on_the_device_as_in_torch(tmp_path: Path) -> None:
    model = _model(width=96, height=32)
    deployed = _deploy(build_ctc_reader(model, 11), tmp_path, model)
    _require_equal(deployed)
    assert deployed.found.by_name["steps"].shape == (1, 12, 11)
    assert not any(kind.startswith(("TRANSPOSE", "WHILE", "UNIDIRECTIONAL")) for kind in deployed.kinds)
    spec = OutputSpec(name="steps", kind=OutputKind.STEPS, shape=(12, 11))
    text = TextSpec(charset="0123456789")
    expected = RawOutputs(by_name={"steps": deployed.expected["steps"]})
    assert read_text(deployed.found, spec, text, None).text == read_text(expected, spec, text, None).text
