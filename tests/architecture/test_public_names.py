from __future__ import annotations

import importlib
import tomllib
from pathlib import Path

import pytest

import edge


def test_every_public_name_resolves() -> None:
    for name in edge.__all__:
        assert getattr(edge, name) is not None, name
        assert name in dir(edge)


def test_public_names_live_where_the_tour_says() -> None:
    for name, home in edge._HOMES.items():
        assert getattr(importlib.import_module(home), name) is getattr(edge, name)
    assert {*edge._HOMES, "__version__"} == set(edge.__all__)


def test_no_public_name_hides_a_submodule(repository: Path) -> None:
    submodules = {path.stem for path in (repository / "edge").iterdir()}
    assert not submodules & set(edge.__all__)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'edge' has no attribute 'gone'"):
        edge.gone  # noqa: B018


def test_version_is_the_distributions(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    assert edge.__version__ == project["version"]


def test_package_is_typed(repository: Path) -> None:
    assert (repository / "edge" / "py.typed").is_file()


def test_every_public_function_and_class_has_a_docstring() -> None:
    assert edge.__doc__
    for name in edge._HOMES:
        assert getattr(edge, name).__doc__, name
