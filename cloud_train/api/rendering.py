"""Makes pages of templates: everything is escaped, nothing comes from elsewhere."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import jinja2
from fastapi import Response

import edge
from cloud_train.api.asked import shown, write_labels
from cloud_train.api.callers import SignedIn

TEMPLATES = Path(__file__).parent / "templates"
_UNITS = ((86_400.0, "day"), (3600.0, "hour"), (60.0, "minute"))


@functools.cache
def environment() -> jinja2.Environment:
    """The templates, read once."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters.update(
        when=when,
        iso=iso,
        ago=ago,
        number=number,
        size=size,
        path=path_part,
        query=query,
        label_lines=write_labels,
        few=shown,
    )
    made.globals.update(software=edge.__version__)
    return made


def page(name: str, *, who: SignedIn | None, now: float, status: int = 200, **values: Any) -> Response:  # noqa: ANN401
    """One page.

    Args:
        name: Of the template.
        who: Before it, None for nobody.
        now: Seconds since the epoch.
        status: HTTP status.
        values: What the template shows.
    """
    text = environment().get_template(name).render(who=who, now=now, **values)
    return Response(text, status, media_type="text/html; charset=utf-8")


def when(at: float) -> str:
    """A moment, as people read it."""
    return _moment(at).strftime("%Y-%m-%d %H:%M:%S UTC")


def iso(at: float) -> str:
    """A moment, as `<time datetime>` has it."""
    return _moment(at).isoformat(timespec="seconds")


def ago(at: float, now: float) -> str:
    """How long ago a moment was, in the largest unit that fits."""
    seconds = now - at
    if seconds < -60:
        return "in the future"
    for length, name in _UNITS:
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {name}{'' if count == 1 else 's'} ago"
    return "just now"


def number(value: float) -> str:
    """A whole number with its thousands apart."""
    return f"{value:,.0f}"


def size(value: float) -> str:
    """A number of bytes."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(value) < 1000:
            return f"{value:,.0f} {unit}" if unit == "B" else f"{value:,.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"


def path_part(text: str) -> str:
    """A name as one part of an address."""
    return quote(text, safe="")


def query(values: dict[str, str], **changes: str) -> str:
    """The part of an address from the question mark on; what is empty is left out."""
    asked = {name: value for name, value in {**values, **changes}.items() if value}
    return f"?{urlencode(asked)}" if asked else ""


def _moment(at: float) -> datetime.datetime:
    try:
        return datetime.datetime.fromtimestamp(at, datetime.UTC)
    except (OverflowError, ValueError, OSError):
        return datetime.datetime.fromtimestamp(0, datetime.UTC)


Render = Callable[..., Response]
