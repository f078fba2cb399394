"""A statistics.json of format version 1 is understood for ever, and written the same way."""

from __future__ import annotations

from pathlib import Path

from edge.hours_file import HoursFile, read_hours
from edge.telemetry import Telemetry

FILE = Path(__file__).resolve().parent / "statistics_v1.json"
NOW = 472_224 * 3600.0


def test_a_file_of_version_1_is_read() -> None:
    first, second = read_hours(FILE).hours
    assert (first.bundle_digest, first.hour, first.run) == ("a" * 64, 472_222, "0123abcd")
    assert (first.frames, first.accepted, first.confirmed, first.unknown) == (40, 30, 6, 4)
    assert (first.failed, first.kept, first.outbox_depth) == (1, 9, 12)
    assert {place: number for place, number in enumerate(first.confidence) if number} == {10: 4, 11: 6, 19: 30}
    assert first.classes == {"tea": 32, "mug": 6, "": 2}
    assert (first.latency_p50_ms, first.latency_p90_ms, first.latency_p99_ms) == (18.2, 25.7, 41.0)
    assert (second.bundle_digest, second.run, second.classes) == ("b" * 64, "89abcdef", {"Früchtetee": 2})


def test_it_is_written_as_it_was(tmp_path: Path) -> None:
    telemetry = Telemetry(run="ffffffff", clock=lambda: NOW)
    telemetry.restore(read_hours(FILE).hours)
    file = HoursFile(tmp_path / "statistics.json", telemetry, say=lambda line: None, clock=lambda: NOW)
    file.step(last=True)
    assert (tmp_path / "statistics.json").read_bytes() == FILE.read_bytes()
