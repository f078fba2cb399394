"""The routes of the kiosk API. Page: docs/formats/http.md."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Annotated, TypeVar

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from edge.errors import EdgeloopError
from edge.kiosk.asked import FORM_TYPE, JSON_TYPE, Question, media_type, read_feedback, read_question
from edge.kiosk.clerk import Clerk, Reply, said_of
from edge.kiosk.guard import mark
from edge.kiosk.metrics import Metrics
from edge.kiosk.openapi import ASK, FEEDBACK, FORM_BODY, JSON_BODY, LOOK, PICTURE, question_body, request_body
from edge.kiosk.options import KioskOptions
from edge.kiosk.refusals import RequestError, refusal_of
from edge.kiosk.schemas import (
    PREDICTION_ID,
    FeedbackResponse,
    HealthResponse,
    LabelsResponse,
    LiveResponse,
    PredictionResponse,
)
from edge.kiosk.turns import Place, Turns

Done = TypeVar("Done")
Work = Callable[[Question, str], Reply[PredictionResponse]]


class Workers:
    """Threads for what would stop the event loop: the network, the disk, JSON of many megabytes.

    Args:
        clerks: For everything but pictures to answer for.
        answerers: For those.
        options: How many may wait for an answerer.
    """

    def __init__(self, clerks: Executor, answerers: Executor, options: KioskOptions) -> None:
        self._clerks = clerks
        self._answerers = answerers
        self.turns = Turns(
            workers=options.workers,
            queue=options.queue,
            timeout_s=options.queue_timeout_s,
            max_bytes=options.max_waiting_bytes,
        )

    async def aside(self, work: Callable[[], Done]) -> Done:
        """Does something beside the loop; our own errors become refusals."""
        return await self._in(self._clerks, work)

    async def answer(self, work: Callable[[], Done]) -> Done:
        """The same for a picture, in its turn."""
        async with self.turns.turn():
            return await self._in(self._answerers, work)

    async def _in(self, executor: Executor, work: Callable[[], Done]) -> Done:
        try:
            return await asyncio.get_running_loop().run_in_executor(executor, work)
        except EdgeloopError as cause:
            raise refusal_of(cause) from cause


def make_router(clerk: Clerk, metrics: Metrics, workers: Workers, options: KioskOptions) -> APIRouter:
    """All routes but those of the page.

    Args:
        clerk: Does the work.
        metrics: What `GET /metrics` tells.
        workers: Where it is done.
        options: Sizes.
    """
    router = APIRouter()
    _add_questions(router, clerk, workers, options)
    _add_feedback(router, clerk, workers)
    _add_looks(router, clerk, workers)
    _add_health(router, clerk, metrics, workers)
    return router


def _add_questions(router: APIRouter, clerk: Clerk, workers: Workers, options: KioskOptions) -> None:
    async def answered(request: Request, work: Work, *types: str) -> Response:
        content_type = _content_type(request, *types)
        client = _client(request)

        def do(body: bytes) -> tuple[bytes, Reply[PredictionResponse]]:
            question = read_question(body, content_type, max_picture_bytes=options.max_picture_bytes)
            reply = work(question, client)
            return _json_bytes(reply.response), reply

        async with workers.turns.place() as place:
            body = await _body(request, place)
            data, reply = await workers.answer(lambda: do(body))
        mark(request.scope, reply.said)
        return Response(data, media_type=JSON_TYPE)

    @router.post(
        "/predict",
        tags=["pictures"],
        summary="Answer for a picture",
        responses=ASK,
        openapi_extra=question_body(JSON_BODY),
        response_model=PredictionResponse,
    )
    async def predict(request: Request) -> Response:
        """A picture in JSON, as base64."""
        return await answered(request, clerk.predict, JSON_TYPE)

    @router.post(
        "/predict/file",
        tags=["pictures"],
        summary="Answer for a picture file",
        responses=ASK,
        openapi_extra=question_body(FORM_BODY),
        response_model=PredictionResponse,
    )
    async def predict_file(request: Request) -> Response:
        """A picture as the field `file` of a form, the options as fields beside it."""
        return await answered(request, clerk.predict, FORM_TYPE)

    @router.post(
        "/recognize",
        tags=["pictures"],
        summary="Find, name and count things",
        responses=ASK | {409: FEEDBACK[409]},
        openapi_extra=question_body(JSON_BODY, FORM_BODY),
        response_model=PredictionResponse,
    )
    async def recognize(request: Request) -> Response:
        """Boxes, labels and numbers, of a bundle that finds things; JSON as `/predict` or a form as `/predict/file`."""
        return await answered(request, clerk.recognise, JSON_TYPE, FORM_TYPE)


def _add_feedback(router: APIRouter, clerk: Clerk, workers: Workers) -> None:
    @router.post(
        "/feedback",
        tags=["pictures"],
        summary="Say whether an answer is right",
        responses=FEEDBACK,
        openapi_extra=request_body("FeedbackRequest"),
        response_model=FeedbackResponse,
    )
    async def feedback(request: Request) -> Response:
        """Stored on the device's disk before the reply, and sent home with the picture."""
        _content_type(request, JSON_TYPE)
        asked = read_feedback(await request.body())
        mark(request.scope, said_of(asked))
        reply = await workers.aside(lambda: clerk.feedback(asked))
        mark(request.scope, reply.said)
        return _json(reply.response)


