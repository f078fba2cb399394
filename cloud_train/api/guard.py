"""The rim of API and pages: limits and checks before a request, headers after it.

Every path goes through it but the probes and the metrics, which monitors call by whatever name they know.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud_train.api.refusals import INTERNAL
from edge.kiosk.options import is_address
from edge.kiosk.rate import Allowance, Rates
from edge.kiosk.refusals import RequestError, later

if TYPE_CHECKING:
    from cloud_train.api.parts import ConsoleParts

PROBES = ("/healthz", "/readyz", "/metrics")
SAFE = ("GET", "HEAD", "OPTIONS")
SIGN_IN = "/sign-in"
MAX_BODY_BYTES = 64 * 1024
MAX_TARGET_BYTES = 4096
BODY_TIMEOUT_S = 20.0
HEADERS = {
    "x-content-type-options": "nosniff",
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    # Not no-referrer: browsers would then send forms with `Origin: null`.
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
}
_TLS_HEADERS = {"strict-transport-security": "max-age=31536000"}
_log = logging.getLogger(__name__)


class CallerGoneError(Exception):
    """The caller hung up."""


class Guard:
    """Wraps the application.

    Args:
        app: What answers.
        parts: Who may call, and how much.
    """

    def __init__(self, app: ASGIApp, parts: ConsoleParts) -> None:
        self._app = app
        self._parts = parts
        acts = parts.per_minute / 60
        self._acts = Rates(Allowance(per_second=acts, burst=max(10.0, 10 * acts)))
        self._looks = Rates(Allowance(per_second=10 * acts, burst=max(100.0, 100 * acts)))
        sign_ins = parts.sign_ins_per_minute
        self._sign_ins = Rates(Allowance(per_second=sign_ins / 60, burst=sign_ins))
        self._headers = [
            (name.encode(), value.encode())
            for name, value in (HEADERS | (_TLS_HEADERS if parts.is_tls else {})).items()
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        call = _Call(scope, receive, send, self._headers)
        try:
            self._let_in(scope, call.headers)
            await call.read_body()
            await self._app(scope, call.receive, call.send)
        except CallerGoneError:
            return
        except RequestError as refusal:
            await call.refuse(refusal)
        except Exception:
            # Here the request ends: whoever runs the server must find the cause, whoever called must not.
            _log.exception("%s %s failed", scope["method"], scope["path"][:80])
            await call.refuse(RequestError(500, INTERNAL))

    def _let_in(self, scope: Scope, headers: Headers) -> None:
        method, path = scope["method"], scope["path"]
        client = (scope.get("client") or ("", 0))[0]
        for rates in self._rates(method, path):
            wait_s = rates.wait_s(client, now=self._parts.monotonic())
            if wait_s > 0:
                raise later(429, "too many requests from this address", wait_s=wait_s)
        if len(scope["path"]) + len(scope.get("query_string", b"")) > MAX_TARGET_BYTES:
            raise RequestError(414, f"the address has more than {MAX_TARGET_BYTES} bytes")
        check_host(headers.get("host", ""), self._parts.hosts)
        if method not in SAFE:
            check_site(headers)
        declared = headers.get("content-length", "")
        if declared.isascii() and declared.isdigit() and int(declared) > MAX_BODY_BYTES:
            raise _too_large()

    def _rates(self, method: str, path: str) -> tuple[Rates, ...]:
        if method in SAFE:
            return (self._looks,)
        return (self._acts, self._sign_ins) if path == SIGN_IN else (self._acts,)


class _Call:
    """One request on its way through the guard."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, extra: list[tuple[bytes, bytes]]) -> None:
        self.headers = Headers(scope=scope)
        self._receive = receive
        self._send = send
        self._extra = extra
        self._is_head = scope["method"] == "HEAD"
        self._body: bytes | None = b""
        self._is_answered = False

    async def read_body(self) -> None:
        """All of the body, within its size whatever Content-Length says, and within its time.

        Raises:
            RequestError: 413, 408.
            CallerGoneError: The caller hung up.
        """
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                while True:
                    message = await self._receive()
                    if message["type"] == "http.disconnect":
                        raise CallerGoneError
                    body += message.get("body", b"")
                    if len(body) > MAX_BODY_BYTES:
                        raise _too_large()
                    if not message.get("more_body", False):
                        break
        except TimeoutError:
            raise RequestError(408, "the body did not come in time; send it faster") from None
        self._body = bytes(body)

    async def receive(self) -> Message:
        """The body, and after it whether the caller hung up."""
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Message) -> None:
        """Passes a piece of the reply on; the first one gets its headers."""
        if message["type"] == "http.response.start":
            self._is_answered = True
            present = {name.lower() for name, _ in message["headers"]}
            extra = [pair for pair in self._extra if pair[0] not in present]
            message = {**message, "headers": [*message["headers"], *extra]}
        await self._send(message)

    async def refuse(self, refusal: RequestError) -> None:
        """Ends the request, unless its reply has begun."""
        if self._is_answered:
            return
        body = refusal.body()
        headers = {"content-type": "application/json", "content-length": str(len(body)), **refusal.headers}
        raw = [(key.lower().encode(), value.encode("latin-1")) for key, value in headers.items()]
        raw.append((b"connection", b"close"))
        await self.send({"type": "http.response.start", "status": refusal.status, "headers": raw})
        await self.send({"type": "http.response.body", "body": b"" if self._is_head else body})


def check_host(host: str, names: tuple[str, ...]) -> None:
    """Refuses a foreign name that was made to point here (DNS rebinding); an address cannot be.

    Raises:
        RequestError: 421.
    """
    name = _without_port(host).lower()
    if is_address(name) or name == "localhost" or name in {one.lower() for one in names}:
        return
    raise RequestError(421, "this host name is not served here; start the server with it as --host")


def check_site(headers: Mapping[str, str]) -> None:
    """Refuses what a page of another site sends through somebody's browser.

    Raises:
        RequestError: 403.
    """
    site, origin = headers.get("sec-fetch-site", ""), headers.get("origin", "")
    ours = headers.get("host", "").lower()
    if (site and site not in ("same-origin", "none")) or (origin and origin.lower().partition("://")[2] != ours):
        raise RequestError(403, "requests from pages of other sites are refused; use the console's own page")


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host


def _too_large() -> RequestError:
    return RequestError(413, f"the body has more than {MAX_BODY_BYTES} bytes")
