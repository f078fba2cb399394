"""Runs the tests on an emulated arm64 board: the kit goes into the root, qemu runs it there, the report comes out."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

from device_tests.arm64_root import INNER_QEMU, QEMU, ensure_root
from device_tests.kit import inner_arguments, pack_kit
from device_tests.plan import FOLDER, Plan
from device_tests.report import Report, read_report
from edge.errors import EdgeloopError

CPUS = ("cortex-a72", "cortex-a76")
TIMEOUT_S = 1800.0


def run_emulated(
    plan: Plan, *, cpu: str = CPUS[0], install_packages: bool = False, timeout_s: float = TIMEOUT_S
) -> Report:
    """Runs a plan on an emulated processor.

    Args:
        plan: What to test.
        cpu: `cortex-a72` as in a Raspberry Pi 4, `cortex-a76` as in a Raspberry Pi 5.
        install_packages: Whether apt-get may install what is missing on this machine.
        timeout_s: Longest run in seconds.

    Raises:
        UsageError: Something is missing on this machine.
        EdgeloopError: The tests could not run; the last line says why.
    """
    root = ensure_root(install_packages=install_packages)
    inner = replace(plan, emulated=f"{cpu}, {_qemu_version()}", launcher=(INNER_QEMU,))
    (root / "opt").mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="kit-", dir=root / "opt"))
    try:
        kit = folder / "kit.zip"
        pack_kit(plan, kit)
        with zipfile.ZipFile(kit) as archive:
            archive.extractall(folder)
        _enter(root, folder, cpu, inner_arguments(inner), timeout_s)
        report = read_report(folder / "report.json")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return replace(report, device=replace(report.device, device="arm64"))


def _enter(root: Path, folder: Path, cpu: str, arguments: list[str], timeout_s: float) -> None:
    inner_folder = f"/{folder.relative_to(root)}"
    command = [sys.executable, "-m", "device_tests.enter_root", str(root), inner_folder, cpu]
    command += [*arguments, "--json", "report.json"]
    try:
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, errors="replace", cwd=FOLDER.parent, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired as cause:
        raise EdgeloopError(f"emulated {cpu}: not done after {timeout_s:.0f} s") from cause
    if not (folder / "report.json").is_file():
        lines = (done.stderr.strip() or done.stdout.strip() or f"ended with status {done.returncode}").splitlines()
        raise EdgeloopError(f"emulated {cpu}: {lines[-1]}")


def _qemu_version() -> str:
    done = subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=True)  # noqa: S603
    return f"qemu {done.stdout.split('version ')[1].split()[0]}"
