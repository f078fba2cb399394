"""Two reports side by side: equal to the bit, different within the tolerance, different beyond it."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from device_tests.__main__ import main
from device_tests.compare import both_hold, compare_reports
from device_tests.device import board_name, describe_device
from device_tests.report import FORMAT_VERSION, OutputDigest, Report, parse_report
from edge import jsonvalue
from edge.errors import FormatError, UsageError


def output(values: list[float], *, tolerance: float = 0.0, name: str = "a.png") -> OutputDigest:
    data = np.asarray(values, dtype="<f4").tobytes()
    return OutputDigest(
        bundle="tiny 1",
        artifact="m.tflite",
        artifact_sha256="ab" * 32,
        recipe="static_wi8_ai8",
        tolerance=tolerance,
        input=name,
        output="logits",
        shape=(1, len(values)),
        step=1,
        sha256=hashlib.sha256(data).hexdigest(),
        values=base64.b64encode(data).decode(),
    )


def report(*outputs: OutputDigest) -> Report:
    return Report(
        format_version=FORMAT_VERSION, taken_at="2026-01-01", device=describe_device(), checks=(), outputs=outputs
    )


def test_equal_outputs_are_equal_to_the_last_bit() -> None:
    first = report(output([1, 2, 3]), output([4, 5, 6], name="b.png"))
    (row,) = compare_reports(first, first)
    assert (row.num_outputs, row.num_equal, row.difference) == (2, 2, 0.0)
    assert row.verdict == "equal to the last bit"
    assert both_hold(first, first)


def test_one_bit_is_too_much_for_static_int8() -> None:
    first, second = report(output([1, 2, 3])), report(output([1, 2, float(np.nextafter(np.float32(3), 4))]))
    (row,) = compare_reports(first, second)
    assert row.num_equal == 0
    assert row.verdict.startswith("DIFFERS by up to 1.19e-07 of the range, must be equal")
    assert not both_hold(first, second)


def test_difference_is_measured_against_the_range() -> None:
    first, second = report(output([0, 10], tolerance=1e-3)), report(output([0.005, 10], tolerance=1e-3))
    (row,) = compare_reports(first, second)
    assert row.difference == pytest.approx(5e-4, rel=1e-3)
    assert both_hold(first, second)
    assert not both_hold(first, report(output([0.02, 10], tolerance=1e-3)))


def test_another_shape_never_holds() -> None:
    first, second = report(output([1, 2], tolerance=1)), report(output([1, 2, 3], tolerance=1))
    assert compare_reports(first, second)[0].verdict.startswith("DIFFERS in shape")
    assert not both_hold(first, second)


def test_nothing_in_common_does_not_hold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, item in (("a", output([1])), ("b", replace(output([1]), artifact_sha256="cd" * 32))):
        (tmp_path / f"{name}.json").write_bytes(jsonvalue.pretty_bytes(report(item)))
    assert main(["compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")]) == 1
    assert "no model is in both reports" in capsys.readouterr().out
    assert main(["compare", str(tmp_path / "a.json"), str(tmp_path / "a.json")]) == 0
    assert "equal to the last bit (1 of 1 equal)" in capsys.readouterr().out


def test_reports_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"r\.json: field 'format_version' is missing"):
        parse_report(b"{}", where="r.json")
    newer = jsonvalue.canonical_bytes(replace(report(), format_version=2))
    with pytest.raises(UsageError, match=r"r\.json: report version 2 is not known"):
        parse_report(newer, where="r.json")


def test_board_is_named_by_its_device_tree_or_processor(tmp_path: Path) -> None:
    model, cpuinfo = tmp_path / "model", tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n")
    assert board_name(model, cpuinfo) == "Some CPU @ 2 GHz"
    model.write_bytes(b"Raspberry Pi 4 Model B Rev 1.4\0")
    assert board_name(model, cpuinfo) == "Raspberry Pi 4 Model B Rev 1.4"
    assert board_name(tmp_path / "none", tmp_path / "none")
