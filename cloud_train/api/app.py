"""Puts API and pages on an application: routers, errors, and the guard around them."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException

from cloud_train.api.callers import SignInNeededError, sign_in_address
from cloud_train.api.guard import SAFE, Guard
from cloud_train.api.openapi import add_description
from cloud_train.api.pages import make_pages
from cloud_train.api.parts import ConsoleParts
from cloud_train.api.refusals import INTERNAL, one_line, refusal_of
from cloud_train.api.rendering import page
from cloud_train.api.rollout_pages import make_rollout_pages
from cloud_train.api.routes import make_api
from edge.errors import EdgeloopError
from edge.kiosk.asked import JSON_TYPE, first_mistake
from edge.kiosk.refusals import RequestError

_NOTED = (403, 404, 422)
"""Refusals of somebody who is known, or asks for nonsense; wrong tokens are noted where they are counted."""


def add_console(app: FastAPI, parts: ConsoleParts) -> None:
    """Adds API, pages, errors and the guard to an application that may have routes of its own.

    Args:
        app: The application.
        parts: What they work with.
    """
    app.include_router(make_api(parts))
    app.include_router(make_pages(parts))
    app.include_router(make_rollout_pages(parts))
    add_description(app)
    _add_errors(app, parts)
    app.add_middleware(Guard, parts=parts)


def _add_errors(app: FastAPI, parts: ConsoleParts) -> None:
    def reply(request: Request, refusal: RequestError) -> Response:
        if refusal.status in _NOTED:
            who = f"peer:{request.client.host if request.client else 'unknown'}"
            parts.note(who, "api.refused", "call", status=str(refusal.status), reason=refusal.message)
        if is_for_programs(request.url.path):
            return Response(refusal.body(), refusal.status, refusal.headers, JSON_TYPE)
        shown: dict[str, Any] = {"error_status": refusal.status, "message": refusal.message}
        made = page("error.html", who=None, now=parts.clock(), status=refusal.status, **shown)
        made.headers.update(refusal.headers)
        return made

    def on_refusal(request: Request, error: RequestError) -> Response:
        return reply(request, error)

    def on_ours(request: Request, error: EdgeloopError) -> Response:
        return reply(request, refusal_of(error))

    def on_mistake(request: Request, error: RequestValidationError) -> Response:
        return reply(request, RequestError(422, one_line(first_mistake(list(error.errors())))))

    def on_http(request: Request, error: HTTPException) -> Response:
        return reply(request, _of_http(request, error))

    def on_stranger(request: Request, error: SignInNeededError) -> Response:
        wanted = error.wanted if request.method in SAFE else "/"
        return RedirectResponse(sign_in_address(wanted), 303)

    handlers: dict[Any, Any] = {
        RequestError: on_refusal,
        EdgeloopError: on_ours,
        RequestValidationError: on_mistake,
        HTTPException: on_http,
        SignInNeededError: on_stranger,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


def is_for_programs(path: str) -> bool:
    """Whether errors of a path are JSON; those of pages are pages."""
    return path.startswith("/api/")


def _of_http(request: Request, error: HTTPException) -> RequestError:
    headers = dict(error.headers or {})
    match error.status_code:
        case 404:
            message = f"there is no {request.method} {request.url.path[:80]}"
        case 405:
            message = f"{request.method} is not answered here; use {headers.get('Allow', 'another method')}"
        case 500:
            message = INTERNAL
        case _:
            message = str(error.detail)
    return RequestError(error.status_code, message, headers=headers)
