"""The description of the API: which status every route may answer with, and what bodies look like."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from edge.kiosk.schemas import ErrorResponse, FeedbackRequest, PredictOptions, PredictRequest

Responses = dict[int | str, dict[str, Any]]
REFERENCE = "#/components/schemas/{model}"
JSON_BODY = {"application/json": {"schema": {"$ref": REFERENCE.format(model="PredictRequest")}}}
FORM_BODY = {"multipart/form-data": {"schema": {"$ref": REFERENCE.format(model="PredictForm")}}}
_REASONS = {
    401: "The token is missing or wrong.",
    403: "The request comes from a page of another site.",
    404: "There is no such prediction or picture any more.",
    408: "The body did not come in time.",
    409: "What was asked for does not go with the bundle or the answer, or the picture may not be kept.",
    413: "The body or picture is too large.",
    415: "The body is of another type.",
    421: "The host name is not served here.",
    422: "A field is missing or wrong, or the picture cannot be used.",
    429: "Too many requests from this address.",
    500: "The device program failed.",
    503: "Nothing can answer yet, or too many pictures wait.",
    507: "The disk is full or failing.",
}
_WAITS = (429, 503)


def _responses(*statuses: int) -> Responses:
    return {status: _response(status) for status in sorted(statuses)}


def _response(status: int) -> dict[str, Any]:
    told: dict[str, Any] = {"model": ErrorResponse, "description": _REASONS[status]}
    if status in _WAITS:
        told["headers"] = {
            "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}
        }
    return told


_EVERY = (401, 403, 408, 413, 415, 421, 429, 500)
LOOK = _responses(401, 421, 429, 500, 413, 415, 503)
ASK = _responses(*_EVERY, 422, 503, 507)
FEEDBACK = _responses(*_EVERY, 404, 409, 422, 503, 507)
PICTURE: Responses = {
    200: {"description": "The picture.", "content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}},
    **LOOK,
    **_responses(404, 422),
}


def request_body(model: str) -> dict[str, Any]:
    """The body of a route that reads it itself, as JSON."""
    content = {"application/json": {"schema": {"$ref": REFERENCE.format(model=model)}}}
    return {"requestBody": {"required": True, "content": content}}


def question_body(*contents: dict[str, Any]) -> dict[str, Any]:
    """The body of a route that takes a picture.

    Args:
        contents: `JSON_BODY`, `FORM_BODY` or both.
    """
    return {
        "requestBody": {"required": True, "content": {kind: body for one in contents for kind, body in one.items()}}
    }


def complete(document: dict[str, Any], *, with_token: bool) -> dict[str, Any]:
    """Adds what the routes do not tell by themselves: the bodies they read, and the token.

    Args:
        document: What FastAPI has made of the routes.
        with_token: Whether callers must show one.
    """
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for model in (PredictRequest, FeedbackRequest):
        schemas |= _schemas_of(model)
    schemas["PredictForm"] = _form_schema()
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    if with_token:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
    return document


def _schemas_of(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema(ref_template=REFERENCE)
    inner: dict[str, Any] = schema.pop("$defs", {})
    return {**inner, model.__name__: schema}


def _form_schema() -> dict[str, Any]:
    schema = PredictOptions.model_json_schema(ref_template=REFERENCE)
    picture = {
        "type": "string",
        "format": "binary",
        "description": "A JPEG, PNG or WebP file.",
        "contentMediaType": "application/octet-stream",
    }
    # A form has no null: what is left out has its default.
    schema["properties"]["top_k"] = {
        **{key: value for key, value in schema["properties"]["top_k"].items() if key not in ("anyOf", "default")},
        **schema["properties"]["top_k"]["anyOf"][0],
    }
    schema["properties"] = {"file": picture, **schema["properties"]}
    return {
        **schema,
        "title": "PredictForm",
        "description": "A picture to answer for, in a form.",
        "required": ["file"],
    }
