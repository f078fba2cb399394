"""What every kind of output but boxes means, written down slowly: plain loops over the definitions, no numpy.

Nothing here is taken from `edge/postprocess`; the golden vectors and the property tests are made with it.
"""

from __future__ import annotations

import itertools
import json
import math
import struct
from collections.abc import Iterable, Sequence
from functools import cache

LENGTHS = {"float32": "f", "float16": "e"}


def softmax(values: Sequence[float], temperature: float = 1.0) -> list[float]:
    """exp(x / T) over its sum, shifted by the greatest."""
    greatest = max(values)
    powers = [math.exp((value - greatest) / temperature) for value in values]
    return [power / math.fsum(powers) for power in powers]


def retempered(probabilities: Sequence[float], temperature: float) -> list[float]:
    """The probabilities that a softmax at another temperature would have given."""
    if temperature == 1.0:
        return list(probabilities)
    powers = [math.exp(math.log(value) / temperature) if value > 0 else 0.0 for value in probabilities]
    return [power / math.fsum(powers) for power in powers]


def from_probabilities(values: Sequence[float], temperature: float = 1.0) -> list[float]:
    """Probabilities as a model gave them: divided by their sum only where that is above 1.001."""
    total = math.fsum(values)
    return retempered([value / total for value in values] if total > 1.001 else values, temperature)


def classification(probabilities: Sequence[float], labels: Sequence[str], top_k: int = 5) -> dict:
    """The answer in the shape of `edge.types.Classification`."""
    order = sorted(range(len(labels)), key=lambda at: (-probabilities[at], at))
    margin = probabilities[order[0]] - probabilities[order[1]] if len(order) > 1 else 1.0
    entropy = -math.fsum(value * math.log(value) for value in probabilities if value > 0)
    most = math.log(len(labels)) if len(labels) > 1 else 1.0
    return {
        "top": [{"label": labels[at], "index": at, "probability": probabilities[at]} for at in order[: max(1, top_k)]],
        "margin": margin,
        "entropy": min(1.0, max(0.0, entropy / most)) if len(labels) > 1 else 0.0,
        "novelty": None,
    }


def attributes(heads: Sequence[tuple[str, dict]]) -> dict:
    """The answer in the shape of `edge.types.Attributes`, from name and classification of each head."""
    return {
        "heads": [{"name": name, "classification": answer} for name, answer in heads],
        "confidence": math.prod(answer["top"][0]["probability"] for _, answer in heads),
    }


def ensemble(members: Iterable[tuple[Sequence[float], str, float, float]]) -> list[float]:
    """Weighted mean of members given as values, activation, temperature and weight."""
    parts, weights = [], []
    for values, activation, temperature, weight in members:
        if activation == "softmax":
            scores = softmax(values, temperature)
        elif activation == "sigmoid":
            scores = [1 / (1 + math.exp(-value / temperature)) for value in values]
        else:
            scores = list(values)
        shares = [score / math.fsum(scores) for score in scores]
        parts.append(retempered(shares, temperature) if activation == "none" else shares)
        weights.append(weight)
    total = math.fsum(weights)
    pairs = [list(zip(column, weights, strict=True)) for column in zip(*parts, strict=True)]
    return [math.fsum(value * weight / total for value, weight in column) for column in pairs]


def part_bytes(labels: Sequence[str], rows: Sequence[int], vectors: Sequence[Sequence[float]], dtype: str) -> bytes:
    """A gallery part, field by field as the format page has it; vectors must have length 1 already."""
    fields = {"dimension": len(vectors[0]), "dtype": dtype, "labels": list(labels), "rows": len(vectors)}
    header = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    data = b"ELGALRY\x01" + struct.pack("<I", len(header)) + header
    while len(data) % 4:
        data += b"\0"
    data += b"".join(struct.pack("<I", row) for row in rows)
    return data + b"".join(struct.pack(f"<{LENGTHS[dtype]}", number) for vector in vectors for number in vector)


def part_rows(data: bytes) -> list[tuple[str, list[float]]]:
    """Label and numbers of each row of a part."""
    size = struct.unpack("<I", data[8:12])[0]
    fields = json.loads(data[12 : 12 + size])
    at = 12 + size + (-(12 + size) % 4)
    owners = struct.unpack_from(f"<{fields['rows']}I", data, at)
    at += 4 * fields["rows"]
    step = struct.calcsize(LENGTHS[fields["dtype"]]) * fields["dimension"]
    return [
        (
            fields["labels"][owner],
            list(struct.unpack_from(f"<{fields['dimension']}{LENGTHS[fields['dtype']]}", data, at + row * step)),
        )
        for row, owner in enumerate(owners)
    ]


