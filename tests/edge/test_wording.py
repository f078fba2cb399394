from __future__ import annotations

import json

import pytest
from test_annotate import classification, counts, detection, inference

from edge.types import Attribute, Attributes, Counts, Detections, Match, Matches, Outcome, Text
from edge.wording import counted, details, failure_json, percent, plain_line, prediction_json, prediction_line, summary


def matches(*, known: bool) -> Matches:
    top = (Match(label="cola", similarity=0.912), Match(label="water", similarity=0.4))
    return Matches(top=top, known=known, confidence=0.8, margin=0.5, novelty=0.1)


HEADS = Attributes(
    heads=(
        Attribute(name="colour", classification=classification("red", "blue")),
        Attribute(name="shape", classification=classification("round")),
    ),
    confidence=0.25,
)
FOUND = Detections(items=(detection((1, 2, 3, 4)), detection((5, 6, 7, 8), "dog"), detection((0, 0, 1, 1))))


@pytest.mark.parametrize(
    ("prediction", "line"),
    [
        (classification("red", "green"), "x.png: red 0.500 confirm (low_confidence, 6.0 ms)"),
        (HEADS, "x.png: red / round 0.500 confirm (low_confidence, 6.0 ms)"),
        (FOUND, "x.png: 2 x cat, 1 x dog; least sure 0.500 confirm (low_confidence, 6.0 ms)"),
        (Detections(items=()), "x.png: nothing found 0.500 confirm (low_confidence, 6.0 ms)"),
        (matches(known=True), "x.png: cola (similarity 0.91) 0.500 confirm (low_confidence, 6.0 ms)"),
        (matches(known=False), "x.png: not known, nearest cola (0.91); 0.500 confirm (low_confidence, 6.0 ms)"),
        (Text(text="LOT 4", confidence=0.9), 'x.png: "LOT 4" 0.500 confirm (low_confidence, 6.0 ms)'),
        (
            Text(text="LOT 4", confidence=0.9, in_lexicon=False),
            'x.png: "LOT 4" 90%, not in the lexicon; 0.500 confirm (low_confidence, 6.0 ms)',
        ),
        (counts(Outcome.ACCEPT), "x.png: 1 x cola; least sure 0.500 confirm (low_confidence, 6.0 ms)"),
        (counts(Outcome.UNKNOWN), "x.png: 1 x unknown; least sure 0.500 confirm (low_confidence, 6.0 ms)"),
    ],
)
def test_a_line_for_every_kind(prediction, line):
    assert prediction_line("x.png", inference(prediction)) == line


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, "0%"), (0.004, "<1%"), (0.006, "1%"), (0.5, "50%"), (0.996, "99%"), (1.0, "100%")],
)
def test_only_what_is_certain_is_0_or_100_percent(share, text):
    assert percent(share) == text


CONTRACT = {
    "success",
    "predicted_class",
    "confidence",
    "probabilities",
    "detections",
    "counts",
    "processing_time_ms",
    "model_version",
    "error_message",
}


@pytest.mark.parametrize(
    ("prediction", "expected"),
    [
        (classification("red", "green"), {"predicted_class": "red", "probabilities": {"red": 0.5, "green": 0.25}}),
        (
            HEADS,
            {
                "predicted_class": "red / round",
                "attributes": {"colour": {"red": 0.5, "blue": 0.25}, "shape": {"round": 0.5}},
            },
        ),
        (matches(known=True), {"predicted_class": "cola", "similarities": {"cola": 0.912, "water": 0.4}}),
        (Text(text="LOT 4", confidence=0.9), {"predicted_class": "LOT 4", "text": "LOT 4"}),
        (Detections(items=()), {"predicted_class": "", "detections": [], "counts": {}}),
        (FOUND, {"counts": {"cat": 2, "dog": 1}}),
        (counts(Outcome.UNKNOWN), {"counts": {"unknown": 1}}),
    ],
)
def test_json_for_every_kind(prediction, expected):
    value = prediction_json("x.png", inference(prediction), model_version="shelf 3")
    assert set(value) >= CONTRACT
    assert {key: value[key] for key in expected} == expected
    assert (value["success"], value["error_message"], value["model_version"]) == (True, "", "shelf 3")
    assert json.loads(json.dumps(value)) == value


def test_boxes_in_json():
    value = prediction_json("x.png", inference(FOUND))
    assert value["detections"][1] == {"label": "dog", "confidence": 0.7, "box": [5, 6, 7, 8]}
    item = prediction_json("x.png", inference(counts(Outcome.CONFIRM)))["detections"][0]
    assert (item["predicted_class"], item["outcome"]) == ("cola", "confirm")
    assert item["answers"] == [{"predicted_class": "cola", "confidence": 0.8}]


def test_a_failure_follows_the_same_contract():
    value = failure_json("x.png", "x.png: the file is empty", model_version="shelf 3")
    assert set(value) >= CONTRACT
    assert (value["success"], value["error_message"]) == (False, "x.png: the file is empty")


def test_counts_and_details():
    assert counted(classification("red")) == ()
    assert counted(Counts(items=(), by_label=(("b", 2), ("", 1)))) == (("b", 2), ("unknown", 1))
    assert summary(FOUND) == "2 x cat, 1 x dog"
    assert details(classification("red", "green", "blue")) == ("green 25%", "blue 17%")
    assert details(matches(known=True)) == ("cola, similarity 0.91", "water, similarity 0.40")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain", "plain"),
        ("größe", "größe"),
        (" a\r\n\tb\u2028c ", "a b c"),
        ("\x1b[31mred\x00", "[31mred"),
        ("left\u202eright", "left right"),
        ("\ud800", ""),
        ("x" * 11, "x" * 9 + "…"),
        ("x" * 10, "x" * 10),
    ],
)
def test_a_strangers_words_are_one_line(text: str, line: str) -> None:
    assert plain_line(text, most=10) == line
