"""An environment with `edgeloop[device]` as a device has it: not editable, and with nothing beside it.

It lies in work/installed and is brought up to date whenever it is asked for: made anew when the requirements have
changed, and given the present sources when those have.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from edge.errors import EdgeloopError

FOLDER = Path("work/installed")
PACKAGES = ("edge", "converters", "model_zoo", "cloud_train")
REQUIREMENTS = ("pyproject.toml", "constraints.txt")


def installed_python() -> Path:
    """The interpreter of the environment, which has the present sources.

    Raises:
        EdgeloopError: pip failed.
    """
    needed = _digest(Path(name) for name in REQUIREMENTS)
    sources = _digest(path for package in PACKAGES for path in sorted(Path(package).rglob("*.py")))
    if _note("requirements") != needed:
        _run([sys.executable, "-m", "venv", "--clear", str(FOLDER)])
        _install("[device]")
    elif _note("sources") != sources:
        _install("", "--no-deps", "--force-reinstall")
    (FOLDER / "requirements.sha256").write_text(needed)
    (FOLDER / "sources.sha256").write_text(sources)
    return FOLDER.absolute() / "bin" / "python"


def installed_site() -> Path:
    """Its site-packages; raises as `installed_python`."""
    installed_python()
    return next((FOLDER / "lib").glob("python3*/site-packages"))


def _install(extra: str, *options: str) -> None:
    """Installs from a copy, so that nothing is built inside the working copy."""
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "source"
        source.mkdir()
        for package in PACKAGES:
            shutil.copytree(package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
        for name in (*REQUIREMENTS, "README.md", "LICENSE"):
            shutil.copy(name, source)
        pip = [str(FOLDER / "bin" / "python"), "-m", "pip", "install", "-q", *options]
        _run([*pip, "-c", str(source / "constraints.txt"), f"{source}{extra}"])


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise EdgeloopError(f"cannot install edgeloop[device]: {(done.stderr.splitlines() or ['no word'])[-1]}")


def _note(name: str) -> str:
    path = FOLDER / f"{name}.sha256"
    return path.read_text() if path.is_file() else ""


def _digest(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path}\n".encode() + path.read_bytes())
    return digest.hexdigest()
