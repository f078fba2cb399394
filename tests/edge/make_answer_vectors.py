"""Writes the golden vectors of every kind of output but boxes, with the slow definitions of `reference_answers`.

    python tests/edge/make_answer_vectors.py [FOLDER]

Inputs are drawn with integer arithmetic only; expected numbers are rounded to nine digits, far below the tolerance, so
that the files are the same wherever they are made.
"""

from __future__ import annotations

import base64
import math
import struct
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import reference_answers as reference

from device_tests.answers import ANSWER_VECTORS
from edge.jsonvalue import pretty_bytes

COLOURS = ["red", "green", "blue", "grey"]
SKUS = ["milk 1 l", "milk 0.5 l", "butter", "crème fraîche"]


def draw(count: int, seed: int, *, spread: float = 4.0) -> list[float]:
    """Numbers in [-spread, spread] that float32 holds exactly."""
    state, numbers = seed * 7919 + 1, []
    for _ in range(count):
        state = (state * 1103515245 + 12345) % 2**31
        numbers.append(((state >> 16) % 4096 - 2048) / 2048 * spread)
    return numbers


def rounded32(values: Sequence[float]) -> list[float]:
    """Numbers as float32 holds them."""
    return [struct.unpack("<f", struct.pack("<f", value))[0] for value in values]


def output(name: str, values: Sequence[float], shape: Sequence[int] | None = None) -> dict:
    """One output array."""
    data = struct.pack(f"<{len(values)}f", *values)
    return {"name": name, "shape": list(shape or (1, len(values))), "values": base64.b64encode(data).decode()}


def spec(name: str, kind: str, shape: Sequence[int], **changes: object) -> dict:
    """One output specification with every field."""
    defaults = {"temperature": 1.0, "labels": [], "activation": "none", "weight": 1.0}
    return {"name": name, "kind": kind, "shape": list(shape)} | defaults | changes


def classify_vectors() -> Iterator[tuple[str, dict]]:
    """Logits and probabilities, one head."""

    def vector(about: str, values: Sequence[float], kind: str = "logits", **changes: object) -> dict:
        shape = (1, len(values))
        labels = [f"class {at}" for at in range(len(values))]
        temperature = float(changes.pop("temperature", 1.0))
        made = {
            "about": about,
            "kind": "classify",
            "labels": labels,
            "outputs": [output("scores", values)],
            "specs": [spec("scores", kind, shape, temperature=temperature)],
            "top_k": 5,
        } | changes
        if "refused" not in made:
            meaning = reference.softmax if kind == "logits" else reference.from_probabilities
            chances = meaning(values, temperature)
            made["classification"] = reference.classification(chances, labels, int(made["top_k"]))
        return made

    yield "classify-logits", vector("temperature and top-k", draw(9, 1), temperature=1.7, top_k=3)
    yield "classify-ties", vector("equal scores keep the labels' order", [0.5, 2.0, 2.0, -1.0, 2.0], top_k=2)
    yield "classify-one-class", vector("one class is certain", [-3.0])
    yield "classify-huge", vector("no overflow", rounded32([3.0e38, -3.0e38, 0.0]))
    yield "classify-many", vector("more classes than are named", draw(1001, 2, spread=9.0))
    whole = rounded32(reference.softmax(draw(6, 3)))
    yield "classify-probabilities", vector("taken as they are", whole, "probabilities")
    yield "classify-probabilities-tempered", vector("another temperature", whole, "probabilities", temperature=2.5)
    lost = [230 / 256, 3 / 256, 2 / 256, 0.0, 0.0]
    yield "classify-probabilities-lost", vector("a sum below 1 is left", lost, "probabilities")
    over = [0.75, 0.5, 0.25, 0.0]
    yield "classify-probabilities-over", vector("a sum above 1.001 divides", over, "probabilities")
    for name, values, kind, words in (
        ("nan", [0.0, math.nan], "logits", "output 'scores' holds NaN or infinity"),
        ("infinity", [0.0, math.inf], "logits", "output 'scores' holds NaN or infinity"),
        ("negative", [0.5, -0.25], "probabilities", "output 'scores' holds -0.25, probabilities are 0 to 1"),
        ("above-one", [3.5, 1.0], "probabilities", "output 'scores' holds 3.5, probabilities are 0 to 1"),
        ("all-zero", [0.0, 0.0], "probabilities", "output 'scores' gives every class the probability 0"),
    ):
        yield f"classify-refused-{name}", vector(f"refuses {name}", values, kind, refused=words)
    count = vector("refuses another number of classes", [1.0, 2.0], refused="has 2 values for 3 labels")
    yield "classify-refused-count", count | {"labels": ["a", "b", "c"]}
    missing = vector(
        "refuses a missing output", [1.0, 2.0], refused="output 'scores' is missing, the model gives other"
    )
    yield "classify-refused-missing", missing | {"outputs": [output("other", [1.0, 2.0])]}


