from __future__ import annotations

import math

import numpy as np
import pytest
import reference_answers as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.bundle.manifest import OutputKind, OutputSpec, TextSpec
from edge.errors import BackendError, FormatError
from edge.postprocess import lexicon as lexicon_module
from edge.postprocess.ctc import beam_readings, greedy_reading, log_probability
from edge.postprocess.text import Lexicon, read_lexicon, read_text
from edge.types import RawOutputs, Text

SPEC = OutputSpec(name="steps", kind=OutputKind.STEPS, shape=(1, 4, 3))


def raw(steps: list[list[float]]) -> RawOutputs:
    return RawOutputs(by_name={"steps": np.array([steps], dtype=np.float32)})


def words(*items: str) -> Lexicon:
    return read_lexicon("words.txt", "\n".join(items).encode())


def read(
    steps: list[list[float]], charset: str, lexicon: Lexicon | None = None, temperature: float = 1.0, **changes: object
) -> Text:
    shape = (1, len(steps), len(charset) + 1)
    output = OutputSpec(name="steps", kind=OutputKind.STEPS, shape=shape, temperature=temperature)
    named = {"lexicon": "words.txt"} if lexicon else {}
    return read_text(raw(steps), output, TextSpec(charset=charset, **named, **changes), lexicon)


def spelled(path: str, charset: str, *, blank: int = 0, sure: float = 6.0) -> list[list[float]]:
    """Steps that spell a path, `_` for the blank."""
    alphabet = [*charset[:blank], "_", *charset[blank:]]
    return [[sure if char == want else 0.0 for char in alphabet] for want in path]


@pytest.mark.parametrize(
    ("path", "text"),
    [("aab_b", "abb"), ("_____", ""), ("a_a_a", "aaa"), ("aaaaa", "a"), ("_ab__", "ab"), ("abab_", "abab")],
)
@pytest.mark.parametrize("blank", [0, 1, 2])
@pytest.mark.parametrize("width", [1, 2, 10])
def test_repetitions_are_joined_and_blanks_dropped(path: str, text: str, blank: int, width: int) -> None:
    found = read(spelled(path, "ab", blank=blank), "ab", blank=blank, beam_width=width)
    assert found.text == text
    assert found.confidence > 0.9
    assert found.in_lexicon
    assert found.headline.label == text


def test_the_beam_sums_what_the_best_path_cannot_see() -> None:
    # Each step: blank 0.6, a 0.4. Best path: nothing (0.36). But `a` has three alignments: 0.16 + 0.24 + 0.24.
    steps = [[math.log(0.6), math.log(0.4)]] * 2
    greedy, beam = read(steps, "a"), read(steps, "a", beam_width=2)
    assert (greedy.text, beam.text) == ("", "a")
    assert greedy.confidence == pytest.approx(0.36)
    assert beam.confidence == pytest.approx(0.64)
    assert beam.margin == pytest.approx(0.28)
    assert greedy.margin == 1.0


def test_greedy_and_beam_agree_on_the_confidence_of_a_text() -> None:
    steps = spelled("aab_b", "ab", sure=2.0)
    found = {read(steps, "ab", beam_width=width).confidence for width in (1, 2, 3, 50)}
    assert max(found) == pytest.approx(min(found), rel=1e-12)


def test_temperature_flattens() -> None:
    steps = spelled("ab", "ab")
    assert read(steps, "ab", temperature=4.0).confidence < read(steps, "ab").confidence


def test_log_probabilities_are_taken_as_they_are() -> None:
    steps = [[math.log(0.7), math.log(0.2), math.log(0.1)]] * 3
    shifted = [[value + 5 for value in step] for step in steps]
    assert read(steps, "ab", beam_width=9).confidence == pytest.approx(read(shifted, "ab", beam_width=9).confidence)


