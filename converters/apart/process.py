"""Programs that run apart: a time limit, an environment of their own, and nothing of them left when they fail."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from edge.errors import EdgeloopError

_TAIL_BYTES = 64_000
_SHOWN = 300


class ApartError(EdgeloopError):
    """An environment cannot be made, or what ran in it failed without saying why."""


def run_apart(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    folder: Path,
    log: Path,
    time_limit_s: float,
    held: Sequence[int] = (),
) -> int:
    """Runs a program to its end, or ends it and all that it has started.

    Args:
        command: Program and arguments.
        environment: All of its environment variables.
        folder: Where it runs.
        log: Gets everything that it says.
        time_limit_s: Seconds it may take.
        held: File handles that stay open for as long as it runs, even where this process is killed.

    Returns:
        Its exit status; minus the number of the signal that ended it.

    Raises:
        ApartError: It cannot be started, or the time is over.
    """
    try:
        with log.open("wb") as output, _started(command, environment, folder, output.fileno(), held) as process:
            return process.wait(timeout=time_limit_s)
    except subprocess.TimeoutExpired as cause:
        raise ApartError(f"{Path(command[0]).name} was ended after {time_limit_s:g} s") from cause
    except OSError as cause:
        raise ApartError(f"{command[0]} cannot be started: {(cause.strerror or 'no reason given').lower()}") from cause


@contextmanager
def _started(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, output: int, held: Sequence[int]
) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own, none of which outlives the block."""
    process = subprocess.Popen(  # noqa: S603  (argument lists of our own making, no shell)
        list(command),
        env=dict(environment),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        pass_fds=tuple(held),
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def last_words(log: Path, *, prefix: str = "") -> str:
    """The last line of a log that is not empty, shortened.

    Args:
        log: The file; need not exist.
        prefix: Lines that begin so are preferred.
    """
    try:
        text = log.read_bytes()[-_TAIL_BYTES:].decode("utf-8", "replace")
    except OSError:
        return ""
    lines = ["".join(sign for sign in line if sign.isprintable()).strip() for line in text.splitlines()]
    told = [line for line in lines if line]
    preferred = [line for line in told if prefix and line.startswith(prefix)]
    return (preferred or told or [""])[-1][:_SHOWN]
