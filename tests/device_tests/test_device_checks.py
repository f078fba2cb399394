"""The device tests must pass here, and must fail on a device that differs."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from device_tests.__main__ import main
from device_tests.checks import check_bundle
from device_tests.groups import GROUPS, checks_of
from device_tests.picture_vectors import check_vector, load_vectors
from device_tests.plan import OWN_BUNDLES, VECTORS, Check, Finding, MismatchError, Plan, SkippedError
from device_tests.report import Status, read_report
from device_tests.runner import run_check
from edge.bundle.manifest import CropPolicy
from edge.errors import UsageError


@pytest.mark.slow  # the same as `python -m device_tests --device local`
def test_all_pass_on_this_machine(tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report_file = tmp_path / "report.json"
    words = ["--device", "local", "--bundle", str(tiny_bundle), "--json", str(report_file)]
    assert main([*words, "--frames", "3", "--memory-frames", "20"]) == 0
    report = read_report(report_file)
    assert {check.group for check in report.checks} == set(GROUPS)
    assert report.count()[Status.FAILED] == 0
    said = capsys.readouterr().out
    assert f"{len(report.checks) - report.count()[Status.SKIPPED]} passed, 0 failed" in said
    assert "tiny_fp32.tflite, tiny_fp32.onnx" in said
    assert len(report.outputs) == 8 + 8 + 12 + 8 + 8
    assert len(report.latency) == 5
    assert len(report.memory) == 3
    assert all(figure.open_bytes > figure.import_bytes > figure.start_bytes > 1e6 for figure in report.memory)


def test_damaged_bundle_fails_and_the_rest_goes_on(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tiny_bundle / "tiny_fp32.onnx").write_bytes(b"x")
    bundles = ["--bundle", str(tiny_bundle), "--bundle", str(tiny_bundle / "gone")]
    assert main([*bundles, "--group", "bundle", "--group", "preprocess"]) == 1
    said = capsys.readouterr().out
    assert f"{len(load_vectors()) + 2} passed, 2 failed" in said
    assert "FAIL  bundle gone" in said
    assert "FAIL  bundle tiny-bundle" in said


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--device", "toaster"], "no device 'toaster' (choose local, arm64 or ssh:HOST)"),
        (["--device", "ssh:"], "no device 'ssh:'"),
        (["--device", "ssh:-oProxyCommand=x"], "not a host name: '-oProxyCommand=x'"),
        (["--group", "nothing"], "no group 'nothing' (choose from: preprocess, "),
        (["--frames", "0"], "needs at least 1 frame"),
        (["--reference", "gone.json"], "gone.json: cannot be read: no such file or directory"),
        (["compare", "gone.json", "gone.json"], "gone.json: cannot be read"),
        (["--bundle", "a/tiny.edgebundle"], "two bundles are called 'tiny'"),
    ],
)
def test_bad_requests_end_in_one_line(words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    said = capsys.readouterr()
    assert line in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_names_of_checks_are_unique_and_need_no_bundle_to_be_there() -> None:
    checks = checks_of(Plan(bundles=(*OWN_BUNDLES, Path("gone.edgebundle"))))
    names = [(check.group, check.name) for check in checks]
    assert len(set(names)) == len(names)
    assert ("memory", "gone") in names


def test_whatever_a_check_raises_becomes_its_result() -> None:
    def surprised() -> Finding:
        raise ZeroDivisionError("by a broken clock")

    def impossible() -> Finding:
        raise SkippedError("no disk")

    result = run_check(Check(group="g", name="n", run=surprised))[0]
    assert (result.status, result.detail) == (Status.FAILED, "ZeroDivisionError: by a broken clock")
    result = run_check(Check(group="g", name="n", run=impossible))[0]
    assert (result.status, result.detail) == (Status.SKIPPED, "no disk")


def test_vector_that_differs_is_a_mismatch() -> None:
    vector = load_vectors()[0]
    check_vector(vector)
    with pytest.raises(MismatchError, match="tensor has SHA-256"):
        check_vector(replace(vector, sha256="0" * 64))
    with pytest.raises(MismatchError, match="tensor has SHA-256"):
        check_vector(replace(vector, spec=replace(vector.spec, crop=CropPolicy.LETTERBOX)))
    with pytest.raises(MismatchError, match="geometry is"):
        check_vector(replace(vector, geometry=replace(vector.geometry, offset_x=1.0)))


def test_bundle_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such bundle"):
        check_bundle(tmp_path / "gone")


def test_vectors_cover_every_policy_and_kind() -> None:
    vectors = load_vectors()
    assert {vector.spec.crop for vector in vectors} == set(CropPolicy)
    assert {vector.file.rsplit(".")[-1] for vector in vectors} == {"png", "jpg", "webp"}


def test_vectors_equal_their_generator(tmp_path: Path, repository: Path, update_goldens: bool) -> None:
    target = VECTORS if update_goldens else tmp_path
    script = str(VECTORS / "make_vectors.py")
    environment = os.environ | {"PYTHONPATH": str(repository)}
    subprocess.run([sys.executable, script, str(target)], check=True, env=environment, cwd=repository)

    def digests(folder: Path) -> dict[str, str]:
        files = (path for path in folder.iterdir() if path.is_file() and path.suffix != ".py")
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    assert digests(target) == digests(VECTORS)


def test_device_environment_passes_without_pytest(
    repository: Path, make_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    python = repository / ".venv-device" / "bin" / "python"
    if not python.exists():
        pytest.skip("the device environment .venv-device is not made")
    folder = make_bundle(tmp_path / "b", flavour=3)
    command = [str(python), "-m", "device_tests", "--device", "local", "--bundle", str(folder)]
    command += ["--frames", "3", "--memory-frames", "20"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=repository)
    assert done.returncode == 0, done.stdout
    assert " 0 failed" in done.stdout


@pytest.mark.slow
def test_pytest_runs_the_same_checks(repository: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "device_tests", "--device", "local"]
    command += ["--group", "bundle", "--group", "outputs"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=repository)
    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout
    done = subprocess.run([*command, "--bundle", "gone"], check=False, capture_output=True, text=True, cwd=repository)
    assert "4 passed" in done.stdout
    assert "2 failed" in done.stdout


@pytest.mark.parametrize(("missing", "num_skipped"), [("ai_edge_litert", 4), ("onnxruntime", 0)])
def test_a_device_with_one_runtime_passes_and_skips_the_rest(
    missing: str, num_skipped: int, repository: Path, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules[{missing!r}] = None\n")
    command = [sys.executable, "-m", "device_tests", "--frames", "2", "--memory-frames", "10"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=repository, env=environment)
    assert f" 0 failed, {num_skipped} skipped" in done.stdout, done.stdout + done.stderr
    assert done.stdout.count("no runtime for any of its models is installed") == num_skipped