@pytest.mark.parametrize("shape", [(4, 3), (1, 4, 3), (4, 1, 3), (1, 4, 1, 3)])
def test_shapes_that_hold_steps(shape: tuple[int, ...]) -> None:
    steps = np.array(spelled("a_ab", "ab"), dtype=np.float32).reshape(shape)
    assert read_text(RawOutputs(by_name={"steps": steps}), SPEC, TextSpec(charset="ab"), None).text == "aab"


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((1, 4, 4)), r"output 'steps' has shape \[1, 4, 4\], expected steps of 3 classes \(the classes are"),
        (np.zeros((1, 3, 4)), r"output 'steps' has shape \[1, 3, 4\], expected steps of 3 classes"),
        (np.zeros((2, 4, 3)), r"output 'steps' has shape \[2, 4, 3\], expected steps of 3 classes"),
        (np.zeros((1, 0, 3)), r"output 'steps' has shape \[1, 0, 3\], expected steps of 3 classes"),
        (np.zeros(3), r"output 'steps' has shape \[3\], expected steps of 3 classes"),
        (np.zeros((1, 4097, 3)), "output 'steps' has 4097 steps, at most 4096 are read"),
        (np.full((1, 4, 3), np.nan), "output 'steps' holds NaN or infinity"),
        (np.full((1, 4, 3), -np.inf), "output 'steps' holds NaN or infinity"),
    ],
)
def test_bad_steps_are_refused(array: np.ndarray, message: str) -> None:
    with pytest.raises(BackendError, match=message):
        read_text(RawOutputs(by_name={"steps": array.astype(np.float32)}), SPEC, TextSpec(charset="ab"), None)


def test_missing_output_and_missing_lexicon() -> None:
    with pytest.raises(BackendError, match="output 'steps' is missing, the model gives none"):
        read_text(RawOutputs(by_name={}), SPEC, TextSpec(charset="ab"), None)
    spec = TextSpec(charset="ab", beam_width=2, lexicon="words.txt", lexicon_only=True)
    with pytest.raises(BackendError, match="lexicon_only needs a lexicon"):
        read_text(raw([[0, 0, 0]]), SPEC, spec, None)


def test_a_lexicon_only_tells() -> None:
    steps = spelled("ab", "ab")
    assert read(steps, "ab", words("ab", "ba")).in_lexicon
    assert not read(steps, "ab", words("ba", "abb", "a")).in_lexicon
    assert read(steps, "ab", words("ba"), beam_width=5).text == "ab"


def test_only_words_are_read() -> None:
    steps = spelled("ab", "ab")
    found = read(steps, "ab", words("ba", "aa"), beam_width=5, lexicon_only=True)
    assert found.text in ("ba", "aa")
    assert found.in_lexicon
    # The picture says `ab`: the nearest word is named, but not believed.
    assert found.confidence < 0.01


def test_words_that_do_not_fit_or_cannot_be_spelled() -> None:
    one = spelled("a", "ab")
    nothing = read(one, "ab", words("abab"), beam_width=5, lexicon_only=True)
    assert nothing == Text(text="", confidence=0.0, margin=0.0, in_lexicon=False)
    assert read(one, "ab", words("xyz", "b"), beam_width=5, lexicon_only=True).text == "b"
    assert read(one, "ab", words("xyz"), beam_width=5, lexicon_only=True).confidence == 0.0


def test_one_word_has_no_second() -> None:
    assert read(spelled("ab", "ab"), "ab", words("ab"), beam_width=5, lexicon_only=True).margin == 1.0


def test_a_narrow_beam_does_not_end_with_beginnings_only() -> None:
    # Beginnings of long words crowd out the one short word that fits, were complete words not kept beside them.
    lexicon = words("ac", *(f"ab{letter}{letter}{letter}{letter}" for letter in "abcd"))
    steps = [[0, 9, 0, 0, 0], [0, 0, 9, 0, 0], [0, 0, 9, 0, 0]]
    found = read([[float(value) for value in step] for step in steps], "abcd", lexicon, beam_width=2, lexicon_only=True)
    assert found.text == "ac"


def test_ties_are_the_same_every_time() -> None:
    flat = [[0.0] * 5] * 6
    found = [read(flat, "abcd", beam_width=7) for _ in range(3)]
    assert found[0] == found[1] == found[2]
    assert read([[0.0, 1.0, 1.0]], "ba", beam_width=3).text == "a"
    assert read([[0.0, 1.0, 1.0]], "ba").text == "b"


