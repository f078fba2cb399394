"""Chooses golden pictures and records what each model must say about them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge.bundle.golden import GoldenOutput, GoldenSet, GoldenVector, pack_values
from edge.bundle.manifest import ArtifactSpec, DecisionPolicy, OutputSpec, PreprocessSpec
from edge.decide import decide
from edge.errors import BundleError
from edge.postprocess.classify import classify
from edge.preprocess import preprocess_pixels
from edge.types import Decision, RawOutputs

if TYPE_CHECKING:
    from edge.types import ByteArray, Classification, FloatArray

GOLDEN_FILE = "golden.json"
NUM_COVERING = 8
NUM_HARDEST = 4
# A golden decision must hold on processors whose last float bits differ, so none may sit this close to a threshold.
SAFE_DISTANCE = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one artifact says about one picture.

    Attributes:
        label: The best class.
        decision: What follows.
        distance: How far the scores are from the nearest threshold or from another best class, in probability.
    """

    label: str
    decision: Decision
    distance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenDraft:
    """Golden vectors before they are files.

    Attributes:
        index: Goes into `golden.json`.
        pictures: File name to PNG bytes.
    """

    index: GoldenSet
    pictures: Mapping[str, bytes]


def answer_of(logits: FloatArray, output: OutputSpec, labels: Sequence[str], policy: DecisionPolicy) -> Answer:
    """Reads one row of logits the way the device does.

    Args:
        logits: float32 (1, classes).
        output: The output's spec, with the temperature.
        labels: Class names.
        policy: The bundle's thresholds.
    """
    answer = classify(RawOutputs(by_name={output.name: logits}), output, labels)
    return Answer(label=answer.top[0].label, decision=decide(answer, policy), distance=_distance(answer, policy))


def choose_golden(answers: Sequence[Sequence[Answer]]) -> tuple[int, ...]:
    """Picks the pictures that a device checks itself with.

    Pictures on which the artifacts disagree, or whose scores almost touch a threshold, are taken only when there are
    no others. Of the rest: the surest of each class in turn, then the hardest ones.

    Args:
        answers: For each picture, the answer of each artifact.

    Returns:
        Positions of at most twelve pictures, sorted; at least one.
    """
    distance = {i: min(answer.distance for answer in row) for i, row in enumerate(answers)}
    agreed = [i for i, row in enumerate(answers) if len({(a.label, a.decision.outcome) for a in row}) == 1]
    safe = [i for i in agreed if distance[i] >= SAFE_DISTANCE]
    if not safe:
        return tuple(sorted(sorted(agreed or distance, key=lambda i: (-distance[i], i))[:NUM_COVERING]))
    covering = _surest_of_each_class({i: answers[i][0] for i in safe})[:NUM_COVERING]
    others = [i for i in safe if i not in covering]
    hardest = sorted(others, key=lambda i: (distance[i], i))[: NUM_COVERING + NUM_HARDEST - len(covering)]
    return tuple(sorted([*covering, *hardest]))


def golden_draft(
    pictures: Sequence[ByteArray],
    logits: Mapping[ArtifactSpec, FloatArray],
    *,
    output: OutputSpec,
    labels: Sequence[str],
    policy: DecisionPolicy,
    preprocess: PreprocessSpec,
) -> GoldenDraft:
    """Chooses golden pictures and states what each artifact must say.

    Args:
        pictures: uint8 (height, width, 3), of the model's size.
        logits: For each artifact, its outputs on these pictures, (pictures, classes).
        output: The output's spec.
        labels: Class names.
        policy: The bundle's thresholds.
        preprocess: The bundle's preprocessing, which must leave the golden pictures as they are.

    Raises:
        BundleError: It does not.
    """
    rows = [
        [answer_of(values[i : i + 1], output, labels, policy) for values in logits.values()]
        for i in range(len(pictures))
    ]
    vectors, files = [], {}
    for number, i in enumerate(choose_golden(rows)):
        name = f"golden-{number:02d}.png"
        files[name] = _png(pictures[i], preprocess)
        outputs = tuple(
            _golden_output(spec, output, values[i : i + 1], answer)
            for (spec, values), answer in zip(logits.items(), rows[i], strict=True)
        )
        vectors.append(GoldenVector(input_file=name, outputs=outputs))
    return GoldenDraft(index=GoldenSet(vectors=tuple(vectors)), pictures=files)


def _golden_output(spec: ArtifactSpec, output: OutputSpec, values: FloatArray, answer: Answer) -> GoldenOutput:
    return GoldenOutput(
        artifact=spec.file,
        output=output.name,
        shape=output.shape,
        values=pack_values(values),
        outcome=answer.decision.outcome,
        label=answer.label,
    )


def _surest_of_each_class(answers: Mapping[int, Answer]) -> list[int]:
    """The surest picture of every class, then every class's second, and so on."""
    ranks: dict[str, int] = {}
    keyed = []
    for i in sorted(answers, key=lambda i: (-answers[i].decision.confidence, i)):
        rank = ranks.get(answers[i].label, 0)
        ranks[answers[i].label] = rank + 1
        keyed.append((rank, answers[i].label, i))
    return [i for _, _, i in sorted(keyed)]


def _distance(answer: Classification, policy: DecisionPolicy) -> float:
    confidence = answer.top[0].probability
    thresholds = (policy.accept_confidence, policy.confirm_confidence)
    gaps = [abs(confidence - threshold) for threshold in thresholds]
    return min(*gaps, abs(answer.margin - policy.accept_margin), answer.margin)


def _png(pixels: ByteArray, preprocess: PreprocessSpec) -> bytes:
    import numpy as np
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    data = buffer.getvalue()
    if not np.array_equal(preprocess_pixels(data, preprocess)[0], pixels):
        raise BundleError("a golden picture does not survive preprocessing unchanged")
    return data
