"""The small pieces that lists repeat hundreds of times a page, as HTML; what they are given is escaped here.

As macros of templates they took two thirds of the time of a page of devices.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import quote, urlencode

import jinja2
from markupsafe import Markup, escape

from cloud_train.api.moments import ago, iso, when

_SHORT, _SHORTER = 12, 8


@jinja2.pass_context
def moment(context: jinja2.runtime.Context, at: float) -> Markup:
    """How long ago something was, and when as a tip."""
    return Markup(f'<time datetime="{iso(at)}" title="{when(at)}">{ago(at, context["now"])}</time>')  # noqa: S704 - numbers


@lru_cache(maxsize=64)
def mark(word: enum.Enum) -> Markup:
    """The word of one of our own enumerations, in its colour."""
    return Markup(f'<span class="mark {word.value.replace(" ", "_")}">{word.value.replace("_", " ")}</span>')  # noqa: S704 - our words


def bundle(digest: str, names: Mapping[str, str]) -> Markup:
    """A bundle by its name, where it has one, and the beginning of its digest."""
    if not digest:
        return Markup('<span class="soft">none</span>')
    return _bundle(digest, names.get(digest, ""))


def labels(some: Mapping[str, str]) -> Markup:
    """Labels, each with a link to the devices that have it."""
    return Markup("").join(_label(key, value) for key, value in sorted(some.items()))


def device_link(device_id: str) -> Markup:
    """A device's name with a link to its page."""
    return Markup('<a href="/devices/{}">{}</a>').format(quote(device_id, safe=""), device_id)


@lru_cache(maxsize=256)
def _bundle(digest: str, name: str) -> Markup:
    if not name:
        return Markup('<span title="{}"><code>{}</code></span>').format(digest, digest[:_SHORT])
    told = Markup('<span title="{}">{} <code class="soft">{}</code></span>')
    return told.format(digest, name, digest[:_SHORTER])


@lru_cache(maxsize=4096)
def _label(key: str, value: str) -> Markup:
    address = escape(f"/devices?{urlencode({'label': f'{key}={value}'})}")
    return Markup('<a class="tag" href="{}">{}={}</a>').format(address, key, value)
