from __future__ import annotations

import dataclasses

import pytest

from cloud_train.retrain.plan import Addition, RetrainPlan
from cloud_train.retrain.steps import application_of
from edge import jsonvalue
from edge.errors import FormatError, UsageError
from model_zoo.registry import APPLICATIONS, find_application

PLAN = RetrainPlan(store="/store", name="shelf", version=1, application="shelf", parent="ab" * 32)


def test_a_plan_survives_a_restart() -> None:
    plan = dataclasses.replace(
        PLAN, additions=(Addition(digest="cd" * 32, label="Käse", origin="sample:till-1"),), epochs=3
    )
    assert jsonvalue.from_json(RetrainPlan, jsonvalue.to_json(plan), where="plan") == plan


def test_a_plan_with_a_wrong_field_is_refused_by_its_name() -> None:
    with pytest.raises(FormatError, match=r"plan.*version"):
        jsonvalue.from_json(RetrainPlan, {**jsonvalue.to_json(PLAN), "version": "two"}, where="plan")


@pytest.mark.parametrize("name", sorted(APPLICATIONS))
def test_without_overrides_the_application_is_the_zoos(name: str) -> None:
    assert application_of(dataclasses.replace(PLAN, application=name)) == find_application(name)


def test_epochs_override_the_recipe_and_name_it_anew() -> None:
    zoo = find_application("shelf")
    changed = application_of(dataclasses.replace(PLAN, epochs=3))
    assert changed.recipe.epochs == 3
    assert changed.recipe.name == f"{zoo.recipe.name}-e3"
    same = dataclasses.replace(changed.recipe, name=zoo.recipe.name, epochs=zoo.recipe.epochs)
    assert dataclasses.replace(changed, recipe=same) == zoo


def test_an_unknown_application_names_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"'bogus' is not an application.*shelf, transfer"):
        application_of(dataclasses.replace(PLAN, application="bogus"))
