"""The cache of conversions: what is in it is the same as made anew, and whatever happens to it is harmless."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from converters.cache import ConversionCache


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    value: float
    name: str = "x"


class Maker:
    """Makes something, and counts how often."""

    def __init__(self, content: object) -> None:
        self.content, self.times = content, 0

    def __call__(self):
        self.times += 1
        return self.content


def entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def test_what_was_made_is_found_and_not_made_again(tmp_path):
    cache, make = ConversionCache(folder=tmp_path / "deep" / "cache"), Maker(b"model")
    assert [cache.bytes_of(["model", 1], make) for _ in range(3)] == [b"model"] * 3
    assert make.times == 1
    assert ConversionCache(folder=tmp_path / "deep" / "cache").bytes_of(["model", 1], make) == b"model"
    assert make.times == 1


def test_empty_content_is_found_too(tmp_path):
    cache, make = ConversionCache(folder=tmp_path), Maker(b"")
    assert [cache.bytes_of("nothing", make) for _ in range(2)] == [b"", b""]
    assert make.times == 1


@pytest.mark.parametrize(
    "other", [["model", 2], ["Model", 1], ["model", 1, None], ["model", "1"], ["model", Figure(value=1)]], ids=str
)
def test_another_input_is_another_key(tmp_path, other):
    cache = ConversionCache(folder=tmp_path)
    assert cache.bytes_of(["model", 1], Maker(b"one")) == b"one"
    assert cache.bytes_of(other, Maker(b"other")) == b"other"
    assert cache.bytes_of(["model", 1], Maker(b"never")) == b"one"


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes() + b"!"),
        lambda path: path.write_bytes(path.read_bytes()[:20]),
        lambda path: path.write_bytes(path.read_bytes()[:40] + b"?" + path.read_bytes()[41:]),
        lambda path: path.write_bytes(b"?" + path.read_bytes()[1:]),
        lambda path: (path.unlink(), path.mkdir()),
    ],
    ids=["empty", "cut", "longer", "shorter than a digest", "flipped", "another digest", "a folder"],
)
def test_a_damaged_entry_is_made_again(tmp_path, damage):
    cache, make = ConversionCache(folder=tmp_path), Maker(b"the model's bytes")
    cache.bytes_of("key", make)
    (path,) = entries(tmp_path)
    damage(path)
    assert cache.bytes_of("key", make) == b"the model's bytes"
    assert make.times == 2
    if path.is_file():
        assert cache.bytes_of("key", make) == b"the model's bytes"
        assert make.times == 2


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    cache, make = ConversionCache(folder=tmp_path / "file" / "cache"), Maker(b"model")
    assert [cache.bytes_of("key", make) for _ in range(2)] == [b"model", b"model"]
    assert make.times == 2
    assert (tmp_path / "file").read_text() == "in the way"


def test_no_folder_keeps_nothing():
    make = Maker(b"model")
    assert [ConversionCache().bytes_of("key", make) for _ in range(2)] == [b"model"] * 2
    assert make.times == 2


def test_an_error_of_the_maker_leaves_nothing(tmp_path):
    def fail() -> bytes:
        raise ValueError("no")

    cache = ConversionCache(folder=tmp_path)
    with pytest.raises(ValueError, match="no"):
        cache.bytes_of("key", fail)
    assert entries(tmp_path) == []
    assert cache.bytes_of("key", Maker(b"yes")) == b"yes"


def test_what_was_not_used_for_longest_goes_first(tmp_path):
    size = 32 + 100  # its digest, and the content
    cache = ConversionCache(folder=tmp_path, max_bytes=3 * size)
    paths = {}
    for place, key in enumerate("abc"):
        cache.bytes_of(key, Maker(key.encode() * 100))
        (paths[key],) = set(entries(tmp_path)) - set(paths.values())
        os.utime(paths[key], (1000 + place, 1000 + place))
    assert cache.bytes_of("a", Maker(b"never")) == b"a" * 100  # used now, so `b` is the oldest
    cache.bytes_of("d", Maker(b"d" * 100))
    assert {key for key, path in paths.items() if path.exists()} == {"a", "c"}
    assert sum(path.stat().st_size for path in entries(tmp_path)) <= cache.max_bytes


def test_what_is_larger_than_the_cache_is_given_and_not_kept(tmp_path):
    cache, make = ConversionCache(folder=tmp_path, max_bytes=50), Maker(b"x" * 100)
    assert [cache.bytes_of("key", make) for _ in range(2)] == [b"x" * 100] * 2
    assert make.times == 2
    assert entries(tmp_path) == []


def test_another_process_may_shed_at_the_same_time(tmp_path, monkeypatch):
    cache = ConversionCache(folder=tmp_path)
    gone = tmp_path / "gone"
    monkeypatch.setattr(Path, "iterdir", lambda folder: iter([gone]))
    assert cache.bytes_of("key", Maker(b"model")) == b"model"


def test_values_keep_every_bit(tmp_path):
    cache, make = ConversionCache(folder=tmp_path), Maker(Figure(value=0.1 + 0.2))
    found = [cache.value_of("key", Figure, make) for _ in range(2)]
    assert found == [Figure(value=0.30000000000000004)] * 2
    assert make.times == 1


def test_a_value_of_another_version_is_made_again(tmp_path):
    cache, make = ConversionCache(folder=tmp_path), Maker(Figure(value=2.0))
    cache.bytes_of("key", Maker(b'{"points":3}'))
    assert cache.value_of("key", Figure, make) == Figure(value=2.0)


def test_an_entry_of_another_version_is_made_again_once(tmp_path):
    from converters.types import LayerError

    cache, wanted = ConversionCache(folder=tmp_path), LayerError(layer="a", operation="CONV_2D", sqnr_db=3.0)
    cache.bytes_of("key", lambda: b'{"layer": "a"}')
    made = []

    def make() -> LayerError:
        made.append(1)
        return wanted

    assert [cache.value_of("key", LayerError, make) for _ in range(3)] == [wanted] * 3
    assert made == [1]


def test_an_entry_that_cannot_be_touched_is_used_all_the_same(tmp_path, monkeypatch):
    from pathlib import Path

    cache = ConversionCache(folder=tmp_path)
    cache.bytes_of("key", lambda: b"kept")

    def refuse(self: Path, **_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "touch", refuse)
    assert cache.bytes_of("key", lambda: b"made anew") == b"kept"
