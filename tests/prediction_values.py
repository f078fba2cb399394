"""One prediction of each kind, and inferences of them, for tests of decide and keep."""

from __future__ import annotations

import dataclasses
import hashlib

from edge.bundle.manifest import DecisionPolicy
from edge.decide import decide, decide_item
from edge.types import (
    Attribute,
    Attributes,
    Box,
    Classification,
    ClassScore,
    CountedItem,
    Counts,
    CropAnswer,
    Detection,
    Detections,
    Inference,
    Match,
    Matches,
    Prediction,
    Text,
    Timings,
)

POLICY = DecisionPolicy(accept_confidence=0.8, confirm_confidence=0.4, accept_margin=0.3)
WHERE = Box(left=10.0, top=20.0, right=30.0, bottom=60.0)


def classification(
    label: str, probability: float, margin: float = 1.0, *, entropy: float = 0.0, novelty: float | None = None
) -> Classification:
    """A classifier's answer."""
    top = (ClassScore(label=label, index=0, probability=probability),)
    return Classification(top=top, margin=margin, entropy=entropy, novelty=novelty)


def attributes(*heads: Classification) -> Attributes:
    """A classifier with several heads, named h0, h1 and so on."""
    confidence = 1.0
    for head in heads:
        confidence *= head.top[0].probability
    named = tuple(Attribute(name=f"h{place}", classification=head) for place, head in enumerate(heads))
    return Attributes(heads=named, confidence=confidence)


def detection(label: str, score: float, box: Box = WHERE) -> Detection:
    """One thing found."""
    return Detection(box=box, label=label, index=0, score=score)


def detections(*items: Detection, nearest_miss: float = 0.0) -> Detections:
    """A detector's answer, best first."""
    ordered = sorted(items, key=lambda item: -item.score)
    return Detections(items=tuple(ordered), nearest_miss=nearest_miss)


def matches(label: str, confidence: float, margin: float = 1.0, *, known: bool = True, novelty: float = 0.1) -> Matches:
    """An embedder's answer."""
    top = (Match(label=label, similarity=1.0 - novelty),)
    return Matches(top=top, known=known, confidence=confidence, margin=margin, novelty=novelty)


def text(reading: str, confidence: float, margin: float = 1.0, *, in_lexicon: bool = True) -> Text:
    """A reader's answer."""
    return Text(text=reading, confidence=confidence, margin=margin, in_lexicon=in_lexicon)


def counted(found: Detection, *answers: CropAnswer) -> CountedItem:
    """One thing found and read, decided as a pipeline decides it."""
    return CountedItem(detection=found, answers=answers, decision=decide_item(answers[0], POLICY))


def counts(*items: CountedItem, nearest_miss: float = 0.0) -> Counts:
    """A pipeline's answer."""
    labels = [item.label for item in items]
    by_label = sorted({(label, labels.count(label)) for label in labels}, key=lambda pair: (-pair[1], pair[0]))
    return Counts(items=items, by_label=tuple(by_label), nearest_miss=nearest_miss)


def inference(prediction: Prediction, *, picture: str = "picture", policy: DecisionPolicy = POLICY) -> Inference:
    """What an engine says of a picture that is named by any text."""
    return Inference(
        prediction=prediction,
        decision=decide(prediction, policy),
        timings=Timings(preprocess_ms=1, infer_ms=2, postprocess_ms=3),
        bundle_digest="b" * 64,
        artifact="a.tflite",
        picture_digest=hashlib.sha256(picture.encode()).hexdigest(),
    )


def with_digest(value: Inference, digest: str) -> Inference:
    """The same answer about another picture."""
    return dataclasses.replace(value, picture_digest=digest)
