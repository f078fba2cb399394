"""The golden vectors of classification, attributes, matches, text and ensembles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from make_answer_vectors import vector_files

from device_tests.answers import ANSWER_VECTORS, KINDS, answer_paths, check_answer, load_answer
from device_tests.plan import MismatchError

EVERY_KIND = pytest.mark.parametrize("path", answer_paths(), ids=lambda path: path.stem)


@EVERY_KIND
def test_edge_gives_the_answer_of_the_definition(path: Path) -> None:
    check_answer(path.stem, load_answer(path))


def test_files_are_what_the_generator_makes(update_goldens: bool) -> None:
    made = vector_files()
    if update_goldens:
        for name, content in made.items():
            (ANSWER_VECTORS / name).write_bytes(content)
    assert {path.name: path.read_bytes() for path in answer_paths()} == made, "run tests/edge/make_answer_vectors.py"


def test_every_kind_is_there_answered_and_refused() -> None:
    vectors = [load_answer(path) for path in answer_paths()]
    for kind in KINDS:
        mine = [vector for vector in vectors if vector.kind == kind]
        assert any(vector.refused for vector in mine)
        assert any(vector.expected for vector in mine)
        assert all(bool(vector.refused) != bool(vector.expected) for vector in mine)


def test_a_vector_can_fail() -> None:
    vector = load_answer(ANSWER_VECTORS / "text-beam.json")
    assert vector.reading is not None
    wrong = replace(vector, reading=replace(vector.reading, confidence=vector.reading.confidence + 1e-4))
    with pytest.raises(MismatchError, match=r"x: answer.confidence is 0\.\d+, expected"):
        check_answer("x", wrong)
    with pytest.raises(MismatchError, match=r"x: answer\.text is"):
        check_answer("x", replace(vector, reading=replace(vector.reading, text="another")))
    with pytest.raises(MismatchError, match="must be refused"):
        check_answer("x", replace(vector, refused="words", reading=None))
    refused = load_answer(ANSWER_VECTORS / "text-refused-nan.json")
    with pytest.raises(MismatchError, match="refused with"):
        check_answer("x", replace(refused, refused=""))