def test_extreme_logits_do_not_overflow() -> None:
    steps = [[3e38, -3e38, 0.0], [-3e38, 3e38, 0.0], [0.0, 0.0, 0.0]]
    with np.errstate(all="raise", under="ignore"):
        for width in (1, 4):
            found = read(steps, "ab", beam_width=width)
            assert 0 <= found.confidence <= 1
            assert found.text.startswith("a")


def test_the_longest_output() -> None:
    steps = np.zeros((1, 4096, 3), dtype=np.float32)
    steps[0, ::2, 0] = 9
    steps[0, 1::2, 1] = 9
    found = read_text(RawOutputs(by_name={"steps": steps}), SPEC, TextSpec(charset="ab"), None)
    assert found.text == "a" * 2048
    assert 0.3 < found.confidence < 0.8


CASES = st.integers(1, 3).flatmap(
    lambda letters: st.tuples(
        st.lists(
            st.lists(st.floats(-4, 4, width=32), min_size=letters + 1, max_size=letters + 1), min_size=1, max_size=5
        ),
        st.integers(0, letters),
    )
)


@given(case=CASES)
@settings(max_examples=150, deadline=None)
def test_beam_equals_all_alignments_one_by_one(case: tuple[list[list[float]], int]) -> None:
    steps, blank = case
    charset = "abc"[: len(steps[0]) - 1]
    found = read(steps, charset, blank=blank, beam_width=1000)
    expected = reference.text(steps, charset, blank)
    assert found.confidence == pytest.approx(expected["confidence"], rel=1e-9)
    assert found.margin == pytest.approx(expected["margin"], abs=1e-9)
    greedy = read(steps, charset, blank=blank)
    wanted = reference.text(steps, charset, blank, greedy=True)
    assert greedy.text == wanted["text"]
    assert greedy.confidence == pytest.approx(wanted["confidence"], rel=1e-9)
    assert greedy.confidence <= found.confidence + 1e-12


@given(case=CASES, listed=st.sets(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=6))
@settings(max_examples=150, deadline=None)
def test_lexicon_beam_equals_the_best_word(case: tuple[list[list[float]], int], listed: set[str]) -> None:
    steps, blank = case
    charset = "abc"[: len(steps[0]) - 1]
    found = read(steps, charset, words(*listed), blank=blank, beam_width=1000, lexicon_only=True)
    expected = reference.text(steps, charset, blank, words=sorted(listed), words_only=True)
    assert found.confidence == pytest.approx(expected["confidence"], rel=1e-9)
    assert found.margin == pytest.approx(expected["margin"], abs=1e-9)
    assert found.in_lexicon == expected["in_lexicon"]


@given(case=CASES, width=st.integers(2, 6))
@settings(max_examples=100, deadline=None)
def test_a_narrow_beam_never_claims_more_than_the_truth(case: tuple[list[list[float]], int], width: int) -> None:
    steps, blank = case
    charset = "abc"[: len(steps[0]) - 1]
    found = read(steps, charset, blank=blank, beam_width=width)
    chances = {
        reference.spell(reading, charset, blank): chance
        for reading, chance in reference.all_readings(reference.step_probabilities(steps), blank).items()
    }
    assert found.confidence == pytest.approx(chances[found.text], rel=1e-9)
    assert 0 <= found.margin <= 1


@pytest.mark.parametrize(
    ("logits", "width"),
    [
        ("4 -6 4  -3 1 2  1 -3 3  5 2 2  -7 2 -6  -1 -7 1  0 3 -2  -2 2 1  -5 1 -3  3 -1 -3", 5),
        ("1 1 0  0 1 1  -1 0 0  -1 0 0  0 -1 2  0 0 0  -1 1 1  -1 0 -1  -1 1 -1  0 0 0", 5),
    ],
)
def test_a_prefix_that_comes_back_is_the_same_prefix(logits: str, width: int) -> None:
    # Here one falls out of the beam and returns while a longer one that begins with it stayed.
    steps = np.array(logits.split(), dtype=np.float64).reshape(-1, 3)
    readings = beam_readings(steps - np.log(np.exp(steps).sum(axis=1, keepdims=True)), 0, width)
    assert len(readings) == width
    assert len(set(readings)) == width


