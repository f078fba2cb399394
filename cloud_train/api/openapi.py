"""The description of the API: `GET /api/v1/openapi.json`."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse

import edge
from edge.kiosk.schemas import ErrorResponse

ADDRESS = "/api/v1/openapi.json"
REFERENCE = "#/components/schemas/{model}"
_REASONS = {
    400: "The body cannot be read.",
    401: "The token is missing, unknown or revoked.",
    403: "The role of the person is not enough, or a page of another site asks.",
    404: "There is no such device or rollout.",
    409: "It cannot be done where things stand.",
    413: "The body is too large.",
    414: "The address is too long.",
    421: "The host name is not served here.",
    422: "A field is missing or wrong.",
    429: "Too many requests from this address.",
    500: "The server failed.",
    503: "The database is away.",
}
_ONLY_POST = (403, 409, 413)


def add_description(app: FastAPI) -> None:
    """Serves the description of every route below `/api/`."""

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = complete(get_openapi(title="edgeloop", version=edge.__version__, routes=app.routes))
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]

    @app.get(ADDRESS, include_in_schema=False)
    def openapi() -> JSONResponse:
        return JSONResponse(app.openapi())


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """Adds what the routes do not tell by themselves: errors, and the token.

    Args:
        document: What FastAPI has made of the routes.
    """
    document["paths"] = {path: methods for path, methods in document["paths"].items() if path.startswith("/api/")}
    parts = document.setdefault("components", {})
    schemas = parts.setdefault("schemas", {})
    schemas["ErrorResponse"] = ErrorResponse.model_json_schema(ref_template=REFERENCE)
    schemas |= schemas["ErrorResponse"].pop("$defs", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    error = {"application/json": {"schema": {"$ref": REFERENCE.format(model="ErrorResponse")}}}
    for methods in document["paths"].values():
        for method, operation in methods.items():
            statuses = [status for status in _REASONS if method == "post" or status not in _ONLY_POST]
            operation["responses"] |= {
                str(status): {"description": _REASONS[status], "content": error} for status in statuses
            }
    parts["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"token": []}]
    return document
