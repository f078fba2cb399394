"""An answer in words: one line for a terminal, a few for a drawing, an object for scripts."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from edge.types import (
    Attributes,
    Classification,
    Counts,
    CropAnswer,
    Detections,
    Headline,
    Matches,
    Outcome,
    Prediction,
    Text,
)

if TYPE_CHECKING:
    from edge.jsonvalue import Json
    from edge.outbox.base import AuditRow
    from edge.types import Box, ClassScore, Detection, Inference

UNKNOWN = "unknown"
NOTHING = "nothing found"


def plain_line(text: str, *, most: int = 300) -> str:
    """A stranger's words in one line: what does not print, line breaks too, becomes a space, and a long text is cut.

    Args:
        text: Anything.
        most: Characters of the line.
    """
    line = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def percent(share: float) -> str:
    """A share in [0, 1] without digits after the point; only what is certain is 0 or 100 %."""
    if 0 < share < 0.005:
        return "<1%"
    return f"{min(99, round(100 * share)) if share < 1 else 100}%"


def counted(prediction: Prediction) -> tuple[tuple[str, int], ...]:
    """Label and number of the things in a picture, most first, equal numbers by label; empty for other answers.

    Things that nobody knows are counted as `unknown`.
    """
    match prediction:
        case Detections(items=items):
            numbers = Counter(item.label for item in items)
            return tuple(sorted(numbers.items(), key=lambda pair: (-pair[1], pair[0])))
        case Counts(by_label=by_label):
            return tuple((label or UNKNOWN, number) for label, number in by_label)
        case _:
            return ()


def counts_text(prediction: Prediction) -> str:
    """`3 x cola, 1 x water`, or `nothing found`."""
    return ", ".join(f"{number} x {label}" for label, number in counted(prediction)) or NOTHING


def summary(prediction: Prediction) -> str:
    """The answer in a few words, with how sure it is."""
    line = prediction.headline
    match prediction:
        case Detections() | Counts():
            return counts_text(prediction)
        case Text(text=text, in_lexicon=in_lexicon):
            return f'"{text}" {percent(line.confidence)}' + ("" if in_lexicon else ", not in the lexicon")
        case Matches(known=False, top=top):
            return f"not known, nearest {top[0].label} ({top[0].similarity:.2f})"
        case _:
            return named(line)


def named(line: Headline) -> str:
    """Label and confidence."""
    return f"{line.label or UNKNOWN} {percent(line.confidence)}"


def crop_label(answers: tuple[CropAnswer, ...], outcome: Outcome) -> str:
    """What the readers of one crop name, the first one only as far as it is known."""
    first = UNKNOWN if outcome is Outcome.UNKNOWN else answers[0].headline.label
    return ", ".join([first, *(answer.headline.label for answer in answers[1:] if answer.headline.label)])


def crop_score(answers: tuple[CropAnswer, ...], outcome: Outcome) -> str:
    """How sure the first reader of a crop is, with a `?` where a person is to be asked; empty for unknown things."""
    if outcome is Outcome.UNKNOWN:
        return ""
    return f"{percent(answers[0].headline.confidence)}{'?' if outcome is Outcome.CONFIRM else ''}"


def details(prediction: Prediction) -> tuple[str, ...]:
    """The rest of the answer, one line each: other classes, heads, nearest matches."""
    match prediction:
        case Classification(top=top):
            return tuple(f"{item.label} {percent(item.probability)}" for item in top[1:])
        case Attributes(heads=heads):
            return tuple(f"{head.name}: {named(head.classification.headline)}" for head in heads)
        case Matches(top=top):
            return tuple(f"{item.label}, similarity {item.similarity:.2f}" for item in top)
        case _:
            return ()


def prediction_line(name: str, inference: Inference) -> str:
    """One answer on a line of a terminal."""
    decision = inference.decision
    took = f"{inference.timings.total_ms:.1f} ms"
    said = f"{decision.confidence:.3f} {decision.outcome.value} ({decision.reason.value}, {took})"
    return f"{name}: {_plain(inference.prediction)} {said}"


def prediction_json(name: str, inference: Inference, *, model_version: str = "") -> Json:
    """One answer for scripts, with the field names of the HTTP contract.

    `predicted_class` is the best class; of a picture with several things in it that of the least sure one; empty where
    there is none, and where the outcome is UNKNOWN. Fields that another kind of answer has are empty. Boxes are left,
    top, right, bottom in pixels of the upright picture.

    Args:
        name: Of the picture.
        inference: The answer.
        model_version: Name and version of the bundle.
    """
    prediction = inference.prediction
    return {
        "source": name,
        "success": True,
        "predicted_class": "" if inference.decision.outcome is Outcome.UNKNOWN else prediction.headline.label,
        "confidence": inference.decision.confidence,
        "probabilities": _probabilities(prediction),
        "attributes": _attributes(prediction),
        "similarities": _similarities(prediction),
        "detections": _detections(prediction),
        "counts": _counts(prediction),
        "text": prediction.text if isinstance(prediction, Text) else "",
        "outcome": inference.decision.outcome.value,
        "reason": inference.decision.reason.value,
        "margin": prediction.headline.margin,
        "processing_time_ms": inference.timings.total_ms,
        "model_version": model_version,
        "prediction_id": inference.prediction_id,
        "picture_digest": inference.picture_digest,
        "bundle_digest": inference.bundle_digest,
        "artifact": inference.artifact,
        "error_message": "",
    }


def _counts(prediction: Prediction) -> dict[str, Json]:
    """Label to number; things that nobody knows join a class that is itself called `unknown`."""
    numbers: Counter[str] = Counter()
    for label, number in counted(prediction):
        numbers[label] += number
    return dict(numbers)


def failure_json(name: str, message: str, *, model_version: str = "") -> Json:
    """A picture that could not be answered for, for scripts: the same contract."""
    return {
        "source": name,
        "success": False,
        "predicted_class": "",
        "confidence": 0.0,
        "probabilities": {},
        "attributes": {},
        "similarities": {},
        "detections": [],
        "counts": {},
        "text": "",
        "processing_time_ms": 0.0,
        "model_version": model_version,
        "error_message": message,
    }


def _plain(prediction: Prediction) -> str:
    """Like `summary`, without the confidence of the only answer, which the decision names with more digits."""
    match prediction:
        case Classification() | Attributes():
            return prediction.headline.label
        case Text(text=text, in_lexicon=True):
            return f'"{text}"'
        case Matches(known=True):
            return f"{prediction.top[0].label} (similarity {prediction.top[0].similarity:.2f})"
        case Detections(items=()) | Counts(items=()):
            return NOTHING
        case Detections() | Counts():
            return f"{counts_text(prediction)}; least sure"
        case _:
            return f"{summary(prediction)};"


def _probabilities(prediction: Prediction) -> dict[str, Json]:
    return _by_label(prediction.top) if isinstance(prediction, Classification) else {}


def _by_label(top: tuple[ClassScore, ...]) -> dict[str, Json]:
    return {item.label: item.probability for item in top}


def _attributes(prediction: Prediction) -> dict[str, Json]:
    heads = prediction.heads if isinstance(prediction, Attributes) else ()
    return {head.name: _by_label(head.classification.top) for head in heads}


def _similarities(prediction: Prediction) -> dict[str, Json]:
    return {item.label: item.similarity for item in prediction.top} if isinstance(prediction, Matches) else {}


def _detections(prediction: Prediction) -> list[Json]:
    match prediction:
        case Detections(items=items):
            return [_detection(item) for item in items]
        case Counts(items=counted_items):
            return [
                {
                    **_detection(item.detection),
                    "predicted_class": item.label,
                    "outcome": item.decision.outcome.value,
                    "answers": [_answer(answer) for answer in item.answers],
                }
                for item in counted_items
            ]
        case _:
            return []


def _answer(answer: CropAnswer) -> Json:
    return {"predicted_class": answer.headline.label, "confidence": answer.headline.confidence}


def _detection(item: Detection) -> dict[str, Json]:
    return {"label": item.label, "confidence": item.score, "box": _edges(item.box)}


def _edges(box: Box) -> list[Json]:
    return [box.left, box.top, box.right, box.bottom]


def audit_line(row: AuditRow) -> str:
    """One row of the outbox's audit: when, what, how valuable, why."""
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row.at))
    about = f" {row.digest[:12]} ({row.size_bytes} bytes, value {row.value:.2f})" if row.digest else ""
    return f"{at}  {row.action.value}{about}: {row.detail}"
