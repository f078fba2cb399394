"""Makes pages of templates: everything is escaped, nothing comes from elsewhere."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import jinja2
from fastapi import Response

from cloud_train.api.asked import shown, write_labels
from cloud_train.api.callers import SignedIn
from cloud_train.api.moments import age, when
from cloud_train.api.snippets import bundle, device_link, labels, mark, moment

TEMPLATES = Path(__file__).parent / "templates"


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
        number=number,
        size=size,
        path=path_part,
        query=query,
        label_lines=write_labels,
        few=shown,
    )
    made.globals.update(age=age, moment=moment, mark=mark, bundle=bundle, labels=labels, device_link=device_link)
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
