"""Runs the tests on a board over ssh: one connection, the kit goes in, the report comes out, nothing stays behind."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from device_tests.kit import inner_arguments, pack_kit
from device_tests.plan import Plan
from device_tests.report import Report, parse_report
from edge.errors import RoadError, UsageError

TIMEOUT_S = 3600.0
_HOST = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9._@:%-]*\Z")
# Runs on the board, with the standard library alone; the kit comes on its standard input.
_BOOTSTRAP = """
import io, subprocess, sys, tempfile, zipfile
from pathlib import Path
with tempfile.TemporaryDirectory(prefix="device_tests-") as folder:
    zipfile.ZipFile(io.BytesIO(sys.stdin.buffer.read())).extractall(folder)
    command = [sys.executable, "-m", "device_tests", *sys.argv[1:], "--json", "report.json"]
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    report = Path(folder, "report.json")
    if not report.exists():
        sys.exit(done.returncode or 1)
    sys.stdout.buffer.write(report.read_bytes())
"""


def run_over_ssh(
    plan: Plan, host: str, *, python: str = "python3", options: Sequence[str] = (), timeout_s: float = TIMEOUT_S
) -> Report:
    """Runs a plan on a board.

    Args:
        plan: What to test.
        host: As `ssh` takes it; how to log in without a question is the business of ssh's own configuration.
        python: Interpreter on the board, of an environment with numpy, Pillow and a runtime.
        options: Options of ssh, as `Name=value`.
        timeout_s: Longest run in seconds.

    Raises:
        UsageError: The host's name is none.
        RoadError: ssh could not connect, or the board could not run the tests; the last line says why.
    """
    if not _HOST.match(host):
        raise UsageError(f"not a host name: {host!r}", hint="--device ssh:HOST or ssh:USER@HOST")
    remote = shlex.join([python, "-c", _BOOTSTRAP, *inner_arguments(plan)])
    settings = [word for option in ("BatchMode=yes", "ConnectTimeout=15", *options) for word in ("-o", option)]
    command = ["ssh", "-T", *settings, "--", host, remote]
    with TemporaryDirectory() as folder:
        kit = Path(folder) / "kit.zip"
        pack_kit(plan, kit)
        said = _run(command, kit, host, timeout_s)
    report = parse_report(said, where=f"report of {host}")
    return replace(report, device=replace(report.device, device=f"ssh:{host}"))


def _run(command: list[str], kit: Path, host: str, timeout_s: float) -> bytes:
    try:
        with kit.open("rb") as file:
            done = subprocess.run(command, stdin=file, capture_output=True, timeout=timeout_s, check=False)  # noqa: S603
    except FileNotFoundError as cause:
        raise UsageError("there is no ssh on this machine", hint="install an OpenSSH client") from cause
    except subprocess.TimeoutExpired as cause:
        raise RoadError(f"{host}: not done after {timeout_s:.0f} s") from cause
    if done.returncode == 0:
        return done.stdout
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    reason = lines[-1] if lines else f"ended with status {done.returncode}"
    if done.returncode == 255:
        raise RoadError(f"{host}: ssh: {reason}", hint=f"try: ssh -o BatchMode=yes {host} true")
    raise RoadError(f"{host}: {reason}", hint='name an environment with `pip install "edgeloop[tflite]"` by --python')
