"""Starts and unclean starts, counted so that a loop of crashes shows."""

import pytest

from edge import durable
from edge.errors import StorageError
from edge.update.starts import Starts, count_start, ended_cleanly, read_starts


def test_a_proper_stop_makes_the_next_start_clean(tmp_path):
    assert count_start(tmp_path / "home") == Starts(starts=1, unclean=0, running=True)
    ended_cleanly(tmp_path / "home")
    ended_cleanly(tmp_path / "home")
    assert count_start(tmp_path / "home") == Starts(starts=2, unclean=0, running=True)


def test_every_life_without_an_end_is_counted(tmp_path):
    for _ in range(5):
        count_start(tmp_path)
    assert read_starts(tmp_path) == Starts(starts=5, unclean=4, running=True)


def test_a_home_that_never_ran(tmp_path):
    assert read_starts(tmp_path) == Starts()
    ended_cleanly(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"{", b'{"starts": "x"}', b"[]"])
def test_a_damaged_count_begins_anew(tmp_path, content):
    (tmp_path / "starts.json").write_bytes(content)
    assert count_start(tmp_path) == Starts(starts=1, unclean=0, running=True)


def test_an_end_in_the_middle_of_counting(tmp_path):
    """Before the rename the old count stands, after it the new one: never nothing."""
    count_start(tmp_path)
    for point, starts in (("update.starts:before", 1), ("update.starts:written", 1), ("update.starts:after", 2)):

        def observer(reached, point=point):
            if reached == point:
                raise KeyboardInterrupt

        durable.observe(observer)
        try:
            with pytest.raises(KeyboardInterrupt):
                count_start(tmp_path)
        finally:
            durable.observe(None)
        assert read_starts(tmp_path).starts == starts


def test_a_full_disk_is_told(tmp_path, monkeypatch):
    def full(source, target):
        raise OSError(28, "full")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(StorageError, match="no space left"):
        count_start(tmp_path)
    assert list(tmp_path.iterdir()) == []
