"""The small pure parts of the console: the key, the chart, the figures, how long ago."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloud_train.api.asked import read_after, write_after
from cloud_train.api.chart import HEIGHT, WIDTH, hour_chart
from cloud_train.api.moments import ago, when
from cloud_train.api.rendering import environment, size
from cloud_train.api.session_key import session_key
from cloud_train.store.device_rows import After, DeviceHour, Sort
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
