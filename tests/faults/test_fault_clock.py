"""The clock jumps ten years ahead and back: leases, uploads, check-ins and updates go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from device_runs import DeviceRun
from device_world import copy_tree, publish
from jumping_clock import JumpingClock
from loopback_server import ServerState
from released_files import files_of
from sample_values import make_sample

from edge.bundle.manifest import KeepPolicy
from edge.bundle.reader import open_bundle
from edge.outbox.base import OutboxLimits
from edge.outbox.sqlite import SqliteOutbox
from edge.sync.types import Directive

YEARS_S = 10 * 365 * 86_400.0
NOW = 1.75e9


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[SqliteOutbox]:
    opened = SqliteOutbox(tmp_path / "outbox.sqlite", OutboxLimits(max_entries=4))
    yield opened
    opened.close()


@pytest.mark.parametrize("jump", [YEARS_S, -YEARS_S])
def test_a_lease_never_outlives_a_jump(outbox: SqliteOutbox, jump: float) -> None:
    samples = [make_sample(number) for number in range(3)]
    for sample in samples:
        outbox.put(sample, now=NOW)
    assert len(outbox.claim(limit=9, now=NOW, lease_s=60)) == 3
    assert outbox.claim(limit=9, now=NOW + 59, lease_s=60) == ()
    assert len(outbox.claim(limit=9, now=NOW + jump, lease_s=60)) == 3
    assert outbox.claim(limit=9, now=NOW + jump + 59, lease_s=60) == ()
    assert len(outbox.claim(limit=9, now=NOW, lease_s=60)) == 3


@pytest.mark.parametrize("jumps", [(0, YEARS_S, -YEARS_S, 0, YEARS_S), (-YEARS_S, YEARS_S, 0, -YEARS_S, YEARS_S)])
def test_what_is_shed_and_sent_does_not_depend_on_the_clock(outbox: SqliteOutbox, jumps: tuple[float, ...]) -> None:
    samples = [make_sample(number, value=value) for number, value in enumerate((0.3, 0.1, 0.5, 0.1, 0.4))]
    for sample, jump in zip(samples, jumps, strict=True):
        outbox.put(sample, now=NOW + jump)
    assert [row.digest for row in outbox.audit(limit=9)] == [samples[1].digest]
    claimed = outbox.claim(limit=9, now=NOW, lease_s=60)
    assert [entry.digest for entry in claimed] == [samples[number].digest for number in (2, 4, 0, 3)]


def test_the_agent_goes_on(
    tmp_path: Path,
    start: Callable[..., DeviceRun],
    live: str,
    state: ServerState,
    release: Path,
    make_bundle: Callable[..., Path],
) -> None:
    clock = JumpingClock(tmp_path / "clock")
    make_bundle(tmp_path / "v2", version=2, flavour=2, keep=KeepPolicy(random_fraction=1.0))
    copy_tree(release, tmp_path / "store")
    publish(tmp_path / "store", tmp_path / "v2", now=time.time())
    digest = open_bundle(tmp_path / "v2").digest

    state.directive = Directive(channel="stable", bundle_digest="", check_in_s=0.3)
    run = start(tmp_path / "home", live, **clock.environment)
    goes_on(run, state)
    # Ten years ahead every signature has expired: the news is not believed, and all else goes on.
    jump(run, clock, YEARS_S)
    state.files = files_of(tmp_path / "store")
    state.directive = Directive(channel="stable", bundle_digest=digest, check_in_s=0.3)
    run.until(lambda: any("expired" in line for line in run.said), "expired news is said")
    goes_on(run, state)
    assert run.status["bundle_version"] == 1
    # Ten years back they are of the future: a clock that is before them would believe what has long expired.
    jump(run, clock, -YEARS_S)
    run.until(lambda: any("the release was signed on" in line for line in run.said), "news of the future are said")
    goes_on(run, state)
    assert run.status["bundle_version"] == 1
    jump(run, clock, 0)
    run.until(lambda: run.status.get("bundle_version", -1) == 2, "version 2 runs")
    goes_on(run, state)
    handed = set(run.notes.digests("handed"))
    run.until(lambda: handed <= set(state.stored), "all has arrived")
    assert run.stop() == 0
    assert set(state.stored_times.values()) == {1}


def jump(run: DeviceRun, clock: JumpingClock, seconds: float) -> None:
    """Sets the clock off and waits until the device has seen it."""
    clock.set_off(seconds)
    run.until(lambda: abs(run.status.get("at", 0) - clock.now()) < 1e6, "the device has seen the clock")


def goes_on(run: DeviceRun, state: ServerState) -> None:
    """Answers, uploads and check-ins of this era."""
    stored, statuses = len(state.stored), len(state.statuses)
    run.answer_more(5)
    run.until(lambda: len(state.stored) >= stored + 3, "more samples on the server")
    run.until(lambda: len(state.statuses) >= statuses + 2, "more check-ins")
