"""Label files of foreign models: one name a line, or a number and a name; holes are filled, names made unique."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from edge.errors import FormatError

MAX_BYTES = 4_000_000
BACKGROUND = "background"
_HOLES = frozenset({"", "???", "n/a", "na", "-", "_", "unused"})
_BACKGROUNDS = frozenset({"background", "__background__", "_background_"})
_NUMBERED = re.compile(r"^(\d{1,6})(?:\s*[:,]\s*|\s+)(\S.*)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelFile:
    """What a label file says.

    Attributes:
        name: Of the file, for errors.
        lines: One name for each class in the model's order, stripped; a hole is empty.
        numbered: Whether the lines carried their class numbers.
    """

    name: str
    lines: tuple[str, ...]
    numbered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """Class names that fit a model.

    Attributes:
        names: Printable, all different, in the order of the model's classes.
        notes: What was done to get there, one line each, for people.
    """

    names: tuple[str, ...]
    notes: tuple[str, ...] = ()


def read_label_file(data: bytes, *, name: str) -> LabelFile:
    """Reads the bytes of a label file.

    A file whose lines all begin with a number (`17 cat`, `17: cat`) is a table of class numbers; numbers that are left
    out are holes, and a table that starts at 1 is moved down to 0. In any other file the line is the class; an empty
    line in the middle, `???` and `n/a` are holes.

    Args:
        data: UTF-8, at most 4 MB.
        name: Of the file, for errors.

    Raises:
        FormatError: Not text, empty, unprintable, or a number stands twice; names the line.
    """
    lines = _text_lines(data, name)
    rows = _numbered_rows(lines)
    if rows:
        return LabelFile(name=name, lines=_table(rows, name), numbered=True)
    return LabelFile(name=name, lines=tuple("" if _is_hole(line) else line for line in lines))


def fit_labels(file: LabelFile, num_classes: int | None) -> Labels:
    """Makes the names fit the number of classes that the model knows.

    As many lines as classes are taken as they stand, holes as `unused 11`. If the file has more, its holes and its
    background line are left out, where that makes the number right. If the model has exactly one class more, that is
    an untold first one only when the caller adds it (`with_background`).

    Args:
        file: From `read_label_file`.
        num_classes: How many classes the model's outputs have room for; None where the outputs do not tell.

    Raises:
        FormatError: The numbers do not fit; says both.
    """
    if num_classes is None or len(file.lines) == num_classes:
        return _unique(file.lines, ())
    filled = tuple(line for line in file.lines if line)
    plain = tuple(line for line in filled if line.lower() not in _BACKGROUNDS)
    for kept, what in ((filled, "holes"), (plain, "holes and the background")):
        if len(kept) == num_classes:
            left_out = len(file.lines) - len(kept)
            return _unique(kept, (f"{file.name}: {left_out} lines ({what}) stand for no class of the model",))
    raise _misfit(file, num_classes)


def label_counts(file: LabelFile) -> tuple[int, ...]:
    """Numbers of classes that a label file may stand for (`fit_labels`), likeliest first."""
    filled = [line for line in file.lines if line]
    plain = [line for line in filled if line.lower() not in _BACKGROUNDS]
    return tuple(dict.fromkeys((len(file.lines), len(filled), len(plain))))


def with_background(file: LabelFile) -> LabelFile:
    """The same labels behind a first one for the background."""
    return LabelFile(name=file.name, lines=(BACKGROUND, *file.lines), numbered=file.numbered)


def _text_lines(data: bytes, name: str) -> list[str]:
    if len(data) > MAX_BYTES:
        raise FormatError(f"{name}: larger than {MAX_BYTES} bytes, that is no label file")
    try:
        lines = [" ".join(line.split()) for line in data.decode("utf-8-sig").splitlines()]
    except UnicodeDecodeError as cause:
        raise FormatError(f"{name}: not UTF-8 text", hint="save the labels as UTF-8, one a line") from cause
    while lines and not lines[-1]:
        lines.pop()
    if not any(not _is_hole(line) for line in lines):
        raise FormatError(f"{name}: holds no labels", hint="one name a line, in the order of the model's classes")
    for number, line in enumerate(lines, start=1):
        if not line.isprintable():
            raise FormatError(f"{name}: line {number} is not printable: {line[:50]!r}")
    return lines


def _numbered_rows(lines: Sequence[str]) -> list[tuple[int, str]]:
    """Numbers and names, where every line has both; coins called `1 euro` and `2 euro` are not numbered."""
    matches = [_NUMBERED.match(line) for line in lines if line]
    rows = [(int(match[1]), match[2].strip()) for match in matches if match]
    names = [label for _, label in rows if not _is_hole(label)]
    return rows if len(rows) == len(matches) > 1 and len(set(names)) == len(names) else []


def _table(rows: Sequence[tuple[int, str]], name: str) -> tuple[str, ...]:
    for number, count in Counter(number for number, _ in rows).items():
        if count > 1:
            raise FormatError(f"{name}: class number {number} stands {count} times")
    named = {number: "" if _is_hole(label) else label for number, label in rows}
    first, last = min(1, min(named)), max(named)
    if last > 2 * len(rows) + 1000:
        raise FormatError(f"{name}: class number {last} is far beyond the {len(rows)} lines")
    return tuple(named.get(number, "") for number in range(first, last + 1))


def _unique(lines: Sequence[str], notes: tuple[str, ...]) -> Labels:
    """Names holes by their class number, and tells equal names apart by theirs."""
    counts = Counter(line for line in lines if line)
    twice = [line for line, count in counts.items() if count > 1]
    names = [
        f"unused {index}" if not line else f"{line} ({index})" if counts[line] > 1 else line
        for index, line in enumerate(lines)
    ]
    if len(set(names)) != len(names):
        clash = next(name for name, count in Counter(names).items() if count > 1)
        raise FormatError(f"label {clash!r} stands for two classes", hint="rename one of them in the label file")
    said = [*notes]
    if "" in lines:
        said.append(f"{sum(not line for line in lines)} classes without a name are called 'unused' and their number")
    said += [f"label {name!r} stands for {counts[name]} classes: their numbers were added to it" for name in twice]
    return Labels(names=tuple(names), notes=tuple(said))


def _is_hole(line: str) -> bool:
    return line.lower() in _HOLES


def _misfit(file: LabelFile, num_classes: int) -> FormatError:
    message = f"{file.name}: {len(file.lines)} labels for the {num_classes} classes of the model"
    if num_classes == len(file.lines) + 1:
        return FormatError(message, hint="add --background if the model's first class is the background")
    return FormatError(message, hint="give the label file that belongs to this model")
