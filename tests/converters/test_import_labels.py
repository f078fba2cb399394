from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters.foreign.labels import fit_labels, label_counts, read_label_file, with_background
from edge.errors import FormatError


def read(text: str):
    return read_label_file(text.encode(), name="labels.txt")


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("cat\ndog\n", ("cat", "dog")),
        ("\ufeffcat\r\ndog\r\n\r\n", ("cat", "dog")),
        ("cat\n\ndog", ("cat", "", "dog")),
        ("cat\n???\ndog\nn/a", ("cat", "", "dog", "")),
        ("  sweet \t pepper  \ndog", ("sweet pepper", "dog")),
        ("0 cat\n1 dog", ("cat", "dog")),
        ("0: cat\n2: dog", ("cat", "", "dog")),
        ("1 cat\n2 dog\n4 owl", ("cat", "dog", "", "owl")),
        ("2, dog\n1, cat\n0, ???", ("", "cat", "dog")),
        # Coins, not a table of numbers.
        ("1 euro\n2 euro", ("1 euro", "2 euro")),
        ("7 up", ("7 up",)),
    ],
)
def test_label_files_of_all_sorts(text, lines):
    assert read(text).lines == lines


def test_as_many_lines_as_classes_are_taken_as_they_stand():
    labels = fit_labels(read("cat\n???\ndog"), 3)
    assert labels.names == ("cat", "unused 1", "dog")
    assert labels.notes == ("1 classes without a name are called 'unused' and their number",)


@pytest.mark.parametrize(
    ("text", "num", "names"),
    [
        ("cat\n???\ndog", 2, ("cat", "dog")),
        ("background\ncat\n???\ndog", 2, ("cat", "dog")),
        ("background\ncat\n???\ndog", 3, ("background", "cat", "dog")),
        ("cat\n???\ndog", None, ("cat", "unused 1", "dog")),
    ],
)
def test_holes_and_background_go_where_the_model_has_no_class_for_them(text, num, names):
    file = read(text)
    assert fit_labels(file, num).names == names
    assert num is None or num in label_counts(file)


def test_equal_names_are_told_apart_by_their_class_numbers():
    labels = fit_labels(read("crane\nowl\ncrane"), 3)
    assert labels.names == ("crane (0)", "owl", "crane (2)")
    assert labels.notes == ("label 'crane' stands for 2 classes: their numbers were added to it",)


def test_a_background_that_the_labels_leave_out():
    with pytest.raises(FormatError, match="2 labels for the 3 classes") as caught:
        fit_labels(read("cat\ndog"), 3)
    assert "--background" in caught.value.hint
    assert fit_labels(with_background(read("cat\ndog")), 3).names == ("background", "cat", "dog")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "labels.txt: holds no labels"),
        (b"\n\n???\n", "labels.txt: holds no labels"),
        (b"\xff\xfe\x00", "labels.txt: not UTF-8 text"),
        (b"cat\nd\x07og\n", "line 2 is not printable: 'd\\x07og'"),
        (b"0 cat\n0 dog\n", "class number 0 stands 2 times"),
        (b"0 cat\n99999 dog\n", "class number 99999 is far beyond the 2 lines"),
        (b"x" * 4_000_001, "larger than 4000000 bytes"),
    ],
)
def test_bad_label_files(data, message):
    with pytest.raises(FormatError, match=re.escape(message)):
        read_label_file(data, name="labels.txt")


def test_a_name_that_clashes_with_a_number_that_was_added():
    with pytest.raises(FormatError, match=re.escape("label 'owl (0)' stands for two classes")):
        fit_labels(read("owl\nowl\nowl (0)"), 3)


@given(st.lists(st.text(max_size=8), min_size=1, max_size=30))
def test_whatever_is_accepted_can_stand_in_a_manifest(lines):
    try:
        names = fit_labels(read("\n".join(lines)), None).names
    except FormatError:
        return
    assert len(set(names)) == len(names)
    assert all(name.strip() and name.isprintable() for name in names)
