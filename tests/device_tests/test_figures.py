"""Latency against references, memory against its limit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from device_tests.__main__ import main
from device_tests.child import run_child
from device_tests.device import describe_device
from device_tests.latency import latency_checks, percentile
from device_tests.memory import judge_drift
from device_tests.plan import TINY_INT8_BUNDLE, MismatchError, Plan, SkippedError
from device_tests.reference import FOLDER, Reference, find_reference, read_reference, slower_than
from device_tests.report import LatencyFigure, MemoryFigure, Status
from device_tests.runner import run_check
from edge import jsonvalue

FIGURE = LatencyFigure(
    bundle="tiny 1",
    artifact="m.tflite",
    artifact_sha256="ab" * 32,
    num_frames=10,
    p50_ms=3.0,
    p95_ms=4.0,
    network_p50_ms=1.0,
)
REFERENCE = Reference(
    board="here", emulated=False, measured_at="2026-01-01", python="3.11", libraries={}, figures=(FIGURE,)
)
MEMORY = MemoryFigure(
    bundle="tiny 1",
    artifact="m.tflite",
    num_frames=1000,
    start_bytes=1,
    import_bytes=2,
    open_bytes=3,
    end_bytes=4,
    drift_bytes=2_000_000,
)


@pytest.mark.parametrize(("share", "expected"), [(0.5, 5), (0.95, 10), (0.1, 1), (1.0, 10), (0.91, 10), (0.9, 9)])
def test_percentile_is_the_nearest_rank(share: float, expected: float) -> None:
    assert percentile([10, 9, 8, 7, 6, 5, 4, 3, 2, 1], share) == expected


def test_percentile_of_one_value() -> None:
    assert percentile([7.0], 0.5) == percentile([7.0], 0.95) == 7.0


def test_slower_than_a_reference() -> None:
    assert slower_than(REFERENCE, FIGURE, factor=1.5) == ("1.00x the reference", False)
    assert slower_than(REFERENCE, replace(FIGURE, p50_ms=4.6), factor=1.5) == ("1.53x the reference", True)
    assert slower_than(REFERENCE, replace(FIGURE, artifact_sha256="cd" * 32), factor=1.5) == ("no reference", False)
    assert slower_than(None, FIGURE, factor=1.5) == ("no reference", False)


def test_emulated_figures_are_never_compared(tmp_path: Path) -> None:
    assert slower_than(replace(REFERENCE, emulated=True), FIGURE, factor=1.0)[0] == "no reference"
    device = replace(describe_device(), board="here")
    (tmp_path / "here.json").write_bytes(jsonvalue.pretty_bytes(replace(REFERENCE, emulated=True)))
    assert find_reference(device, tmp_path) is None
    (tmp_path / "here.json").write_bytes(jsonvalue.pretty_bytes(REFERENCE))
    assert find_reference(device, tmp_path) == REFERENCE
    assert find_reference(replace(device, board="there"), tmp_path) is None
    assert find_reference(replace(device, emulated="cortex-a72"), tmp_path) is None


def test_committed_references_can_be_read() -> None:
    references = [read_reference(path) for path in sorted(FOLDER.glob("*.json"))]
    assert any(not reference.emulated for reference in references)
    assert all(reference.emulated for reference in references if reference.board.startswith("emulated"))
    assert all(figure.p50_ms > 0 for reference in references for figure in reference.figures)


def test_slow_is_reported_and_fails_only_when_strict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fast, words = tmp_path / "fast.json", ["--group", "latency", "--frames", "5"]
    assert main([*words, "--write-reference", str(fast)]) == 0
    reference = read_reference(fast)
    figures = tuple(replace(figure, p50_ms=figure.p50_ms / 1000) for figure in reference.figures)
    fast.write_bytes(jsonvalue.pretty_bytes(replace(reference, figures=figures)))
    assert main([*words, "--reference", str(fast)]) == 0
    assert "2 passed, 0 failed, 0 skipped, 2 slow" in capsys.readouterr().out
    assert main([*words, "--reference", str(fast), "--strict-latency"]) == 1
    assert "more than 1.5x is too slow" in capsys.readouterr().out


def test_latency_of_the_whole_answer_is_above_that_of_the_network() -> None:
    (check,) = latency_checks(Plan(bundles=(TINY_INT8_BUNDLE,), num_latency_frames=5))
    result, found = run_check(check)
    assert result.status is Status.OK
    (figure,) = found.latency
    assert figure.p95_ms >= figure.p50_ms > figure.network_p50_ms > 0
    assert figure.num_frames == 5


def test_growth_above_the_limit_fails() -> None:
    judge_drift(MEMORY)
    grown = replace(MEMORY, drift_bytes=2_000_001)
    with pytest.raises(MismatchError, match=r"m\.tflite: memory grew by 2\.0 MB over 1000 frames"):
        judge_drift(grown)
    judge_drift(replace(grown, num_frames=499))
    judge_drift(grown, emulated="cortex-a72")


def test_child_that_fails_says_why() -> None:
    with pytest.raises(MismatchError, match=r"probe_memory ended with status 1: .*no such bundle"):
        run_child(Plan(), "probe_memory", "gone.edgebundle", "10")


def test_child_that_cannot_skips(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os\nos.geteuid = lambda: 1000\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(SkippedError, match="mounting needs root on Linux"):
        run_child(Plan(), "probe_faults", "full-disk")


def test_child_that_crashes_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(MismatchError, match="probe_faults ended with signal 11"):
        run_child(Plan(), "probe_faults", "missing-model")
