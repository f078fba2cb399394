"""What nobody may read in a report: which settings are secret, and how a line loses them."""

from __future__ import annotations

import dataclasses
import re
import urllib.parse

from edge.settings import AgentSettings
from edge.sources.select import public_name

HIDDEN = "***"
# A shorter word would be struck out of the middle of others, and keeps nobody out anyway.
_LEAST_SECRET = 4
_LOGIN = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)[^/\s?#]*@")
_QUERY_SECRET = re.compile(r"(?i)([?&;/](?:token|password|passwd|pwd|pass|key|secret|auth)=)[^&;/\s#'\"]+")


def secret_names(settings: AgentSettings) -> frozenset[str]:
    """Names of the settings that hold something secret: those that say so, and addresses with a login in them."""
    names = set()
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if value and (not field.repr or (isinstance(value, str) and _has_login(field.name, value))):
            names.add(field.name)
    return frozenset(names)


def without_login(text: str) -> str:
    """A text whose addresses have lost user, password and secret parameters."""
    return _QUERY_SECRET.sub(rf"\g<1>{HIDDEN}", _LOGIN.sub(rf"\g<scheme>{HIDDEN}@", text))


def without_secrets(text: str, settings: AgentSettings) -> str:
    """A line of a report, all on one line, in which nothing secret is left."""
    line = without_login(" ".join(text.split()))
    for secret in sorted(_words(settings), key=len, reverse=True):
        line = line.replace(secret, HIDDEN)
    return line


def _has_login(name: str, value: str) -> bool:
    return without_login(value) != value or (name == "source" and public_name(value) != value)


def _words(settings: AgentSettings) -> frozenset[str]:
    """What must not be read: whole values of secret settings, and passwords inside of addresses."""
    found = set()
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if not isinstance(value, str):
            continue
        if not field.repr or _has_login(field.name, value):
            found.add(value)
        if "@" in value and "://" in value:
            login = value.partition("://")[2].rpartition("@")[0]
            password = login.partition(":")[2]
            found |= {password, urllib.parse.unquote(password)}
    return frozenset(word for word in found if len(word) >= _LEAST_SECRET)