def part_labels(parts: Iterable[bytes]) -> list[str]:
    """Labels of several parts in the order in which the headers first name them."""
    headers = (json.loads(data[12 : 12 + struct.unpack("<I", data[8:12])[0]]) for data in parts)
    return list(dict.fromkeys(label for fields in headers for label in fields["labels"]))


def cosine(first: Sequence[float], second: Sequence[float]) -> float:
    """The cosine of the angle between two vectors."""
    lengths = math.sqrt(math.fsum(x * x for x in first)) * math.sqrt(math.fsum(x * x for x in second))
    return max(-1.0, min(1.0, math.fsum(x * y for x, y in zip(first, second, strict=True)) / lengths))


def matches(vector: Sequence[float], parts: Sequence[bytes], spec: dict) -> dict:
    """The answer in the shape of `edge.types.Matches`; `spec` has the fields of a match specification."""
    labels = part_labels(parts)
    nearest = dict.fromkeys(labels, -1.0)
    for label, row in (pair for data in parts for pair in part_rows(data)):
        nearest[label] = max(nearest[label], cosine(vector, row))
    order = sorted(labels, key=lambda label: (-nearest[label], labels.index(label)))
    best = nearest[order[0]]
    thresholds = {item["label"]: item["value"] for item in spec["class_thresholds"]}
    threshold = thresholds.get(order[0], spec["threshold"])
    lead = best - nearest[order[1]] if len(order) > 1 else math.inf
    return {
        "top": [{"label": label, "similarity": nearest[label]} for label in order[: spec["top_k"]]],
        "known": best >= threshold and lead >= spec["min_margin"],
        "confidence": 1 / (1 + math.exp(-spec["slope"] * (best - threshold))),
        "margin": min(1.0, lead),
        "novelty": 1 - best,
    }


def step_probabilities(steps: Sequence[Sequence[float]], temperature: float = 1.0) -> list[list[float]]:
    """Softmax of each step."""
    return [softmax(step, temperature) for step in steps]


def collapse(path: Sequence[int], blank: int) -> tuple[int, ...]:
    """Joins repetitions, then drops blanks."""
    return tuple(label for label, _ in itertools.groupby(path) if label != blank)


def all_readings(probabilities: Sequence[Sequence[float]], blank: int) -> dict[tuple[int, ...], float]:
    """Every reading with its probability: all alignments one by one, so only for small outputs."""
    found: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(len(probabilities[0])), repeat=len(probabilities)):
        chance = math.prod(step[label] for step, label in zip(probabilities, path, strict=True))
        reading = collapse(path, blank)
        found[reading] = found.get(reading, 0.0) + chance
    return found


def reading_probability(probabilities: Sequence[Sequence[float]], reading: Sequence[int], blank: int) -> float:
    """One reading's share of all alignments, for outputs too long to list them: step by step what may come next."""

    @cache
    def rest(step: int, written: int, last: int) -> float:
        if step == len(probabilities):
            return float(written == len(reading))
        total = 0.0
        for label, chance in enumerate(probabilities[step]):
            if label in (blank, last):
                total += chance * rest(step + 1, written, label)
            elif written < len(reading) and reading[written] == label:
                total += chance * rest(step + 1, written + 1, label)
        return total

    return rest(0, 0, blank)


def spell(reading: Sequence[int], charset: str, blank: int) -> str:
    """Characters of a reading."""
    alphabet = [*charset[:blank], None, *charset[blank:]]
    return "".join(alphabet[label] for label in reading)


def text(
    steps: Sequence[Sequence[float]],
    charset: str,
    blank: int,
    *,
    temperature: float = 1.0,
    greedy: bool = False,
    words: Sequence[str] | None = None,
    words_only: bool = False,
) -> dict:
    """The answer in the shape of `edge.types.Text`, with a beam that cuts nothing off."""
    probabilities = step_probabilities(steps, temperature)
    if greedy:
        reading = collapse([max(range(len(step)), key=lambda at, step=step: (step[at], -at)) for step in steps], blank)
        best, confidence = spell(reading, charset, blank), reading_probability(probabilities, reading, blank)
        return {"text": best, "confidence": confidence, "margin": 1.0, "in_lexicon": words is None or best in words}
    chances = {spell(reading, charset, blank): p for reading, p in all_readings(probabilities, blank).items()}
    order = sorted((item for item in chances if not words_only or item in words), key=lambda t: (-chances[t], t))
    if not order:
        return {"text": "", "confidence": 0.0, "margin": 0.0, "in_lexicon": False}
    best, margin = order[0], chances[order[0]] - chances[order[1]] if len(order) > 1 else 1.0
    confidence = min(1.0, chances[best])
    return {"text": best, "confidence": confidence, "margin": margin, "in_lexicon": words is None or best in words}
