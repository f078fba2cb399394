"""Virtual environments that stand apart from this one: made once, whole or not at all, found again by their pins."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from converters.apart.process import ApartError, last_words, run_apart
from edge import durable
from edge.settings import process_environment

MARKER = ".made"
INSTALL_LIMIT_S = 3600.0
_HINT = "it takes pip (python -m ensurepip), a package index (pip config list) and room on the disk; then try again"
_VENV_LIMIT_S = 300.0
_PIP = ("-m", "pip", "--no-input", "--disable-pip-version-check", "--python")
_INSTALL = ("install", "--quiet", "--no-deps", "--only-binary=:all:")
# Would make Python or pip look at another environment than the one that is being made.
_MISLEADING = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PIP_TARGET", "PIP_PREFIX", "PIP_USER", "__PYVENV_LAUNCHER__")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApartEnvironment:
    """What one environment holds.

    Attributes:
        name: Short, part of the folder's name.
        requirements: Every package with its exact version; nothing else is installed.
        size_mb: About what it takes on the disk.
        note: What it is for, for people.
    """

    name: str
    requirements: tuple[str, ...]
    size_mb: int
    note: str


def environment_folder(environment: ApartEnvironment, root: Path) -> Path:
    """Where an environment lies: other pins or another Python make another folder."""
    python = f"{sys.implementation.cache_tag} {sys.platform}"
    pins = "\n".join((python, *environment.requirements))
    return root.absolute() / f"{environment.name}-{hashlib.sha256(pins.encode()).hexdigest()[:8]}"


def ensure_environment(
    environment: ApartEnvironment, root: Path, *, say: Callable[[str], None], time_limit_s: float = INSTALL_LIMIT_S
) -> Path:
    """Makes an environment, unless it stands already.

    It is made beside its place and renamed into it when it is whole. Of several commands one makes it and the others
    wait. What a killed command has left is removed, and the work begun anew.

    Args:
        environment: What shall be in it.
        root: The folder of all such environments; made where it is missing.
        say: Takes a line for people, before anything takes long.
        time_limit_s: Seconds that the installation may take.

    Returns:
        Its Python.

    Raises:
        ApartError: It cannot be made; in pip's own words.
        StorageError: `root` cannot be written to.
    """
    folder = environment_folder(environment, root)
    if not _is_whole(folder):
        durable.make_folder(folder.parent)
        with _only_one(folder, say) as lock:
            if not _is_whole(folder):
                say(
                    f"{environment.name}: making an environment of its own in {folder}, once, "
                    f"about {environment.size_mb} MB ({environment.note})"
                )
                _make(environment, folder, lock, time_limit_s)
    return _python(folder)


def _python(folder: Path) -> Path:
    return folder / "bin" / "python"


def _is_whole(folder: Path) -> bool:
    """Also that the Python it was made from is still there."""
    return (folder / MARKER).is_file() and _python(folder).is_file()


@contextmanager
def _only_one(folder: Path, say: Callable[[str], None]) -> Iterator[int]:
    """Holds the lock of one environment; what is started under it holds it too, until it has ended."""
    path = folder.with_name(f".{folder.name}.lock")
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as cause:
        raise durable.storage_error(path, cause) from cause
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another command that works on {folder}")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle
    finally:
        os.close(handle)


def _make(environment: ApartEnvironment, folder: Path, lock: int, time_limit_s: float) -> None:
    making, log = folder.with_name(f".{folder.name}.making"), folder.with_name(f".{folder.name}.log")
    for leftover in (making, folder):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        # The pip that runs here installs over there: one of its own would take longer than all small packages.
        _step(environment, [sys.executable, "-m", "venv", "--without-pip", str(making)], log, lock, _VENV_LIMIT_S)
        if environment.requirements:
            command = [sys.executable, *_PIP, str(_python(making)), *_INSTALL, *environment.requirements]
            _step(environment, command, log, lock, time_limit_s)
        pins = "\n".join(environment.requirements) + "\n"
        durable.write_bytes(making / MARKER, pins.encode(), point="environment.marker")
        _appear(making, folder)
    finally:
        shutil.rmtree(making, ignore_errors=True)
        log.unlink(missing_ok=True)


def _step(environment: ApartEnvironment, command: list[str], log: Path, lock: int, time_limit_s: float) -> None:
    """One program of the installation; it keeps the lock where this command is killed meanwhile."""
    told = {name: value for name, value in process_environment().items() if name not in _MISLEADING}
    try:
        status = run_apart(
            command, environment=told, folder=log.parent, log=log, time_limit_s=time_limit_s, held=(lock,)
        )
    except ApartError as cause:
        raise ApartError(f"the environment {environment.name} cannot be made: {cause.message}", hint=_HINT) from cause
    if status != 0:
        words = last_words(log, prefix="ERROR:").removeprefix("ERROR:").strip() or f"ended with {status}"
        raise ApartError(f"the environment {environment.name} cannot be made: {words}", hint=_HINT)


def _appear(making: Path, folder: Path) -> None:
    """Nothing in it is worth a flush of each of its many thousand files, but the marker must not come before them."""
    os.sync()
    try:
        making.rename(folder)
        durable.fsync_folder(folder.parent)
    except OSError as cause:
        raise durable.storage_error(folder, cause) from cause
