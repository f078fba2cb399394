import errno
import json

import pytest

from edge import durable
from edge.errors import StorageError, UsageError
from edge.home import DeviceHome
from edge.outbox.base import OutboxStats
from edge.settings import AgentSettings
from edge.status import AgentState, read_status, status_lines, write_status
from edge.telemetry import Counts
from edge.update.slots import Slots
from edge.update.types import Slot, SlotState


def state(**changes):
    defaults = {
        "device_id": "d",
        "phase": "running",
        "slots": SlotState(slots={"a": Slot(), "b": Slot()}),
        "outbox": OutboxStats(pending=3, sent=2, parked=1, pending_bytes=9),
        "server_reached_at": 5.0,
        "at": 6.0,
    }
    return AgentState(**defaults | changes)


def test_what_is_written_is_read(tmp_path):
    counts = Counts(frames_seen=4, frames_answered=3, frames_by_version={"1": 3}, last_error="no road")
    write_status(DeviceHome(folder=tmp_path), counts, state(), None)
    found = read_status(AgentSettings(home=tmp_path))
    assert (found["frames_dropped"], found["outbox_pending"], found["bundle_digest"]) == (1, 3, "")
    assert (found["running"], found["frames_by_version"]) == (False, {"1": 3})
    assert found["release"] == {"error": "this device has no trusted root yet"}
    assert json.loads(json.dumps(found)) == found
    assert status_lines(found)[-1] == "error    no road"


def test_a_status_that_is_damaged_or_missing_is_none(tmp_path):
    Slots(tmp_path).reject("1" * 64)
    for content in (None, b"", b"{", b"[]"):
        if content is not None:
            (tmp_path / "status.json").write_bytes(content)
        found = read_status(AgentSettings(home=tmp_path))
        assert found["slots"]["rejected"] == ["1" * 64]
        assert status_lines(found)[0] == "agent    not running"
        assert status_lines(found)[5] == "latency  ? median, ? p95"


def test_nobody_lives_here(tmp_path):
    with pytest.raises(UsageError, match="no device lives in"):
        read_status(AgentSettings(home=tmp_path / "none"))
    assert not (tmp_path / "none").exists()


def test_status_is_replaced_whole_and_is_no_durable_write(tmp_path):
    points = []
    durable.observe(points.append)
    try:
        for number in range(3):
            write_status(DeviceHome(folder=tmp_path), Counts(kept=number), state(), None)
    finally:
        durable.observe(None)
    assert points == []
    assert [path.name for path in tmp_path.iterdir()] == ["status.json"]
    assert json.loads((tmp_path / "status.json").read_bytes())["kept"] == 2


def test_a_status_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    write_status(DeviceHome(folder=tmp_path), Counts(kept=1), state(), None)

    def refuse(source, target):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(StorageError, match="no space left on device"):
        write_status(DeviceHome(folder=tmp_path), Counts(kept=2), state(), None)
    assert [path.name for path in tmp_path.iterdir()] == ["status.json"]
    assert json.loads((tmp_path / "status.json").read_bytes())["kept"] == 1