def attribute_vectors() -> Iterator[tuple[str, dict]]:
    """Several heads."""
    shape, colour = draw(3, 11), draw(4, 12)
    heads = [
        spec("shape", "logits", (1, 3), temperature=0.8, labels=["round", "oval", "capsule"]),
        spec("features", "embedding", (1, 2)),
        spec("colour", "probabilities", (1, 4)),
    ]
    chances = rounded32(reference.softmax(colour))
    made = {
        "about": "labels and temperature for each head, an embedding beside them",
        "kind": "attributes",
        "labels": COLOURS,
        "outputs": [output("colour", chances), output("features", [1.0, 0.0]), output("shape", shape)],
        "specs": heads,
        "top_k": 2,
    }
    first = reference.classification(reference.softmax(shape, 0.8), heads[0]["labels"], 2)
    second = reference.classification(chances, COLOURS, 2)
    answer = reference.attributes([("shape", first), ("colour", second)])
    yield "attributes-two-heads", made | {"attributes": answer}
    words = "output 'colour' is missing, the model gives features, shape"
    yield "attributes-refused-missing", made | {"outputs": made["outputs"][1:], "refused": words}
    none = {"specs": [heads[1]], "refused": "no output holds logits or probabilities"}
    yield "attributes-refused-no-head", made | none


def unit(values: Sequence[float]) -> list[float]:
    """At length 1, as float32 holds it."""
    length = math.sqrt(math.fsum(value * value for value in values))
    return rounded32([value / length for value in values])


def embed_vectors() -> Iterator[tuple[str, dict]]:
    """An embedding and a gallery."""
    dimension = 8
    references = [unit(draw(dimension, 20 + at)) for at in range(6)]
    first = reference.part_bytes(SKUS[:3], [2, 0, 1, 0], references[:4], "float32")
    second = reference.part_bytes([SKUS[3], SKUS[0]], [0, 1], references[4:], "float16")
    parts = {"gallery-1.bin": first, "gallery-2.bin": second}
    settings = {"threshold": 0.5, "class_thresholds": [], "min_margin": 0.0, "slope": 20.0, "top_k": 5}

    def vector(about: str, values: Sequence[float], files: dict = parts, **changes: object) -> dict:
        rules = settings | {"gallery": list(files)} | {key: changes.pop(key) for key in settings if key in changes}
        made = {
            "about": about,
            "gallery": [{"name": name, "data": base64.b64encode(data).decode()} for name, data in files.items()],
            "kind": "embed",
            "match": rules,
            "outputs": [output("embedding", values)],
            "specs": [spec("embedding", "embedding", (1, dimension))],
        } | changes
        if "refused" not in made:
            made["matches"] = reference.matches(values, list(files.values()), rules)
        return made

    near = [3 * value + shift for value, shift in zip(references[1], draw(dimension, 30, spread=0.25), strict=True)]
    near = rounded32(near)
    far = draw(dimension, 31)
    yield "embed-known", vector("the nearest row of a class counts, whatever the length", near)
    yield "embed-second-part", vector("a class with rows in two parts", [2 * value for value in references[5]])
    yield "embed-far", vector("nothing is near", far, top_k=2)
    own = [{"label": SKUS[0], "value": 0.999}, {"label": "not in the gallery", "value": 0.1}]
    yield "embed-class-threshold", vector("the class has a threshold of its own", near, class_thresholds=own)
    yield "embed-margin", vector("the second class is too near", near, min_margin=0.9, slope=5.0)
    alone = {"one.bin": reference.part_bytes(["only"], [0], [references[0]], "float32")}
    yield "embed-one-class", vector("one class has no second", near, alone, min_margin=2.0)
    equal = {"equal.bin": reference.part_bytes(["b", "a"], [1, 0], [references[0], references[0]], "float32")}
    yield "embed-tie", vector("equal similarities keep the labels' order", near, equal, top_k=1)
    yield "embed-refused-zero", vector("refuses zero", [0.0] * dimension, refused="output 'embedding' is zero")
    words = "output 'embedding' holds NaN or infinity"
    yield "embed-refused-nan", vector("refuses NaN", [math.nan, *far[1:]], refused=words)
    words = "output 'embedding' has 7 values, the gallery has 8 dimensions"
    yield "embed-refused-dimension", vector("refuses another dimension", far[1:], refused=words)
    for name, data, words in (
        ("truncated", first[:-1], "bytes, its header makes"),
        ("magic", b"X" + first[1:], "gallery-1.bin: not a gallery file"),
        ("version", first[:7] + b"\x02" + first[8:], "gallery-1.bin: gallery version 2 is unknown"),
        ("length", reference.part_bytes(["a"], [0], [[0.5] * 8], "float32"), "gallery-1.bin: row 0 has length 1.414"),
        ("zero-row", reference.part_bytes(["a"], [0], [[0.0] * 8], "float16"), "gallery-1.bin: row 0 is zero"),
        ("index", reference.part_bytes(["a"], [1], [references[0]], "float32"), "gallery-1.bin: row 0 is of class 1"),
    ):
        broken = {"gallery-1.bin": data, "gallery-2.bin": second}
        yield f"embed-refused-part-{name}", vector(f"refuses a part: {name}", far, broken, refused=words)


