"""Who may come in: the checks that a request's first lines must pass. Pure.

A browser on this machine may show pages of strangers. They must not use the API through it: a name that was rebound
to this address is refused by the Host header, a form or script of another site by `Origin` and `Sec-Fetch-Site` (Fetch
Metadata Request Headers, W3C).
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from edge.kiosk.options import KioskOptions, is_address
from edge.kiosk.refusals import RequestError

SAFE = ("GET", "HEAD", "OPTIONS")
# What holds nothing of the device: the page itself, its parts, and the description of the API.
OPEN = ("/", "/docs", "/openapi.json")
OPEN_FOLDERS = ("/page/", "/docs/")


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstLines:
    """What is known of a request before its body.

    Attributes:
        method: `GET`, `POST`, …
        path: Without query.
        headers: By small names; of several of one name all, joined by `, `.
    """

    method: str
    path: str
    headers: Mapping[str, str]


def refuse_strangers(request: FirstLines, options: KioskOptions) -> None:
    """Lets a request pass or raises.

    Raises:
        RequestError: 421 for a foreign host name, 403 for a foreign site, 401 without the token.
    """
    _check_host(request.headers.get("host", ""), options)
    if request.method not in SAFE:
        _check_site(request.headers)
    if options.token and not is_open(request.path):
        _check_token(request.headers.get("authorization", ""), options.token)


def is_open(path: str) -> bool:
    """Whether a path is served without the token."""
    return path in OPEN or path.startswith(OPEN_FOLDERS)


def _check_host(host: str, options: KioskOptions) -> None:
    name = _without_port(host).lower()
    known = {"localhost", options.host.lower(), *(one.lower() for one in options.names)}
    # An address cannot be rebound, only a name can.
    if is_address(name) or name in known:
        return
    raise RequestError(421, "this host name is not served here; call the device by its address or as localhost")


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() and ":" in host else host


def _check_site(headers: Mapping[str, str]) -> None:
    site = headers.get("sec-fetch-site", "")
    origin = headers.get("origin", "")
    ours = headers.get("host", "").lower()
    foreign = (site and site not in ("same-origin", "none")) or (origin and origin.lower().partition("://")[2] != ours)
    if foreign:
        raise RequestError(
            403, "requests from pages of other sites are refused; call the API from its own page or a program"
        )


def _check_token(given: str, token: str) -> None:
    scheme, _, shown = given.partition(" ")
    if scheme.lower() == "bearer" and hmac.compare_digest(shown.strip().encode(), token.encode()):
        return
    raise RequestError(
        401,
        "a token is needed; send the device's kiosk_token as 'Authorization: Bearer TOKEN'",
        headers={"WWW-Authenticate": 'Bearer realm="edgeloop"'},
    )
