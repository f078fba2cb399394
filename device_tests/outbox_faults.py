"""What must never cost a sample, tried on the device itself: damage, a full cap, clocks that jump, kills."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from device_tests.child import run_child
from device_tests.plan import Check, Finding, MismatchError, Plan
from device_tests.samples import make_sample
from edge.errors import StorageError
from edge.outbox.base import AuditAction, OutboxLimits
from edge.outbox.recovering import RecoveringOutbox
from edge.outbox.sqlite import SqliteOutbox

_YEARS_S = 10 * 365 * 86_400.0
_NOW = 1.75e9
_NUM_SAMPLES = 20
_IN_ONE_PAGE = 200


def outbox_checks(plan: Plan) -> Iterator[Check]:
    """One check for each fault of the outbox that can be made without a server."""
    checks = {
        "damaged file": _check_damaged,
        "clock that jumps": _check_clock,
        "full of samples": _check_cap,
        "newer file": _check_newer,
    }
    for name, run in checks.items():
        yield Check(group="faults", name=f"outbox {name}", run=partial(_in_folder, run))
    for name, case in (("killed at every write", "killed"), ("read-only disk", "read-only")):
        yield Check(group="faults", name=f"outbox {name}", run=partial(_in_child, plan, case))


def require(holds: bool, what: str) -> None:
    """What must hold.

    Raises:
        MismatchError: It does not.
    """
    if not holds:
        raise MismatchError(what)


def _in_folder(run: Callable[[Path], str]) -> Finding:
    with TemporaryDirectory() as folder:
        return Finding(detail=run(Path(folder) / "outbox.sqlite"))


def _in_child(plan: Plan, case: str) -> Finding:
    return Finding(detail=run_child(plan, "probe_outbox", case).strip())


def _check_damaged(path: Path) -> str:
    """One sample rots: it is noticed, the file is set aside, all others go on in a new one."""
    samples = [make_sample(number) for number in range(_NUM_SAMPLES)]
    with contextlib.closing(SqliteOutbox(path)) as outbox:
        outbox.put_many(samples, now=_NOW)
    rotten = samples[_NUM_SAMPLES // 2]
    data = path.read_bytes()
    place = data.find(rotten.payload[:_IN_ONE_PAGE])
    require(place >= 0, "the sample is not where it is looked for")
    path.write_bytes(data[:place] + b"rotten!!" + data[place + 8 :])
    said: list[str] = []
    with contextlib.closing(RecoveringOutbox(path, report=said.append, clock=lambda: _NOW)) as outbox:
        with contextlib.suppress(KeyError):
            outbox.payload(rotten.digest)
            raise MismatchError("a damaged payload was given out")
        left = {entry.digest: outbox.payload(entry.digest) for entry in outbox.entries()}
        actions = {row.action for row in outbox.audit(limit=9)}
    expected = {sample.digest: sample.payload for sample in samples if sample is not rotten}
    require(left == expected, f"{len(left)} of {len(expected)} sound samples were taken over")
    require(actions == {AuditAction.QUARANTINED, AuditAction.SALVAGED}, "the audit does not say what was done")
    require(len(said) == 2, f"said {len(said)} lines")
    require(path.with_name("outbox.sqlite.damaged-1").exists(), "the damaged file is gone")
    return said[-1]


def _check_clock(path: Path) -> str:
    """Ten years ahead and back: no lease outlives it, and what was sent stays sent."""
    with contextlib.closing(SqliteOutbox(path)) as outbox:
        outbox.put_many([make_sample(number) for number in range(3)], now=_NOW)
        require(len(outbox.claim(limit=9, now=_NOW, lease_s=60)) == 3, "a claim at the true time")
        require(not outbox.claim(limit=9, now=_NOW + 59, lease_s=60), "a lease ended too early")
        for jump in (_YEARS_S, -_YEARS_S, 0.0):
            require(len(outbox.claim(limit=9, now=_NOW + jump, lease_s=60)) == 3, f"a lease outlived a jump to {jump}")
        outbox.mark_sent((make_sample(0).digest,), now=_NOW - _YEARS_S)
        require(not outbox.put(make_sample(0), now=_NOW + _YEARS_S), "a sent sample was kept again")
    return "leases end with every jump of 10 years"


def _check_cap(path: Path) -> str:
    """The least valuable leave first, the audit names them, and the file stays within its limit."""
    limits = OutboxLimits(max_bytes=1_000_000, max_entries=8)
    samples = [make_sample(number, value=(number * 7 % _NUM_SAMPLES) / 100) for number in range(_NUM_SAMPLES)]
    with contextlib.closing(SqliteOutbox(path, limits)) as outbox:
        for sample in samples:
            outbox.put(sample, now=_NOW)
        left = {entry.digest for entry in outbox.entries()}
        shed = {row.digest for row in outbox.audit(limit=100) if row.action is AuditAction.SHED}
        for number in range(100, 200):
            outbox.put(make_sample(number, size_bytes=60_000), now=_NOW)
        size = outbox.stats().file_bytes
    best = {sample.digest for sample in sorted(samples, key=lambda sample: sample.metadata.value)[-8:]}
    require(left == best, "others than the most valuable are left")
    require(shed == {sample.digest for sample in samples} - best, "the audit does not name what was shed")
    require(size <= limits.max_bytes, f"the file has {size} bytes")
    return f"{len(shed)} of {_NUM_SAMPLES} shed, file of {size // 1000} kB"


def _check_newer(path: Path) -> str:
    """A file of a later edgeloop is refused and left alone."""
    SqliteOutbox(path).close()
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version=1000")
    before = path.read_bytes()
    try:
        RecoveringOutbox(path, report=lambda line: None, clock=lambda: _NOW).close()
    except StorageError as error:
        require("schema 1000" in str(error) and "\n" not in str(error), f"the error says: {error}")
        require(path.read_bytes() == before, "the file was changed")
        require([path.name] == [other.name for other in path.parent.iterdir()], "something was left behind")
        return str(error).replace(f"{path.parent}/", "")
    raise MismatchError("was taken without an error")