def text_vectors() -> Iterator[tuple[str, dict]]:
    """Steps of a text reader."""

    def vector(about: str, seed: int, num_steps: int, charset: str = "ab1", **changes: object) -> dict:
        classes = len(charset) + 1
        settings = {"charset": charset, "blank": 0, "beam_width": 500, "lexicon": "", "lexicon_only": False}
        settings |= {key: changes.pop(key) for key in list(changes) if key in settings}
        temperature = float(changes.pop("temperature", 1.0))
        words = changes.pop("words", None)
        flat = changes.pop("values", None) or draw(num_steps * classes, seed)
        steps = [flat[at : at + classes] for at in range(0, len(flat), classes)]
        made = {
            "about": about,
            "kind": "text",
            "outputs": [output("steps", flat, (1, num_steps, classes))],
            "specs": [spec("steps", "steps", (1, num_steps, classes), temperature=temperature)],
            "text": settings | {"lexicon": "words.txt" if words else ""},
        } | changes
        if words:
            data = base64.b64encode(("\n".join(words) + "\n").encode()).decode()
            made["lexicon"] = {"name": "words.txt", "data": data}
        if "refused" not in made:
            made["reading"] = reference.text(
                steps,
                charset,
                settings["blank"],
                temperature=temperature,
                greedy=settings["beam_width"] == 1,
                words=words,
                words_only=settings["lexicon_only"],
            )
        return made

    yield "text-greedy", vector("the most likely path", 40, 6, beam_width=1)
    digits = "0123456789"
    path = "__44_00__0006__3_881__1_"
    noise = draw(len(path) * 11, 47, spread=1.5)
    plate = [7.0 * (char == want) for want in path for char in f"_{digits}"]
    plate = [high + low for high, low in zip(plate, noise, strict=True)]
    yield "text-greedy-digits", vector("as long as a date", 0, len(path), digits, values=plate, beam_width=1)
    yield "text-greedy-tie", vector("of equal classes the first", 0, 3, values=[1.0] * 12, beam_width=1, blank=3)
    yield "text-beam", vector("alignments are summed", 41, 6)
    # The best path is blank, blank; but the three paths that spell `a` are together more likely.
    pair = [0.5, 0.25] * 2
    yield "text-beam-beats-greedy", vector("the best path spells nothing, the best text is a", 0, 2, "a", values=pair)
    yield "text-blank-last", vector("the blank is the last class", 42, 6, blank=3, temperature=1.5)
    yield "text-blank-middle", vector("the blank is between the characters", 43, 6, "xyé", blank=1)
    double = [-4.0, 4.0, -4.0, 4.0, -4.0, -4.0, -4.0, 4.0, -4.0, -4.0, -4.0, 4.0]
    yield "text-double-letter", vector("a blank keeps two letters apart", 0, 4, "ab", values=double)
    words = ["ab", "ba", "b1", "aa1"]
    yield "text-lexicon", vector("the lexicon only tells", 44, 5, words=words)
    yield "text-lexicon-only", vector("only words are read", 44, 5, words=words, lexicon_only=True)
    yield "text-lexicon-nothing-fits", vector("too few steps for any word", 45, 1, words=["ab"], lexicon_only=True)
    yield "text-refused-nan", vector("refuses NaN", 0, 1, values=[math.nan] * 4, refused="output 'steps' holds NaN")
    shape = {"outputs": [output("steps", draw(12, 1), (1, 4, 3))], "refused": "output 'steps' has shape [1, 4, 3]"}
    yield "text-refused-shape", vector("refuses classes that are not the charset", 46, 3, **shape)


