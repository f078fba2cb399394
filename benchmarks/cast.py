"""The programs that take part: ours, the floors and the peers, each as a command line."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.blocks import DEVICE_PYTHON, Worker
from benchmarks.peers import peer_environment, peer_python
from edge.errors import EdgeloopError

EDGE = "edgeloop"
FLOOR = "floor"


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A measured program that is not running yet.

    Attributes:
        name: What tables call it.
        module: What is run with `python -m`.
        arguments: Of its command line.
        peer: Whose environment it runs in; empty for the device's own.
        threads: Threads of a peer's libraries.
    """

    name: str
    module: str
    arguments: tuple[str | Path, ...] = ()
    peer: str = ""
    threads: int = 1


def start(program: Program) -> Worker:
    """Starts a program.

    Raises:
        EdgeloopError: Its environment is not there.
    """
    tail = ["-m", program.module, *program.arguments]
    if program.peer:
        environment = peer_environment(program.peer, threads=program.threads)
        return Worker(program.name, [peer_python(program.peer), *tail], environment=environment)
    if not DEVICE_PYTHON.is_file():
        raise EdgeloopError(f"{DEVICE_PYTHON} is missing", hint="make .venv-device/.made")
    return Worker(program.name, [DEVICE_PYTHON, *tail])


def start_all(stack: ExitStack, programs: list[Program], picture: Path) -> tuple[list[Worker], dict[str, str]]:
    """Starts programs that end with the stack; a peer that is not installed or does not answer stays out.

    Args:
        stack: Ends them.
        programs: What to start.
        picture: What each answers for once, to see that it can.

    Returns:
        Those that run, and why the others do not, by name.
    """
    workers, absent = [], {}
    for program in programs:
        try:
            worker = stack.enter_context(start(program))
            worker.ask(picture, 1)
            workers.append(worker)
        except EdgeloopError as error:
            if not program.peer:
                raise
            absent[program.name] = str(error)
    return workers, absent