def _add_looks(router: APIRouter, clerk: Clerk, workers: Workers) -> None:
    @router.get("/live", tags=["camera"], summary="The newest answer", responses=LOOK, response_model=LiveResponse)
    async def live() -> Response:
        """For the newest frame of the source; or why there is none."""
        return _json(await workers.aside(clerk.live))

    @router.get("/live.jpg", tags=["camera"], summary="The newest picture", responses=PICTURE, response_class=Response)
    async def live_picture(
        prediction_id: Annotated[
            str | None, Query(pattern=PREDICTION_ID, description="The picture that this answer is about.")
        ] = None,
    ) -> Response:
        """The newest frame, or that of an answer, upright, as JPEG, no larger than a screen."""
        return Response(await workers.aside(lambda: clerk.picture(prediction_id)), media_type="image/jpeg")

    @router.get(
        "/labels", tags=["device"], summary="What an answer may name", responses=LOOK, response_model=LabelsResponse
    )
    async def labels() -> Response:
        """Every class that the bundle knows; empty before the first bundle."""
        return _json(await workers.aside(clerk.labels))


def _add_health(router: APIRouter, clerk: Clerk, metrics: Metrics, workers: Workers) -> None:
    @router.get("/health", tags=["device"], summary="How the device is", responses=LOOK, response_model=HealthResponse)
    async def health() -> Response:
        """Whether it can answer, what runs, and what waits to be sent."""
        return _json(await workers.aside(clerk.health))

    @router.get(
        "/metrics",
        tags=["device"],
        summary="Counters for Prometheus",
        responses=LOOK | {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
        response_class=Response,
    )
    async def read_metrics() -> Response:
        """Prometheus text format 0.0.4."""
        return Response(await workers.aside(metrics.text), headers={"content-type": metrics.media_type})


def _content_type(request: Request, *allowed: str) -> str:
    given = request.headers.get("content-type", "")
    if media_type(given) not in allowed:
        raise RequestError(415, f"the body must be {' or '.join(allowed)}, and its Content-Type must say so")
    return given


async def _body(request: Request, place: Place) -> bytes:
    pieces = []
    async for piece in request.stream():
        place.bring(len(piece))
        pieces.append(piece)
    return b"".join(pieces)


def _client(request: Request) -> str:
    return request.client.host if request.client is not None else ""


def _json(model: BaseModel) -> Response:
    return Response(_json_bytes(model), media_type=JSON_TYPE)


def _json_bytes(model: BaseModel) -> bytes:
    return model.model_dump_json().encode()
