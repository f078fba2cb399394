import json

import pytest

from edge.errors import StorageError
from edge.journal import Journal


def lines(path):
    return [json.loads(line) for line in path.read_bytes().splitlines() if line]


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
