"""Hours in which the road may be used."""

from __future__ import annotations

import pytest

from edge.errors import UsageError
from edge.sync.windows import may_sync, parse_windows


@pytest.mark.parametrize(
    ("text", "minute", "expected"),
    [
        ("", 0, True),
        ("22:00-06:00", 21 * 60 + 59.9, False),
        ("22:00-06:00", 22 * 60, True),
        ("22:00-06:00", 0, True),
        ("22:00-06:00", 5 * 60 + 59.9, True),
        ("22:00-06:00", 6 * 60, False),
        ("12:30-13:30", 12 * 60 + 29, False),
        ("12:30-13:30", 13 * 60, True),
        ("12:30-13:30", 13 * 60 + 30, False),
        ("20:00-24:00", 23 * 60 + 59, True),
        ("20:00-24:00", 0, False),
        ("1:00-2:00, 22:00-06:00", 90, True),
        ("1:00-2:00 , 3:00 - 4:00,", 190, True),
        ("1:00-2:00,3:00-4:00", 150, False),
    ],
)
def test_windows_open_and_close(text: str, minute: float, expected: bool) -> None:
    assert may_sync(parse_windows(text), minute) is expected


@pytest.mark.parametrize(
    "text", ["22-6", "22:00", "24:00-06:00", "22:60-06:00", "22:00-24:01", "at night", "22:00-06:00;1:00-2:00"]
)
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"is no span of the day \(write it as 22:00-06:00\)"):
        parse_windows(text)


def test_a_span_without_time_is_refused() -> None:
    with pytest.raises(UsageError, match="lasts no time"):
        parse_windows("6:00-6:00")
