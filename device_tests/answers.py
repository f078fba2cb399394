"""Parity of the answers: what postprocessing must make of given outputs, for every kind of output but boxes.

`vectors/postprocess/<kind>-<name>.json` are language-neutral: arrays are float32 little-endian in C order as base64,
everything else is JSON with the field names of the manifest.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from device_tests.plan import VECTORS, Check, Finding, MismatchError, Plan
from device_tests.vector_arrays import VectorArray, raw_outputs
from edge import jsonvalue
from edge.bundle.gallery import read_gallery
from edge.bundle.manifest import MatchSpec, OutputSpec, TextSpec
from edge.errors import EdgeloopError
from edge.jsonvalue import Json
from edge.postprocess.classify import attributes, classify
from edge.postprocess.embed import match
from edge.postprocess.tabular import tabular
from edge.postprocess.text import Lexicon, read_lexicon, read_text
from edge.types import Attributes, Classification, Matches, Text

ANSWER_VECTORS = VECTORS / "postprocess"
KINDS = ("classify", "attributes", "embed", "text", "tabular")


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorFile:
    """One file that the specification names.

    Attributes:
        name: Its name.
        data: Its content, base64.
    """

    name: str
    data: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerVector:
    """Outputs of a network, what they mean, and the answer.

    Attributes:
        kind: One of `KINDS`.
        about: What it shows, for people.
        outputs: What the network said.
        specs: The manifest's outputs; all but attributes and tabular read the first.
        labels: Class names.
        top_k: How many are named, for classify, attributes and tabular.
        match: For embed,
        gallery: with the parts of its gallery.
        text: For text,
        lexicon: with the file of known words, where there is one.
        tolerance: Greatest difference of any number of the answer.
        classification: The answer of classify and tabular.
        attributes: Of attributes.
        matches: Of embed.
        reading: Of text.
        refused: Words of the error where there is no answer, because the input must be refused.
    """

    kind: str
    about: str
    outputs: tuple[VectorArray, ...]
    specs: tuple[OutputSpec, ...]
    labels: tuple[str, ...] = ()
    top_k: int = 5
    match: MatchSpec | None = None
    gallery: tuple[VectorFile, ...] = ()
    text: TextSpec | None = None
    lexicon: VectorFile | None = None
    tolerance: float = 1e-6
    classification: Classification | None = None
    attributes: Attributes | None = None
    matches: Matches | None = None
    reading: Text | None = None
    refused: str = ""

    @property
    def expected(self) -> Classification | Attributes | Matches | Text | None:
        """The answer, or None where the input must be refused."""
        return self.classification or self.attributes or self.matches or self.reading


def load_answer(path: Path) -> AnswerVector:
    """One committed vector."""
    return jsonvalue.load(AnswerVector, path.read_bytes(), where=path.name)


def answer_paths() -> list[Path]:
    """The committed vectors, by name."""
    return sorted(path for kind in KINDS for path in ANSWER_VECTORS.glob(f"{kind}-*.json"))


def answer_checks(plan: Plan) -> Iterator[Check]:
    """One check for each vector."""
    for path in answer_paths():
        yield Check(group="answers", name=path.stem, run=partial(_finding, path))


def check_answer(name: str, vector: AnswerVector) -> None:
    """Postprocesses one vector and compares.

    Raises:
        MismatchError: The answer differs, or what must be refused is not.
    """
    try:
        found = answer(vector)
    except EdgeloopError as error:
        if not vector.refused or vector.refused not in str(error):
            raise MismatchError(f"{name}: refused with {str(error)!r}, expected {vector.refused!r}") from error
        return
    if vector.refused:
        raise MismatchError(f"{name}: answered, must be refused with {vector.refused!r}")
    difference = first_difference(jsonvalue.to_json(found), jsonvalue.to_json(vector.expected), vector.tolerance)
    if difference:
        raise MismatchError(f"{name}: {difference}")


def answer(vector: AnswerVector) -> Classification | Attributes | Matches | Text:
    """What postprocessing makes of a vector.

    Raises:
        EdgeloopError: It refuses the input.
    """
    outputs = raw_outputs(vector.outputs)
    match vector.kind:
        case "attributes":
            return attributes(outputs, vector.specs, vector.labels, top_k=vector.top_k)
        case "tabular":
            return tabular(outputs, vector.specs, vector.labels, top_k=vector.top_k)
        case "embed" if vector.match is not None:
            gallery = read_gallery([(part.name, base64.b64decode(part.data)) for part in vector.gallery])
            return match(outputs, vector.specs[0], vector.match, gallery)
        case "text" if vector.text is not None:
            return read_text(outputs, vector.specs[0], vector.text, _lexicon(vector))
        case "classify":
            return classify(outputs, vector.specs[0], vector.labels, top_k=vector.top_k)
    raise MismatchError(f"vector of kind {vector.kind!r} is unknown or lacks its specification")


def first_difference(found: Json, expected: Json, tolerance: float, where: str = "answer") -> str:
    """The first place where two JSON values differ by more than the tolerance; empty where none does."""
    if isinstance(found, float) and isinstance(expected, (int, float)) and not isinstance(expected, bool):
        return "" if abs(found - expected) <= tolerance else f"{where} is {found}, expected {expected}"
    if isinstance(found, Mapping) and isinstance(expected, Mapping) and found.keys() == expected.keys():
        parts = ((found[key], expected[key], f"{where}.{key}") for key in found)
    elif isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        parts = ((one, other, f"{where}[{at}]") for at, (one, other) in enumerate(zip(found, expected, strict=True)))
    else:
        return "" if found == expected else f"{where} is {found!r}, expected {expected!r}"
    return next((line for one, other, name in parts if (line := first_difference(one, other, tolerance, name))), "")


def _lexicon(vector: AnswerVector) -> Lexicon | None:
    file = vector.lexicon
    return None if file is None else read_lexicon(file.name, base64.b64decode(file.data))


def _finding(path: Path) -> Finding:
    check_answer(path.stem, load_answer(path))
    return Finding()
