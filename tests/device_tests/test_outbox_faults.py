"""The outbox checks pass here and notice an outbox that loses or keeps what it must not."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from device_tests import probe_outbox
from device_tests.outbox_faults import outbox_checks
from device_tests.plan import MismatchError, Plan
from device_tests.samples import make_sample
from edge.errors import DamagedError
from edge.outbox import capacity
from edge.outbox.sqlite import SqliteOutbox

IN_PROCESS = ("damaged file", "clock that jumps", "full of samples", "newer file")


def run(name: str) -> str:
    (check,) = (check for check in outbox_checks(Plan()) if check.name == f"outbox {name}")
    return check.run().detail


@pytest.mark.parametrize("name", [*IN_PROCESS, "killed at every write"])
def test_it_passes_here(name: str) -> None:
    assert run(name)


@pytest.mark.faults
def test_a_read_only_disk_is_named_and_leaves_no_mount() -> None:
    assert "outbox outbox.sqlite: " in run("read-only disk")
    assert "outbox.sqlite" not in Path("/proc/mounts").read_text()


def test_a_payload_that_is_given_out_damaged_fails_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    real = SqliteOutbox.payload

    def payload(outbox: SqliteOutbox, digest: str) -> bytes:
        with contextlib.suppress(DamagedError):
            return real(outbox, digest)
        return b""

    monkeypatch.setattr(SqliteOutbox, "payload", payload)
    with pytest.raises(MismatchError, match="a damaged payload was given out"):
        run("damaged file")


def test_a_lease_that_outlives_a_jump_fails_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    real = SqliteOutbox.claim
    monkeypatch.setattr(SqliteOutbox, "claim", lambda outbox, now, **more: real(outbox, now=max(now, 1.75e9), **more))
    with pytest.raises(MismatchError, match="a lease outlived a jump"):
        run("clock that jumps")


def test_shedding_the_best_fails_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    backwards = capacity._LEAST_VALUABLE.replace("ORDER BY rank, value", "ORDER BY rank, value DESC")
    monkeypatch.setattr(capacity, "_LEAST_VALUABLE", backwards)
    with pytest.raises(MismatchError, match="others than the most valuable are left"):
        run("full of samples")


@pytest.mark.parametrize(
    ("journal", "message"),
    [
        (f"kept {make_sample(1).digest}", "a kept sample is lost"),
        (f"sent {make_sample(2).digest}", "a receipt is lost"),
        (f"answered {make_sample(2).digest}", "a person's answer is lost"),
    ],
)
def test_what_a_kill_has_cost_is_noticed(tmp_path: Path, journal: str, message: str) -> None:
    with contextlib.closing(SqliteOutbox(tmp_path / "outbox.sqlite")) as outbox:
        outbox.put(make_sample(2), now=1.0)
    (tmp_path / "journal").write_text(f"kept {make_sample(2).digest}\n")
    probe_outbox._check_after(tmp_path, 1)
    (tmp_path / "journal").write_text(f"{journal}\n")
    with pytest.raises(MismatchError, match=message):
        probe_outbox._check_after(tmp_path, 1)
    with contextlib.closing(SqliteOutbox(tmp_path / "outbox.sqlite")) as outbox:
        outbox.put(make_sample(99), now=1.0)
    (tmp_path / "journal").write_text("")
    with pytest.raises(MismatchError, match="a sample is there that was never put"):
        probe_outbox._check_after(tmp_path, 1)
