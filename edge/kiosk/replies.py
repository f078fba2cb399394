"""An answer of the engine, and the state of the agent, in the words of the HTTP contract. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from edge.decide import decide
from edge.kiosk.schemas import (
    BundleHealth,
    CropReading,
    FoundThing,
    HealthResponse,
    LiveResponse,
    OutboxHealth,
    PredictionResponse,
    PredictOptions,
    ViewState,
)
from edge.kiosk.screen import picture_size
from edge.kiosk.stricter import judge_again, stricter_policy
from edge.types import Attributes, Classification, Counts, Detections, Matches, Outcome, Text
from edge.wording import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.answering import Answer
    from edge.bundle.policy import DecisionPolicy
    from edge.kiosk.desk import Serving, Watching
    from edge.status import AgentState
    from edge.types import ClassScore, CountedItem, Detection, Prediction

EVERYTHING = PredictOptions()


def prediction_response(answer: Answer, options: PredictOptions = EVERYTHING) -> PredictionResponse:
    """One answer.

    Args:
        answer: The frame and what the engine said.
        options: What the caller asked for; a threshold makes it stricter than the bundle.
    """
    policy, inference = answer.manifest.decision, answer.inference
    if options.confidence_threshold > 0:
        policy = stricter_policy(policy, options.confidence_threshold)
        inference = judge_again(inference, policy)
    prediction, decision = inference.prediction, inference.decision
    found = _found(prediction, policy)
    width, height = picture_size(answer.frame)
    return PredictionResponse(
        success=True,
        predicted_class="" if decision.outcome is Outcome.UNKNOWN else prediction.headline.label,
        confidence=decision.confidence,
        probabilities=_probabilities(prediction) if options.return_probabilities else {},
        attributes=_attributes(prediction) if options.return_probabilities else {},
        similarities=_similarities(prediction) if options.return_probabilities else {},
        detections=found,
        counts=_counts(found),
        text=prediction.text if isinstance(prediction, Text) else "",
        outcome=decision.outcome,
        reason=decision.reason,
        margin=prediction.headline.margin,
        processing_time_ms=inference.timings.total_ms,
        model_version=answer.model_version,
        prediction_id=inference.prediction_id,
        picture_digest=inference.picture_digest,
        bundle_digest=inference.bundle_digest,
        artifact=inference.artifact,
        picture_width=width,
        picture_height=height,
        kept=answer.kept,
        sample_digest=answer.sample_digest,
    )


def live_response(answer: Answer | None, serving: Serving | None, watching: Watching, *, now: float) -> LiveResponse:
    """The newest answer, or why there is none.

    Args:
        answer: The newest; None before the first.
        serving: The bundle that answers, if any.
        watching: The source.
        now: Seconds since the epoch.
    """
    state = _view(answer, serving, watching)
    if answer is None:
        return LiveResponse(state=state, detail=watching.lost, source=watching.name)
    return LiveResponse(
        state=state,
        detail=watching.lost,
        source=answer.frame.source,
        captured_at=answer.frame.captured_at,
        age_s=max(0.0, now - answer.frame.captured_at),
        answer=prediction_response(answer),
    )


def health_response(
    state: AgentState, serving: Serving | None, watching: Watching, *, last_error: str, software: str
) -> HealthResponse:
    """How the device is.

    Args:
        state: What the agent says about itself.
        serving: The bundle that answers, if any.
        watching: The source.
        last_error: What stands wrong, in one line.
        software: Version of edgeloop.
    """
    outbox = state.outbox
    return HealthResponse(
        ready=serving is not None,
        phase=state.phase,
        device_id=state.device_id,
        software=software,
        bundle=_bundle(serving, on_trial=bool(state.slots.trial)) if serving is not None else None,
        outbox=OutboxHealth(
            pending=outbox.pending,
            pending_bytes=outbox.pending_bytes,
            answers=outbox.answers,
            sent=outbox.sent,
            parked=outbox.parked,
            shed=outbox.shed,
        ),
        source=watching.name,
        source_lost=watching.lost,
        server_reached_at=state.server_reached_at,
        held_back=state.held_back,
        last_error=last_error,
        at=state.at,
    )


def _bundle(serving: Serving, *, on_trial: bool) -> BundleHealth:
    manifest = serving.manifest
    return BundleHealth(
        name=manifest.name,
        version=manifest.version,
        digest=serving.digest,
        task=manifest.task.value,
        artifact=serving.artifact,
        on_trial=on_trial,
    )


def _view(answer: Answer | None, serving: Serving | None, watching: Watching) -> ViewState:
    if serving is None:
        return ViewState.NO_BUNDLE
    if not watching.name:
        return ViewState.NO_SOURCE
    if watching.lost:
        return ViewState.CAMERA_GONE
    return ViewState.LIVE if answer is not None else ViewState.WAITING


def _probabilities(prediction: Prediction) -> dict[str, float]:
    return _by_label(prediction.top) if isinstance(prediction, Classification) else {}


def _by_label(top: Sequence[ClassScore]) -> dict[str, float]:
    return {item.label: item.probability for item in top}


def _attributes(prediction: Prediction) -> dict[str, dict[str, float]]:
    heads = prediction.heads if isinstance(prediction, Attributes) else ()
    return {head.name: _by_label(head.classification.top) for head in heads}


def _similarities(prediction: Prediction) -> dict[str, float]:
    return {item.label: item.similarity for item in prediction.top} if isinstance(prediction, Matches) else {}


def _found(prediction: Prediction, policy: DecisionPolicy) -> list[FoundThing]:
    match prediction:
        case Detections(items=items):
            return [_bare_thing(item, policy) for item in items]
        case Counts(items=counted):
            return [_read_thing(item) for item in counted]
        case _:
            return []


def _bare_thing(item: Detection, policy: DecisionPolicy) -> FoundThing:
    outcome = decide(Detections(items=(item,)), policy).outcome
    return FoundThing(
        label=item.label,
        confidence=item.score,
        box=_edges(item),
        predicted_class="" if outcome is Outcome.UNKNOWN else item.label,
        outcome=outcome,
        answers=[],
    )


def _read_thing(item: CountedItem) -> FoundThing:
    lines = [answer.headline for answer in item.answers]
    return FoundThing(
        label=item.detection.label,
        confidence=item.detection.score,
        box=_edges(item.detection),
        predicted_class=item.label,
        outcome=item.decision.outcome,
        answers=[CropReading(predicted_class=line.label, confidence=line.confidence) for line in lines],
    )


def _edges(item: Detection) -> tuple[float, float, float, float]:
    return item.box.left, item.box.top, item.box.right, item.box.bottom


def _counts(found: Sequence[FoundThing]) -> dict[str, int]:
    """Most first, equal numbers by label."""
    numbers = Counter(thing.predicted_class or UNKNOWN for thing in found)
    return dict(sorted(numbers.items(), key=lambda pair: (-pair[1], pair[0])))
