"""The zoo's registry and the heads of its networks."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from edge.errors import UsageError
from model_zoo.common.heads import SoftmaxClassifier, build_classifier
from model_zoo.registry import APPLICATIONS, FIELD_FRACTIONS, find_application
from model_zoo.types import Application


@pytest.mark.parametrize("name", APPLICATIONS)
def test_every_application_is_whole(name: str) -> None:
    application = find_application(name)
    assert application.name == name
    assert application.recipe.name == name
    assert 0 < FIELD_FRACTIONS[name] < 1
    # What is not recognised must be kept, or nobody would ever say what it is.
    assert application.keep.keep_unknown
    assert application.keep.below_confidence >= application.decision.confirm_confidence
    assert application.keep.below_margin >= application.decision.accept_margin
    assert application.keep.random_fraction > 0


def test_every_application_states_its_field() -> None:
    assert FIELD_FRACTIONS.keys() == APPLICATIONS.keys()


def test_an_unknown_application_is_one_line_that_names_the_others() -> None:
    with pytest.raises(UsageError, match=r"'nonsense' is not an application .*\(there are shelf, transfer\)"):
        find_application("nonsense")


@pytest.mark.parametrize("application", APPLICATIONS.values(), ids=APPLICATIONS.keys())
def test_networks_follow_the_model_contract(application: Application) -> None:
    spec = application.recipe.model.preprocess
    network = build_classifier(application.recipe.model, 5).eval()
    with torch.inference_mode():
        logits = network(torch.full((2, 3, spec.height, spec.width), 128.0))
    assert logits.shape == (2, 5)
    assert logits.dtype == torch.float32
    assert min(spec.width, spec.height) >= 96


def test_normalisation_lies_inside() -> None:
    head = SoftmaxClassifier(torch.nn.Flatten(), mean=(10, 20, 30), std=(2, 4, 5))
    picture = torch.tensor([14.0, 12.0, 40.0]).view(1, 3, 1, 1)
    assert head(picture).tolist() == [[2.0, -2.0, 2.0]]
    assert head.state_dict() == {}


def test_weights_come_from_torchs_seed() -> None:
    model = find_application("shelf").recipe.model
    torch.manual_seed(4)
    one = build_classifier(model, 3).state_dict()
    torch.manual_seed(4)
    same = build_classifier(model, 3).state_dict()
    assert all(torch.equal(one[name], same[name]) for name in one)


def test_an_architecture_that_timm_does_not_know() -> None:
    model = dataclasses.replace(find_application("shelf").recipe.model, architecture="nonsense")
    with pytest.raises(UsageError, match="'nonsense' is not a network that timm knows"):
        build_classifier(model, 3)


def test_an_architecture_without_weights_on_the_hub() -> None:
    model = dataclasses.replace(find_application("shelf").recipe.model, architecture="mobilenetv2_035")
    with pytest.raises(UsageError, match="timm has no weights for mobilenetv2_035") as refused:
        build_classifier(model, 3, pretrained=True)
    assert "--weights" in refused.value.hint
