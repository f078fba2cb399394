"""What the routes do, without HTTP: asks the agent, remembers its answers, and says what goes into the audit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import edge
from edge.bundle.stage import Task
from edge.kiosk.asked import Question, feedback_value
from edge.kiosk.audit import Said
from edge.kiosk.desk import Desk
from edge.kiosk.options import KioskOptions
from edge.kiosk.recent import Recent
from edge.kiosk.refusals import RequestError, later
from edge.kiosk.replies import health_response, live_response, prediction_response
from edge.kiosk.schemas import (
    FeedbackRequest,
    FeedbackResponse,
    HealthResponse,
    LabelsResponse,
    LiveResponse,
    PredictionResponse,
)
from edge.kiosk.screen import ScreenPictures
from edge.types import Inference, Outcome

Response = TypeVar("Response")
_FINDING = (Task.DETECT, Task.COUNT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply(Generic[Response]):
    """What a route answers.

    Attributes:
        response: By the contract.
        said: For the audit.
    """

    response: Response
    said: Said


class Clerk:
    """The work behind the routes. Thread-safe; every call may take as long as the disk or the network needs.

    Answers that were asked for and answers that the page was shown are remembered apart, so that a camera does not
    push out what a person has yet to say something about.

    Args:
        desk: The agent.
        options: What may be remembered.
        clock: Seconds since the epoch, UTC.
    """

    def __init__(self, desk: Desk, options: KioskOptions, *, clock: Callable[[], float]) -> None:
        self._desk = desk
        self._options = options
        self._clock = clock
        self._asked, self._shown = (
            Recent(max_answers=options.max_remembered, max_bytes=options.max_remembered_bytes) for _ in range(2)
        )
        self._pictures = ScreenPictures(longest=options.screen_side)

    def predict(self, question: Question, client: str) -> Reply[PredictionResponse]:
        """Answers for a picture.

        Args:
            question: The picture, and how to answer.
            client: Address of who asks.

        Raises:
            EdgeloopError: As `Desk.recognise`.
        """
        answer = self._desk.recognise(question.picture, source=f"kiosk {client}", top_k=question.options.top_k)
        self._asked.remember(answer)
        response = prediction_response(answer, question.options)
        return Reply(response=response, said=_said(response))

    def recognise(self, question: Question, client: str) -> Reply[PredictionResponse]:
        """Answers for a picture with several things in it; raises as `predict`, and for a bundle that finds nothing.

        Raises:
            RequestError: 409, the bundle names whole pictures; 503, there is none.
        """
        serving = self._desk.serving()
        if serving is None:
            raise later(503, "there is no bundle to answer with yet", wait_s=5)
        if serving.manifest.task not in _FINDING:
            raise RequestError(
                409,
                f"the bundle {serving.manifest.name!r} names whole pictures and finds no things in them; "
                "send the picture to /predict",
            )
        return self.predict(question, client)

    def feedback(self, asked: FeedbackRequest) -> Reply[FeedbackResponse]:
        """Stores what a person says; on return it survives a power cut.

        Raises:
            RequestError: 404, the answer is not remembered; 409 and 422 where the feedback makes no sense.
            EdgeloopError: As `Desk.feedback`.
        """
        answer = self._asked.find(asked.prediction_id) or self._shown.find(asked.prediction_id)
        if answer is None:
            raise RequestError(
                404, "this prediction is not remembered any more; send the picture again and use the new prediction_id"
            )
        feedback = feedback_value(asked, predicted=_named(answer.inference), now=self._clock())
        digest = self._desk.feedback(answer, feedback)
        response = FeedbackResponse(
            prediction_id=asked.prediction_id, kind=feedback.kind, label=feedback.label, sample_digest=digest
        )
        return Reply(response=response, said=said_of(asked, label=feedback.label))

    def live(self) -> LiveResponse:
        """The newest answer for a frame of the source."""
        answer = self._desk.latest()
        if answer is not None:
            self._shown.remember(answer)
        return live_response(answer, self._desk.serving(), self._desk.watching(), now=self._clock())

    def picture(self, prediction_id: str | None) -> bytes:
        """A JPEG of the newest frame, or of the one that an answer is about.

        Raises:
            RequestError: 404, there is none.
        """
        if prediction_id is None:
            answer = self._desk.latest()
        else:
            answer = self._shown.find(prediction_id) or self._asked.find(prediction_id)
        if answer is None:
            raise RequestError(404, "there is no such picture; ask /live for the newest answer")
        return self._pictures.of(answer)

    def health(self) -> HealthResponse:
        """How the device is."""
        return health_response(
            self._desk.state(),
            self._desk.serving(),
            self._desk.watching(),
            last_error=self._desk.counts().last_error,
            software=edge.__version__,
        )

    def labels(self) -> LabelsResponse:
        """What an answer may name."""
        serving = self._desk.serving()
        return LabelsResponse(labels=list(serving.labels) if serving is not None else [])


def _named(inference: Inference) -> str:
    """What the bundle names, without anybody's stricter threshold; empty where it names nothing."""
    return "" if inference.decision.outcome is Outcome.UNKNOWN else inference.prediction.headline.label


def said_of(asked: FeedbackRequest, *, label: str = "") -> Said:
    """What a feedback says, for the audit."""
    return Said(prediction_id=asked.prediction_id, kind=asked.kind.value, label=label or asked.label, who=asked.who)


def _said(response: PredictionResponse) -> Said:
    return Said(
        prediction_id=response.prediction_id,
        predicted_class=response.predicted_class,
        outcome=response.outcome.value,
        confidence=response.confidence,
    )
