"""The fault checks pass here (see test_device_checks) and notice a runtime that does not do what it must."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from device_tests import faults
from device_tests.faults import fault_checks, refused
from device_tests.hostile import ODD_PICTURES
from device_tests.plan import TINY_BUNDLE, Check, Finding, MismatchError, Plan
from edge.errors import ImageError, UsageError


def run(name: str) -> Finding:
    (check,) = (check for check in fault_checks(Plan()) if check.name == name)
    assert isinstance(check, Check)
    return check.run()


def fail_with(error: Exception) -> None:
    raise error


def test_refused_wants_the_right_error_in_one_line() -> None:
    assert refused(lambda: fail_with(ImageError("x.jpg: empty")), ImageError) == "x.jpg: empty"
    with pytest.raises(MismatchError, match="was taken without an error"):
        refused(lambda: None, ImageError)
    with pytest.raises(MismatchError, match="ended in UsageError, not ImageError: a"):
        refused(lambda: fail_with(UsageError("a")), ImageError)
    with pytest.raises(MismatchError, match="ended in ValueError, not ImageError"):
        refused(lambda: fail_with(ValueError("a")), ImageError)
    with pytest.raises(MismatchError, match="is not one line"):
        refused(lambda: fail_with(ImageError("a\nb")), ImageError)


def test_a_hostile_picture_that_is_answered_fails_the_check() -> None:
    good = next(item for item in ODD_PICTURES if item.answered)
    with pytest.raises(MismatchError, match="was taken without an error"):
        faults._check_picture(replace(good, answered=False))
    bad = next(item for item in ODD_PICTURES if not item.answered)
    with pytest.raises(ImageError):
        faults._check_picture(replace(bad, answered=True))


@pytest.mark.parametrize("picture", [item for item in ODD_PICTURES if not item.answered], ids=lambda item: item.name)
def test_every_error_names_its_picture(picture: faults.OddPicture) -> None:
    assert picture.name in run(f"picture {picture.name}").detail


def test_an_archive_that_is_taken_all_the_same_fails_the_check() -> None:
    with pytest.raises(MismatchError, match="as it is: was taken without an error"):
        faults._refuse_archive(TINY_BUNDLE.read_bytes(), "as it is")


@pytest.mark.parametrize(("runtime", "line"), [("tflite", "edgeloop[tflite]"), ("onnx", "edgeloop[onnx]")])
def test_missing_runtime_names_its_line(runtime: str, line: str) -> None:
    assert f'pip install "{line}"' in run(f"no runtime for {runtime}").detail


@pytest.mark.faults
def test_full_disk_keeps_what_it_took_and_leaves_no_mount() -> None:
    assert "samples kept, then: outbox outbox.sqlite" in run("full disk").detail
    assert "outbox.sqlite" not in Path("/proc/mounts").read_text()
