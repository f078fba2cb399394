"""How a job in another environment is asked and how it answers; the standard library only, for both sides read it."""

from __future__ import annotations

import dataclasses
import json
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

MODEL_FILE = "converted.tflite"
ANSWERS_FILE = "answers.npz"
REPORT_FILE = "report.json"
REFUSAL_FILE = "refusal.json"
_NETWORK = ("socket.connect", "socket.getaddrinfo", "socket.sendto")
_SHOWN = 300
_GRACE_S = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """What a job is asked.

    Attributes:
        model: The file to convert, an absolute path.
        folder: Its working folder, where its answers go, an absolute path.
        time_limit_s: Seconds after which it is ended from outside.
    """

    model: str
    folder: str
    time_limit_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """An input or output of a converted model.

    Attributes:
        name: In the signature.
        shape: Batch of 1 first.
        dtype: NumPy's word for the type.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobReport:
    """What a job has made: `MODEL_FILE`, and in `ANSWERS_FILE` what the original says to noise of a fixed seed.

    Attributes:
        producer: Which library converted, with its version.
        input: Of the converted model.
        outputs: Of the converted model.
    """

    producer: str
    input: Tensor
    outputs: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a job made nothing.

    Attributes:
        reason: One line.
        hint: What to do about it; empty where nothing is known.
    """

    reason: str
    hint: str = ""


class JobError(Exception):
    """The model cannot be converted.

    Args:
        reason: One line.
        hint: What to do about it.
    """

    def __init__(self, reason: str, *, hint: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


def run_job(job: Callable[[JobRequest], JobReport]) -> None:
    """The main function of a job: its one argument names the file of the request.

    A job reaches no network, and ends by itself where nobody is left to end it.
    """
    request = JobRequest(**json.loads(Path(sys.argv[1]).read_text()))
    signal.alarm(int(request.time_limit_s) + _GRACE_S)
    sys.addaudithook(_forbid_network)
    folder = Path(request.folder)
    try:
        _write(folder / REPORT_FILE, job(request))
    except JobError as cause:
        _write(folder / REFUSAL_FILE, Refusal(reason=cause.reason, hint=cause.hint))
    except Exception as cause:  # the frameworks raise whatever they like
        _write(folder / REFUSAL_FILE, Refusal(reason=f"cannot be converted: {one_line(cause)}"))
        raise


def one_line(cause: BaseException) -> str:
    """The first line that an exception says, shortened."""
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return (lines[0] if lines else type(cause).__name__)[:_SHOWN]


def _write(path: Path, value: JobReport | Refusal) -> None:
    path.write_text(json.dumps(dataclasses.asdict(value)))


def _forbid_network(event: str, arguments: tuple[object, ...]) -> None:
    """An audit hook (PEP 578), which nothing in the process can take away again."""
    if event in _NETWORK:
        raise JobError("the conversion tried to reach the network")