@given(case=CASES)
@settings(max_examples=60, deadline=None)
def test_probabilities_of_all_readings_sum_to_one(case: tuple[list[list[float]], int]) -> None:
    steps, blank = case
    logs = np.log(np.array(reference.step_probabilities(steps)))
    readings = beam_readings(logs, blank, 2000)
    assert len(set(readings)) == len(readings)
    assert greedy_reading(logs, blank) in readings
    assert sum(math.exp(log_probability(logs, reading, blank)) for reading in readings) == pytest.approx(1)


@given(case=CASES)
@settings(max_examples=60, deadline=None)
def test_the_two_definitions_of_a_readings_probability_agree(case: tuple[list[list[float]], int]) -> None:
    steps, blank = case
    probabilities = reference.step_probabilities(steps)
    for reading, chance in reference.all_readings(probabilities, blank).items():
        assert reference.reading_probability(probabilities, reading, blank) == pytest.approx(chance, rel=1e-9)


def test_a_reading_longer_than_the_steps_is_impossible() -> None:
    logs = np.log(np.full((2, 3), 1 / 3))
    assert log_probability(logs, (1, 2, 1), 0) == -math.inf
    assert log_probability(logs, (1, 1), 0) == -math.inf
    assert log_probability(logs, (1, 2), 0) == pytest.approx(math.log(1 / 9))


def test_lexicon_lines() -> None:
    lexicon = read_lexicon("w.txt", "b\r\na\n\nb\ncrème brûlée\n12-A\n".encode())
    assert lexicon.words == ("12-A", "a", "b", "crème brûlée")
    assert "a" in lexicon
    assert "crème" not in lexicon
    assert "zz" not in lexicon


@given(st.sets(st.text("abü😀", min_size=1, max_size=5), min_size=1, max_size=30))
@settings(max_examples=80, deadline=None)
def test_lexicon_is_a_prefix_tree(listed: set[str]) -> None:
    lexicon = words(*listed)
    found, open_spans = set(), [("", lexicon.root)]
    while open_spans:
        prefix, span = open_spans.pop()
        if lexicon.is_word(span):
            found.add(prefix)
        open_spans += [(prefix + char, child) for char, child in lexicon.children(span).items()]
    assert found == listed


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "w.txt: holds no word"),
        (b"\n\r\n\n", "w.txt: holds no word"),
        (b"good\n\xff\xfe\n", "w.txt: line 2 is not UTF-8"),
        (b"good\n two\n", r"w.txt: line 2 is no word, found ' two'"),
        (b"good\ntwo \n", r"w.txt: line 2 is no word, found 'two '"),
        (b"good\nt\two\n", r"w.txt: line 2 is no word, found 't\\two'"),
        (b"\xef\xbb\xbfgood\n", r"w.txt: line 1 is no word, found '\\ufeffgood'"),
        (b"good\n" + b"x" * 1001, "w.txt: line 2 is no word, found 'xxxx"),
        (b"nul\0\n", r"w.txt: line 1 is no word"),
    ],
)
def test_bad_lexicon_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        read_lexicon("w.txt", data)


def test_a_lexicon_that_is_too_large_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lexicon_module, "MAX_BYTES", 10)
    with pytest.raises(FormatError, match=r"w.txt: 11 bytes, at most 10 are read"):
        read_lexicon("w.txt", b"abcdefghijk")


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_words_or_an_error(data: bytes) -> None:
    lexicon, message = None, ""
    try:
        lexicon = read_lexicon("w.txt", data)
    except FormatError as error:
        message = str(error)
    if lexicon is None:
        assert message.startswith("w.txt: ")
        assert "\n" not in message
    else:
        assert all(word in lexicon for word in lexicon.words)
