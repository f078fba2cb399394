"""Holds the decoding child: gives it pictures, outlives it, starts it anew."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import Self

_PICTURES_A_CHILD = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderLimits:
    """What one picture may cost.

    Attributes:
        memory_bytes: Address space of the child, its libraries included.
        cpu_s: CPU seconds.
        wall_s: Seconds, hanging included.
    """

    memory_bytes: int = 1_500_000_000
    cpu_s: int = 20
    wall_s: float = 60.0


class Decoder:
    """Decodes pictures in a confined child process. Used by one thread; a context manager.

    Args:
        limits: What one picture may cost.
    """

    def __init__(self, limits: DecoderLimits | None = None) -> None:
        self.cpu_s = 0.0
        self.crashes = 0
        self._limits = limits or DecoderLimits()
        self._child: subprocess.Popen[bytes] | None = None
        self._answered = 0

    def __enter__(self) -> Self:
        """The decoder; its child starts with the first picture."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the child."""
        self._end()

    def fault_of(self, data: bytes) -> str:
        """Why a picture cannot be decoded, empty when it can.

        A picture that the child dies of is tried once more with a fresh one: it may have been somebody else's fault.
        """
        fault, has_died = self._ask(data)
        if has_died:
            fault, _ = self._ask(data)
        return fault

    def _ask(self, data: bytes) -> tuple[str, bool]:
        child = self._started()
        timer = threading.Timer(self._limits.wall_s, child.kill)
        timer.start()
        try:
            line = _conversation(child, data)
        finally:
            timer.cancel()
        if line.endswith(b"\n"):
            self._answered += 1
            seconds, _, fault = line.decode().rstrip("\n").partition("\t")
            self.cpu_s += float(seconds)
            return fault, False
        self.crashes += 1
        self._end()
        return self._reason(child.returncode), True

    def _started(self) -> subprocess.Popen[bytes]:
        if self._child is None or self._answered >= _PICTURES_A_CHILD or self._child.poll() is not None:
            self._end()
            limits = (str(self._limits.memory_bytes), str(self._limits.cpu_s))
            line = [sys.executable, "-m", f"{__package__}.child", *limits]
            self._child = subprocess.Popen(  # noqa: S603 - our own program, and two numbers
                line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, close_fds=True
            )
            self._answered = 0
        return self._child

    def _end(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None

    def _reason(self, code: int) -> str:
        match -code:
            case signal.SIGXCPU:
                return f"decoding takes more than {self._limits.cpu_s} s of CPU"
            case signal.SIGKILL:
                return f"decoding was killed, after {self._limits.wall_s:g} s at the latest"
            case number if number > 0:
                return f"the decoder crashed: {signal.Signals(number).name}"
        return f"the decoder ended with code {code}"


def _conversation(child: subprocess.Popen[bytes], data: bytes) -> bytes:
    """One question and its answer; what the child leaves unsaid when it dies is missing."""
    assert child.stdin is not None and child.stdout is not None  # noqa: S101, PT018 - both are pipes
    try:
        child.stdin.write(len(data).to_bytes(8, "big"))
        child.stdin.write(data)
        child.stdin.flush()
    except OSError:  # it has died while it was written to
        return b""
    return child.stdout.readline()
