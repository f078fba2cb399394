"""The process that decodes pictures of strangers: little memory, little time, no files, no new rights.

Pictures come over standard input, each after its length in 8 bytes; each is answered by a line: the CPU seconds it
took, a tab, and what is wrong with it, or nothing.

python -m cloud_train.ingest.decoding.child MEMORY_BYTES CPU_S
"""

from __future__ import annotations

import contextlib
import ctypes
import resource
import signal
import sys
import time
from typing import BinaryIO

from edge.errors import ImageError
from edge.image.decode import DecodeLimits, allowed_scales, decode, read_header

LIMITS = DecodeLimits(max_decoded_bytes=400_000_000)
"""More than devices allow themselves: what no device could use is for people to see, and no reason for quarantine."""
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_NAME = "the picture"
_TOO_MUCH = "it takes too much memory to decode"
_MAX_FILES = 16


def fault_of(data: bytes) -> str:
    """Why a picture cannot be decoded whole, in one line; empty when it can."""
    try:
        header = read_header(data, name=_NAME, limits=LIMITS)
        decode(data, header, min(allowed_scales(header, name=_NAME, limits=LIMITS)), name=_NAME)
    except ImageError as error:
        if not isinstance(error.__cause__, MemoryError):
            return error.message.removeprefix(f"{_NAME}: ")
        return _TOO_MUCH
    except MemoryError:
        return _TOO_MUCH
    return ""


def confine(*, memory_bytes: int, cpu_s: int) -> None:
    """Gives up what decoding does not need; there is no way back.

    Args:
        memory_bytes: Address space.
        cpu_s: CPU of one picture; `grant_cpu` renews it.
    """
    _load_plugins()
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for what, most in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, _MAX_FILES),
        (resource.RLIMIT_NPROC, 0),
    ):
        resource.setrlimit(what, (most, most))
    grant_cpu(cpu_s)


def grant_cpu(cpu_s: int) -> None:
    """Lets this process use so many CPU seconds from now on; then the system kills it."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + 1 + cpu_s, hard))


def answer(source: BinaryIO, target: BinaryIO, *, cpu_s: int) -> None:
    """Decodes until `source` ends."""
    while len(head := source.read(8)) == 8:
        data = source.read(int.from_bytes(head, "big"))
        grant_cpu(cpu_s)
        begun = time.thread_time()  # under a limit the clock of the process moves in steps of a tick only
        fault = " ".join(fault_of(data).split())
        target.write(f"{time.thread_time() - begun:.6f}\t{fault}\n".encode(errors="replace"))
        target.flush()


def _load_plugins() -> None:
    """Imports them while files may still be opened."""
    from PIL import JpegImagePlugin, PngImagePlugin, WebPImagePlugin  # noqa: F401

    with contextlib.suppress(ImageError):
        read_header(b"?", name=_NAME, limits=LIMITS)
    tiny = bytes.fromhex(
        "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
        "0000000c49444154789c63f8ffff3f0005fe02fe0def46b80000000049454e44ae426082"
    )
    fault_of(tiny)


if __name__ == "__main__":
    confine(memory_bytes=int(sys.argv[1]), cpu_s=int(sys.argv[2]))
    answer(sys.stdin.buffer, sys.stdout.buffer, cpu_s=int(sys.argv[2]))
