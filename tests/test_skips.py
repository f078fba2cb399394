"""What a machine lacks is skipped with a reason, and the reasons are counted at the end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_SUITE = """
import pytest

@pytest.mark.data
def test_first(): ...

@pytest.mark.data
def test_second(): ...

def test_third(): pass
"""


def test_skips_are_counted_by_reason(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "test_suite.py").write_text(_SUITE)
    (tmp_path / "conftest.py").write_text((repository / "tests" / "conftest.py").read_text())
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = data: x\n")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--data-root",
        "/nowhere/at/all",
        str(tmp_path),
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed, 2 skipped" in done.stdout
    assert "2  data: no pictures at /nowhere/at/all (--data-root)" in done.stdout
