from __future__ import annotations

import inspect

import pytest

from edge import errors
from edge.errors import (
    BundleError,
    EdgeloopError,
    MissingExtraError,
    RefusedError,
    RoadError,
    SelfTestError,
    UsageError,
)

ALL = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]


@pytest.mark.parametrize("kind", ALL)
def test_every_error_is_ours_and_ends_in_error(kind: type) -> None:
    assert issubclass(kind, EdgeloopError)
    assert kind.__name__.endswith("Error")
    assert kind.__doc__


def test_message_and_hint_make_one_line() -> None:
    error = EdgeloopError("the file is gone", hint="fetch it again")
    assert str(error) == "the file is gone (fetch it again)"
    assert (error.message, error.hint) == ("the file is gone", "fetch it again")
    assert str(EdgeloopError("alone")) == "alone"


@pytest.mark.parametrize("kind", ALL)
def test_exit_codes(kind: type[EdgeloopError]) -> None:
    assert kind.exit_code == (2 if issubclass(kind, UsageError) else 1)


def test_missing_extra_is_the_exact_install_line() -> None:
    assert str(MissingExtraError("onnxruntime", "onnx")) == (
        'onnxruntime is not installed (pip install "edgeloop[onnx]")'
    )


def test_road_and_refusal_are_two_families() -> None:
    assert not issubclass(RoadError, RefusedError)
    assert not issubclass(RefusedError, RoadError)
    assert RoadError("busy", retry_after_s=3.5).retry_after_s == 3.5
    assert RoadError("cut").retry_after_s is None


def test_failed_self_test_is_a_bundle_error() -> None:
    assert issubclass(SelfTestError, BundleError)
