"""Started by the outbox checks: faults that want a process of their own. Prints one line: what was tried.

python -m device_tests.probe_outbox killed | read-only
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

from device_tests.child import SKIPPED
from device_tests.mounts import leave_shared_mounts, mount_tmpfs, turn_read_only, unmount
from device_tests.outbox_faults import require
from device_tests.plan import MismatchError, SkippedError
from device_tests.samples import make_sample
from edge import durable
from edge.errors import StorageError
from edge.outbox.base import EntryState, OutboxLimits
from edge.outbox.sqlite import SqliteOutbox
from edge.types import Feedback, FeedbackKind

_NUM_GROUPS, _GROUP = 4, 3
_LIMITS = OutboxLimits(max_entries=8)
_ANSWER = Feedback(kind=FeedbackKind.CONFIRMED, label="red", who="ann", at=1.0)


def killed() -> str:
    """SIGKILL at each durable write in turn: what was acknowledged before is there, and nothing else than was put.

    Raises:
        SkippedError: This system cannot fork.
        MismatchError: Something is lost, doubled or damaged.
    """
    if not hasattr(os, "fork"):
        raise SkippedError("this system cannot fork")
    with TemporaryDirectory() as folder:
        num_points = _count_points(Path(folder))
        for number in range(1, num_points + 1):
            place = Path(folder) / str(number)
            place.mkdir()
            require(_die_at(place, number) == signal.SIGKILL, f"write {number} was never reached")
            _check_after(place, number)
    return f"killed at {num_points} durable writes, nothing lost"


def read_only() -> str:
    """A disk that is read-only when the outbox is opened: one clear error, and everything is there afterwards.

    Raises:
        SkippedError: No mounts can be made here.
        MismatchError: Something is lost, or there is no error.
    """
    folder = Path(mkdtemp())
    try:
        leave_shared_mounts()
        mount_tmpfs(folder, size_bytes=12_000_000)
        path, sample = folder / "outbox.sqlite", make_sample(1)
        with contextlib.closing(SqliteOutbox(path)) as outbox:
            outbox.put(sample, now=1.0)
        turn_read_only(folder, True)
        line = _refusal(path)
        turn_read_only(folder, False)
        with contextlib.closing(SqliteOutbox(path)) as outbox:
            require(outbox.payload(sample.digest) == sample.payload, "the sample is lost")
            require(outbox.put(make_sample(2), now=2.0), "nothing can be kept afterwards")
    finally:
        unmount(folder)
        folder.rmdir()
    return line.replace(f"{folder}/", "")


def _refusal(path: Path) -> str:
    try:
        with contextlib.closing(SqliteOutbox(path)) as outbox:
            outbox.put(make_sample(2), now=2.0)
    except StorageError as error:
        require("\n" not in str(error), f"the error is not one line: {str(error)!r}")
        return str(error)
    raise MismatchError("a read-only disk was written to without an error")


class _Life:
    """One life of an outbox that sheds, is answered for and sends, and what it saw.

    Args:
        folder: Of the outbox and of the journal, which is written to without waiting: a kill does not lose it.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "outbox.sqlite"
        self._journal = os.open(folder / "journal", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def live(self) -> None:
        outbox = SqliteOutbox(self._path, _LIMITS)
        for group in range(_NUM_GROUPS):
            samples = [make_sample(group * _GROUP + number, value=group / 10) for number in range(_GROUP)]
            outbox.put_many(samples, now=1.0)
            self._note("kept", *(sample.digest for sample in samples))
        outbox.put_answer(make_sample(0).digest, _ANSWER, now=1.0)
        self._note("answered", make_sample(0).digest)
        claimed = [entry.digest for entry in outbox.claim(limit=4, now=1.0, lease_s=60)]
        outbox.mark_sent(tuple(claimed[:2]), now=1.0)
        self._note("sent", *claimed[:2])
        outbox.park(claimed[2], reason="said no")
        outbox.release((claimed[3],))
        outbox.close()

    def _note(self, *words: str) -> None:
        os.write(self._journal, (" ".join(words) + "\n").encode())


def _count_points(folder: Path) -> int:
    points: list[str] = []
    durable.observe(points.append)
    _Life(folder).live()
    durable.observe(None)
    return len(points)


def _die_at(folder: Path, number: int) -> int:
    """Lives in a process of its own, up to a durable write; the signal that ended it."""
    child = os.fork()
    if child == 0:
        points = itertools.count(1)
        durable.observe(lambda point: os.kill(os.getpid(), signal.SIGKILL) if next(points) == number else None)
        with contextlib.suppress(BaseException):
            _Life(folder).live()
        os._exit(1)
    return os.WTERMSIG(os.waitpid(child, 0)[1])


def _check_after(folder: Path, number: int) -> None:
    lines = [line.split() for line in (folder / "journal").read_text().splitlines()]
    noted = {verb: [digest for first, *digests in lines if first == verb for digest in digests] for verb, *_ in lines}
    put = {make_sample(one).digest: make_sample(one).payload for one in range(_NUM_GROUPS * _GROUP)}
    with contextlib.closing(SqliteOutbox(folder / "outbox.sqlite", _LIMITS)) as outbox:
        entries = {entry.digest: entry.state for entry in outbox.entries()}
        shed = [row.digest for row in outbox.audit(limit=100)]
        where = f"killed at write {number}"
        require(set(noted.get("kept", ())) <= {*entries, *shed}, f"{where}: a kept sample is lost")
        require(set(entries) <= set(put), f"{where}: a sample is there that was never put")
        require(not set(entries) & set(shed), f"{where}: a sample is there that was shed")
        require(len(shed) == len(set(shed)), f"{where}: a sample was shed twice")
        require(
            all(entries.get(one) is EntryState.SENT for one in noted.get("sent", ())), f"{where}: a receipt is lost"
        )
        if noted.get("answered"):
            require(outbox.stats().answers == 1, f"{where}: a person's answer is lost")
        for digest, state in entries.items():
            require(state is EntryState.SENT or outbox.payload(digest) == put[digest], f"{where}: a picture is damaged")


CASES = {"killed": killed, "read-only": read_only}


def main(case: str) -> int:
    """Tries one fault.

    Returns:
        0, 1 where it did not end as it must, 77 where it cannot be made here.
    """
    try:
        print(CASES[case]())
    except SkippedError as reason:
        print(reason, file=sys.stderr)
        return SKIPPED
    except MismatchError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
