"""The small pure parts of the console: the key, the chart, the figures, how long ago."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.fleet_store import NEW, OLD, OLDER, fill_fleet
from cloud_train.api.asked import read_after, write_after
from cloud_train.api.chart import HEIGHT, WIDTH, hour_chart
from cloud_train.api.count_desk import CountDesk
from cloud_train.api.drift_desk import MOST_DEVICES, DriftDesk, drift_sides, some_devices
from cloud_train.api.moments import age, ago, when
from cloud_train.api.rendering import environment, size
from cloud_train.api.session_key import session_key
from cloud_train.fleet.expected import Expected
from cloud_train.store.database import open_database
from cloud_train.store.device_list import DeviceList
from cloud_train.store.device_rows import After, DeviceHour, Sort
from cloud_train.store.hours import SqlHourStore
from edge.errors import UsageError


def test_the_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    first = session_key(tmp_path / "store")
    assert len(first) == 64
    assert session_key(tmp_path / "store") == first
    assert (tmp_path / "store" / "console.key").stat().st_mode & 0o777 == 0o600
    assert session_key(tmp_path / "other") != first
    assert session_key(tmp_path / "other", tmp_path / "store" / "console.key") == first


def test_a_key_that_is_none_is_refused_without_being_told(tmp_path: Path) -> None:
    (tmp_path / "short").write_text("short-secret")
    with pytest.raises(UsageError, match="12 bytes") as error:
        session_key(tmp_path, tmp_path / "short")
    assert "short-secret" not in str(error.value)
    with pytest.raises(UsageError, match="cannot read"):
        session_key(tmp_path, tmp_path / "none")


def hour(number: int, frames: int, *, failed: int = 0, bundle: str = "a") -> DeviceHour:
    counts = {"accepted": frames, "confirmed": 0, "unknown": 0, "failed": failed, "unclean_starts": 0}
    return DeviceHour(hour=number, bundle_digest=bundle, frames=frames, **counts)


def test_bars_stand_on_the_ground_within_the_drawing() -> None:
    hours = [hour(100, 10), hour(100, 5, bundle="b"), hour(101, 0), hour(147, 3, failed=1), hour(50, 999)]
    chart = hour_chart(hours, last=147, num_hours=48)
    assert [bar.title.split(": ")[1] for bar in chart.bars] == ["15 accepted", "3 accepted, 1 failed"]
    assert chart.bars[0].pieces[0].height == pytest.approx(5 * chart.bars[1].pieces[0].height, abs=0.1)
    for bar in chart.bars:
        assert 0 <= bar.x < bar.x + bar.width <= WIDTH
        assert all(0 <= piece.y <= piece.y + piece.height <= HEIGHT for piece in bar.pieces)


def test_no_hours_are_no_bars() -> None:
    assert hour_chart([], last=10, num_hours=48).bars == ()


def test_moments_and_sizes_as_people_read_them() -> None:
    words = [ago(1000.0 - age, 1000.0) for age in (0, 59, 60, 7200, 86_400, -30, -100)]
    expected = ["just now", "just now", "1 minute ago", "2 hours ago", "1 day ago", "just now", "in the future"]
    assert words == expected
    assert when(0.0) == "1970-01-01 00:00:00 UTC"
    assert when(1e300) == when(0.0)
    assert [size(number) for number in (0, 999, 1000, 2_500_000)] == ["0 B", "999 B", "1.0 kB", "2.5 MB"]


@pytest.mark.parametrize(("sort", "value"), [(Sort.NAME, "kiosk-é"), (Sort.OUTBOX, 7), (Sort.LAST_SEEN_DOWN, 1.5)])
def test_a_place_in_a_list_comes_back_as_it_was(sort: Sort, value: str | float) -> None:
    after = After(value=value, device_id="kiosk-é")
    assert read_after(write_after(after), sort) == after
    assert read_after("", sort) is None


def test_templates_escape_by_themselves() -> None:
    assert environment().from_string("{{ text }}").render(text="<b>") == "&lt;b&gt;"


def test_ages_of_counts() -> None:
    assert [age(1000.0 - seconds, 1000.0) for seconds in (0, 5, 119, 120, 3600, -5)] == [
        "0 s ago",
        "5 s ago",
        "119 s ago",
        "2 min ago",
        "60 min ago",
        "0 s ago",
    ]


def test_of_many_devices_always_the_same_few() -> None:
    names = [f"kiosk-{number}" for number in range(1000)]
    some = some_devices(names, most=100)
    assert len(set(some)) == 100
    assert set(some_devices(names[::-1], most=100)) == set(some)
    assert len(set(some_devices(names[:500], most=100)) & set(some)) > 30
    assert some_devices(names[:3], most=100) == tuple(names[:3])


def test_drift_is_held_against_the_proof_of_each_bundle(tmp_path: Path) -> None:
    now, asked = 1_800_000_000.0, []
    database = open_database(tmp_path / "meta.sqlite")
    fill_fleet(database, devices=400, with_hours=400, hours=24, now=now)

    def find_expected(channel: str, bundle_digest: str) -> Expected:
        asked.append((channel, bundle_digest))
        return Expected(classes={"red": 500.0, "blue": 500.0}, source="the validation pictures")

    devices = DeviceList(database, silent_after_s=900.0)
    counts = CountDesk(devices, in_background=lambda work: None)
    hours = SqlHourStore(database)
    desk = DriftDesk(devices, counts, hours, find_expected, channel="other", in_background=lambda work: None)
    reports = {one.bundle_digest: one for one in desk.reports(now=now).value}
    database.close()
    assert asked == [("stable", OLD), ("stable", NEW), ("stable", OLDER)]
    words = {digest: [(side.by, side.drift.mark.value) for side in drift_sides(one)] for digest, one in reports.items()}
    assert words == {OLD: [("classes", "same")], NEW: [("classes", "moved")], OLDER: [("classes", "too few")]}
    runs = {one.bundle_digest: one.devices for one in counts.fleet(now=now).value.bundles}
    assert 0 < reports[OLD].devices <= MOST_DEVICES < runs[OLD]
