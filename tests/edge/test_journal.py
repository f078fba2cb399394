import json
from pathlib import Path

import pytest

from edge.errors import StorageError
from edge.journal import Journal


def lines(path):
    return [json.loads(line) for line in path.read_bytes().splitlines() if line]


def test_a_failed_rotation_costs_one_line_only(tmp_path, monkeypatch):
    path = tmp_path / "predictions.jsonl"
    journal = Journal(path, max_bytes=40)
    journal.append({"n": 0, "pad": "x" * 30})
    real = Path.open

    def refuse(self, *arguments, **options):
        if self == path:
            raise OSError(28, "No space left on device")
        return real(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    for _ in range(3):
        with pytest.raises(StorageError, match="no space left"):
            journal.append({"n": 1, "pad": "x" * 30})
    monkeypatch.setattr(Path, "open", real)
    journal.append({"n": 2, "pad": "x" * 30})
    journal.append({"n": 3})
    journal.close()
    assert [line["n"] for line in lines(path)] == [3]
    assert [line["n"] for line in lines(tmp_path / "predictions.1.jsonl")] == [2]


def test_appends_across_openings(tmp_path):
    path = tmp_path / "predictions.jsonl"
    for number in range(3):
        journal = Journal(path, max_bytes=1000)
        journal.append({"n": number, "name": "größe"})
        journal.close()
    assert [line["n"] for line in lines(path)] == [0, 1, 2]


def test_a_torn_line_costs_only_itself(tmp_path):
    path = tmp_path / "predictions.jsonl"
    path.write_bytes(b'{"n":0}\n{"n":')
    journal = Journal(path, max_bytes=1000)
    journal.append({"n": 2})
    assert path.read_bytes().splitlines() == [b'{"n":0}', b'{"n":', b'{"n":2}']


def test_two_files_of_bounded_size(tmp_path):
    path, old = tmp_path / "predictions.jsonl", tmp_path / "predictions.1.jsonl"
    journal = Journal(path, max_bytes=100)
    for number in range(100):
        journal.append({"number": number})
        assert path.stat().st_size <= 100
    assert sorted(item.name for item in tmp_path.iterdir()) == [old.name, path.name]
    numbers = [line["number"] for line in lines(old) + lines(path)]
    assert numbers == list(range(numbers[0], 100))
    assert old.stat().st_size <= 100


def test_what_cannot_be_opened(tmp_path):
    (tmp_path / "predictions.jsonl").mkdir()
    with pytest.raises(StorageError, match=r"cannot write .*predictions.jsonl"):
        Journal(tmp_path / "predictions.jsonl", max_bytes=100)
