"""Puts the kiosk API together: routes, pages, errors, and the guard around them."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException

import edge
from edge.kiosk.asked import JSON_TYPE, first_mistake
from edge.kiosk.clerk import Clerk
from edge.kiosk.guard import Guard
from edge.kiosk.metrics import Metrics
from edge.kiosk.openapi import complete
from edge.kiosk.options import KioskOptions
from edge.kiosk.pages import make_pages
from edge.kiosk.refusals import INTERNAL, RequestError
from edge.kiosk.routes import Workers, make_router
from edge.wording import plain_line

if TYPE_CHECKING:
    from edge.kiosk.audit import Audit
    from edge.kiosk.desk import Desk

_ABOUT = "Answers for pictures on the device itself, offline. Every field and error: docs/formats/http.md."


def make_app(
    desk: Desk,
    options: KioskOptions,
    *,
    audit: Audit,
    clerks: Executor,
    answerers: Executor,
    clock: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
) -> Guard:
    """The whole application, ready to be served.

    Args:
        desk: The agent.
        options: What is allowed.
        audit: Where requests are written down.
        clerks: Threads for the disk.
        answerers: Threads for pictures.
        clock: Seconds since the epoch, UTC.
        monotonic: Seconds that never go back.
    """
    metrics = Metrics(desk)
    workers = Workers(clerks, answerers, options)
    app = bare_app(with_token=bool(options.token))
    app.include_router(make_router(Clerk(desk, options, clock=clock), metrics, workers, options))
    app.include_router(make_pages())
    return Guard(app, options, metrics=metrics, audit=audit, clerks=clerks, clock=clock, monotonic=monotonic)


def bare_app(*, with_token: bool) -> FastAPI:
    """An application without routes that answers every error with the body of the contract.

    Args:
        with_token: Whether its description asks for a token.
    """
    handlers: dict[int | type[Exception], Any] = {
        RequestError: _on_refusal,
        HTTPException: _on_http,
        RequestValidationError: _on_mistake,
        Exception: _on_failure,
    }
    # FastAPI would else follow variables of the environment and report to whoever they name.
    quiet: Any = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
    app = FastAPI(
        title="edgeloop kiosk",
        version=edge.__version__,
        description=_ABOUT,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        exception_handlers=handlers,
        telemetry=quiet,
    )

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(title=app.title, version=app.version, description=_ABOUT, routes=app.routes)
            app.openapi_schema = complete(document, with_token=with_token)
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]
    return app


def _reply(refusal: RequestError) -> Response:
    return Response(refusal.body(), refusal.status, refusal.headers, JSON_TYPE)


def _on_refusal(request: Request, refusal: RequestError) -> Response:
    return _reply(refusal)


def _on_http(request: Request, error: HTTPException) -> Response:
    headers = dict(error.headers or {})
    match error.status_code:
        case 404:
            message = (
                f"there is no {request.method} {plain_line(request.url.path, most=80)}; see /docs for what there is"
            )
        case 405:
            message = f"{request.method} is not answered here; use {headers.get('Allow', 'another method')}"
        case _:
            message = str(error.detail)
    return _reply(RequestError(error.status_code, message, headers=headers))


def _on_mistake(request: Request, error: RequestValidationError) -> Response:
    return _reply(RequestError(422, first_mistake(list(error.errors()))))


def _on_failure(request: Request, error: Exception) -> Response:
    return _reply(RequestError(500, INTERNAL))
