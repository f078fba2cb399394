"""What a body asks for, read strictly; every mistake is one line that names the field."""

from __future__ import annotations

import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from edge.errors import FormatError
from edge.kiosk.forms import read_form
from edge.kiosk.refusals import RequestError
from edge.kiosk.schemas import FeedbackRequest, PredictOptions, PredictRequest
from edge.types import Feedback, FeedbackKind
from edge.wire.limits import check_feedback
from edge.wording import plain_line

FILE = "file"
JSON_TYPE, FORM_TYPE = "application/json", "multipart/form-data"
_LONGEST_VALUE = 40
_LONGEST_KEY = 80
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A picture to answer for.

    Attributes:
        picture: Encoded, as it was sent.
        options: How to answer.
    """

    picture: bytes
    options: PredictOptions


def media_type(content_type: str) -> str:
    """The type alone, in small letters, without parameters."""
    return content_type.partition(";")[0].strip().lower()


def read_question(body: bytes, content_type: str, *, max_picture_bytes: int) -> Question:
    """A picture and options, from JSON or from a form.

    Args:
        body: All of it.
        content_type: The header; its type is one of the two.
        max_picture_bytes: Larger pictures are refused.

    Raises:
        RequestError: 422 with what is wrong, 413 for too large a picture.
    """
    if media_type(content_type) == FORM_TYPE:
        question = _from_form(body, content_type)
    else:
        asked = _from_json(PredictRequest, body)
        options = PredictOptions.model_validate(asked.model_dump(exclude={"image"}))
        question = Question(picture=_decoded(asked.image), options=options)
    if len(question.picture) > max_picture_bytes:
        raise RequestError(413, f"the picture has more than {max_picture_bytes} bytes; send a smaller one")
    return question


def read_feedback(body: bytes) -> FeedbackRequest:
    """A person's word, from JSON.

    Raises:
        RequestError: 422 with what is wrong.
    """
    return _from_json(FeedbackRequest, body)


def feedback_value(asked: FeedbackRequest, *, predicted: str, now: float) -> Feedback:
    """The feedback as it is stored; `confirmed` takes the label of the answer.

    Args:
        asked: What was sent.
        predicted: The answer's best class, empty where nothing was found.
        now: Seconds since the epoch.

    Raises:
        RequestError: 422 where kind and label do not go together, 409 where there is nothing to confirm.
    """
    label = asked.label
    if asked.kind is FeedbackKind.CONFIRMED:
        if not predicted:
            raise RequestError(
                409, "the answer names no class to confirm; send 'corrected' with a label, or 'none_of_these'"
            )
        if label not in ("", predicted):
            raise RequestError(
                422, f"label: 'confirmed' means the answer's {predicted!r}; send 'corrected' for another class"
            )
        label = predicted
    value = Feedback(kind=asked.kind, label=label, who=asked.who, at=now)
    try:
        check_feedback(value)
    except FormatError as cause:
        raise RequestError(422, cause.message.removeprefix("feedback.")) from cause
    return value


def _from_json(model: type[Model], body: bytes) -> Model:
    try:
        return model.model_validate_json(body)
    except ValidationError as cause:
        raise RequestError(422, first_mistake(cause.errors(include_url=False, include_input=False))) from cause


def first_mistake(errors: Sequence[object]) -> str:
    """The first thing that is wrong with a body or a query, in one line; of a caller's own key its beginning."""
    first = errors[0]
    assert isinstance(first, dict)  # noqa: S101 - as pydantic and FastAPI make them
    message = str(first["msg"])
    if first["type"] == "json_invalid":
        return f"the body is no JSON: {message.removeprefix('Invalid JSON: ')}"
    where = _key(".".join(str(part) for part in first["loc"] if part not in ("body", "query")))
    return f"{where or 'body'}: {message[:1].lower()}{message[1:]}"


def _key(text: str) -> str:
    return plain_line(text, most=_LONGEST_KEY)


def _from_form(body: bytes, content_type: str) -> Question:
    parts = read_form(body, content_type)
    names = [part.name for part in parts]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise RequestError(422, f"{_key(twice)}: the form has this field twice")
    picture = next((part.data for part in parts if part.name == FILE), None)
    if picture is None:
        raise RequestError(422, f"{FILE}: the form has no such field; send the picture in it")
    words = {part.name: _value(part.data.decode("utf-8", "replace")) for part in parts if part.name != FILE}
    try:
        options = PredictOptions.model_validate(words)
    except ValidationError as cause:
        raise RequestError(422, first_mistake(cause.errors(include_url=False, include_input=False))) from cause
    return Question(picture=picture, options=options)


def _value(word: str) -> object:
    """A word of a form as JSON has it: `true`, `0.5`, `3`; anything else stays a word, and is none of the options."""
    if len(word) > _LONGEST_VALUE or word == "null":
        return word
    try:
        return json.loads(word)
    except ValueError:
        return word


def _decoded(text: str) -> bytes:
    if text.startswith("data:"):
        raise RequestError(422, "image: send the base64 alone, without the 'data:…;base64,' before it")
    try:
        if len(text) % 4 or text.endswith("==="):  # which the decoder below lets pass
            raise binascii.Error("padding")
        return binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except (UnicodeEncodeError, binascii.Error) as cause:
        raise RequestError(422, "image: not base64 (RFC 4648, section 4, padded, no line breaks)") from cause
