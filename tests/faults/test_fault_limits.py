"""Little memory and little processor: the device answers, and empties an outbox that is larger than its memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest
from cpu_cgroup import cpu_group
from device_runs import DeviceRun
from loopback_server import ServerState
from memory_cgroup import memory_group
from sample_values import make_sample

from edge.outbox.sqlite import SqliteOutbox

MEMORY_BYTES = 160 << 20
CPU_SHARE = 0.3
SAMPLE_BYTES = 200_000
# Together they are larger than the memory.
NUM_SAMPLES = 1000

pytestmark = pytest.mark.faults


def joining(procs: Path) -> tuple[str, ...]:
    """Words before a command that runs it in a control group."""
    return ("sh", "-c", 'echo $$ > "$0" && exec "$@"', str(procs))


def test_an_outbox_larger_than_the_memory_is_emptied(
    tmp_path: Path, start: Callable[..., DeviceRun], live: str, state: ServerState
) -> None:
    assert NUM_SAMPLES * SAMPLE_BYTES > MEMORY_BYTES
    digests = fill(tmp_path / "home" / "outbox.sqlite")
    with memory_group(MEMORY_BYTES) as group, contextlib.ExitStack() as at_exit:
        run = start(tmp_path / "home", live, before=joining(group.procs))
        at_exit.callback(run.kill)
        run.until(lambda: digests <= set(state.stored), "all has arrived")
        run.answer_more(10)
        assert run.stop() == 0
        assert group.peak_bytes() <= MEMORY_BYTES
    assert set(state.stored_times.values()) == {1}


def test_a_share_of_a_processor_is_enough(
    tmp_path: Path, start: Callable[..., DeviceRun], live: str, state: ServerState
) -> None:
    with cpu_group(CPU_SHARE) as procs, contextlib.ExitStack() as at_exit:
        run = start(tmp_path / "home", live, before=joining(procs))
        at_exit.callback(run.kill)
        run.answer_more(20)
        handed = set(run.notes.digests("handed"))
        run.until(lambda: handed <= set(state.stored), "all has arrived")
        assert run.status["frames_dropped"] == 0
        assert run.stop() == 0
    assert set(state.stored_times.values()) == {1}


def fill(path: Path) -> set[str]:
    outbox = SqliteOutbox(path)
    digests = set()
    for begin in range(0, NUM_SAMPLES, 20):
        group = [make_sample(number, size_bytes=SAMPLE_BYTES) for number in range(begin, begin + 20)]
        outbox.put_many(group, now=1.0)
        digests |= {sample.digest for sample in group}
    outbox.close()
    return digests
