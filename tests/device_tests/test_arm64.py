"""An emulated arm64 board passes every check, and its static int8 gives the bits of this machine."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from device_tests import arm64, arm64_root
from device_tests.__main__ import main
from device_tests.arm64_root import ensure_root, what_is_missing
from device_tests.compare import compare_reports
from device_tests.devices import Target, run_on
from device_tests.enter_root import cpu_description
from device_tests.groups import GROUPS
from device_tests.plan import Plan
from device_tests.report import Report, Status, read_report
from edge.errors import EdgeloopError, UsageError

KIT_FOLDERS = "kit-*"


@pytest.fixture(scope="module", params=arm64.CPUS)
def emulated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The whole run on one processor."""
    if reason := what_is_missing():
        pytest.skip(reason)
    path = tmp_path_factory.mktemp("arm64") / "report.json"
    status = main(["--device", "arm64", "--cpu", request.param, "--json", str(path)])
    report = read_report(path)
    failed = [check for check in report.checks if check.status is Status.FAILED]
    assert (status, failed) == (0, [])
    return report


@pytest.mark.arm64
@pytest.mark.timeout(900)
def test_every_group_runs_on_the_emulated_board(emulated: Report) -> None:
    assert {check.group for check in emulated.checks} == set(GROUPS)
    assert emulated.device.machine == "aarch64"
    assert emulated.device.emulated.split(",")[0] in arm64.CPUS
    assert emulated.device.libraries["ai-edge-litert"] != "none"
    skipped = {check.name: check.detail for check in emulated.checks if check.status is Status.SKIPPED}
    assert set(skipped) <= {"full disk"}, skipped


@pytest.mark.arm64
@pytest.mark.timeout(900)
def test_static_int8_is_equal_to_the_last_bit(emulated: Report) -> None:
    here = run_on(Target(), Plan(groups=("outputs",)))
    rows = {row.artifact: row for row in compare_reports(here, emulated)}
    assert set(rows) == {"tiny_fp32.tflite", "tiny_fp32.onnx", "tiny_int8.tflite"}
    assert rows["tiny_int8.tflite"].num_outputs == 12
    assert rows["tiny_int8.tflite"].verdict == "equal to the last bit"
    assert all(row.holds for row in rows.values())


@pytest.mark.arm64
@pytest.mark.timeout(900)
def test_nothing_stays_behind(emulated: Report) -> None:
    root = arm64_root.root_folder()
    assert list((root / "opt").glob(KIT_FOLDERS)) == []
    assert str(root) not in Path("/proc/mounts").read_text()


@pytest.mark.arm64
@pytest.mark.timeout(900)
def test_pytest_runs_on_the_emulated_board(repository: Path) -> None:
    if reason := what_is_missing():
        pytest.skip(reason)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "device_tests"]
    command += ["--device", "arm64", "--group", "bundle"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=repository)
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


@pytest.mark.arm64
@pytest.mark.timeout(900)
def test_a_run_that_takes_too_long_is_ended() -> None:
    if reason := what_is_missing():
        pytest.skip(reason)
    with pytest.raises(EdgeloopError, match="emulated cortex-a72: not done after 0 s"):
        arm64.run_emulated(Plan(groups=("bundle",)), timeout_s=0.2)
    assert list((arm64_root.root_folder() / "opt").glob(KIT_FOLDERS)) == []


def test_missing_tools_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    with pytest.raises(UsageError, match="needs qemu-aarch64-static and mmdebstrap") as caught:
        ensure_root()
    assert caught.value.hint.startswith("apt-get install --no-install-recommends qemu-user-static mmdebstrap")


def test_only_root_can_make_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert main(["--device", "arm64"]) == 2
    assert "needs root on Linux" in capsys.readouterr().err
    assert arm64_root.main([]) == 2


def test_folder_is_named_by_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, repository: Path) -> None:
    monkeypatch.setenv("EDGELOOP_ARM64_ROOT", str(tmp_path))
    assert arm64_root.root_folder() == tmp_path / "root"
    monkeypatch.delenv("EDGELOOP_ARM64_ROOT")
    assert arm64_root.root_folder() == repository / "work" / "arm64" / "root"


@pytest.mark.parametrize(("cpu", "part"), [("cortex-a72", "0xd08"), ("cortex-a76", "0xd0b")])
def test_processor_is_described_as_an_arm_one(cpu: str, part: str) -> None:
    text = cpu_description(cpu, num_cores=2)
    assert text.count(f"CPU part\t: {part}") == text.count("CPU implementer\t: 0x41") == 2
    assert ("asimddp" in text) == (cpu == "cortex-a76")
    assert "model name" not in text, platform.machine()