def tabular_vectors() -> Iterator[tuple[str, dict]]:
    """Members of an ensemble."""
    labels = ["healthy", "rust", "blight"]
    votes, margins, logits = [12.0, 30.0, 58.0], draw(3, 50), draw(3, 51)
    members = [
        (votes, "probabilities", "none", 1.0, 2.0),
        (margins, "probabilities", "sigmoid", 2.0, 1.0),
        (logits, "logits", "softmax", 0.5, 0.5),
    ]

    def vector(about: str, chosen: Sequence[tuple], **changes: object) -> dict:
        made = {
            "about": about,
            "kind": "tabular",
            "labels": labels,
            "outputs": [output(f"member {at}", item[0]) for at, item in enumerate(chosen)],
            "specs": [
                spec(f"member {at}", kind, (1, 3), activation=activation, temperature=temperature, weight=weight)
                for at, (_, kind, activation, temperature, weight) in enumerate(chosen)
            ],
            "top_k": 5,
        } | changes
        if "refused" not in made:
            chances = reference.ensemble([(item[0], *item[2:]) for item in chosen])
            made["classification"] = reference.classification(chances, labels, int(made["top_k"]))
        return made

    yield "tabular-votes", vector("votes are divided by their sum", members[:1])
    yield "tabular-three-members", vector("weights, activations, temperatures", members, top_k=2)
    yield "tabular-tempered", vector("flattened", [(votes, "probabilities", "none", 3.0, 1.0)])
    for name, values, words in (
        ("negative", [0.5, -0.5, 1.0], "output 'member 0' holds the score -0.5"),
        ("zero", [0.0, 0.0, 0.0], "output 'member 0' gives every class the score 0"),
        ("nan", [0.0, math.nan, 1.0], "output 'member 0' holds NaN or infinity"),
        ("count", [1.0, 1.0], "output 'member 0' has 2 values for 3 labels"),
    ):
        broken = [(values, "probabilities", "none", 1.0, 1.0)]
        yield f"tabular-refused-{name}", vector(f"refuses {name}", broken, refused=words)


def rounded(value: object) -> object:
    """With every number of an answer at nine digits after the point."""
    if isinstance(value, float):
        return round(value, 9)
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list) else value


def vector_files() -> dict[str, bytes]:
    """File name and content of every vector."""
    makers = (classify_vectors, attribute_vectors, embed_vectors, text_vectors, tabular_vectors)
    return {
        f"{name}.json": pretty_bytes({"tolerance": 1e-6} | {key: _expected(key, part) for key, part in vector.items()})
        for maker in makers
        for name, vector in maker()
    }


def _expected(key: str, part: object) -> object:
    return rounded(part) if key in ("classification", "attributes", "matches", "reading") else part


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ANSWER_VECTORS
    for name, content in vector_files().items():
        (folder / name).write_bytes(content)
