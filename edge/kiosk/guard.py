"""The rim of the API: limits and checks before a request, headers, counts and the audit after it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from edge.kiosk.asked import FORM_TYPE, media_type
from edge.kiosk.audit import Audit, AuditLine, Said
from edge.kiosk.gate import SAFE, FirstLines, refuse_strangers
from edge.kiosk.metrics import Metrics
from edge.kiosk.options import KioskOptions
from edge.kiosk.rate import Allowance, Rates
from edge.kiosk.refusals import INTERNAL, RequestError, later

AUDITED = ("/predict", "/predict/file", "/recognize", "/feedback")
ROUTES = (*AUDITED, "/", "/docs", "/health", "/labels", "/live", "/live.jpg", "/metrics", "/openapi.json")
SAID = "edgeloop.said"
FEEDBACK_BYTES = 16_384
# Where nothing else is said: no script, no frame, no guess at types, no copy left behind, nothing for other sites.
HEADERS = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
# A caller that is refused while it still sends gets so long to finish, so that it reads the reply and no reset.
_DRAIN_S = 1.0
_log = logging.getLogger(__name__)


class CallerGoneError(Exception):
    """The caller hung up."""


class Guard:
    """Wraps the application.

    Args:
        app: What answers.
        options: What is allowed.
        metrics: Told of every request.
        audit: Told of every request that asks or says something.
        clerks: Runs what may wait for the disk.
        clock: Seconds since the epoch, UTC.
        monotonic: Seconds that never go back.
    """

    def __init__(
        self,
        app: FastAPI,
        options: KioskOptions,
        *,
        metrics: Metrics,
        audit: Audit,
        clerks: Executor,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._options = options
        self._metrics = metrics
        self._audit = audit
        self._clerks = clerks
        self._clock = clock
        self._monotonic = monotonic
        asks = options.per_minute / 60
        self._asks = Rates(Allowance(per_second=asks, burst=max(1.0, 10 * asks)))
        self._looks = Rates(Allowance(per_second=10 * asks, burst=max(10.0, 100 * asks)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            return
        call = _Call(self, scope, receive, send)
        try:
            self._let_in(call)
            await self._app(scope, call.receive, call.send)
        except CallerGoneError:
            return
        except RequestError as refusal:
            await call.refuse(refusal)
        except Exception:
            # Here the request ends: whoever runs the device must find the cause, whoever called must not.
            _log.exception("%s %s failed", call.method, call.route)
            await call.refuse(RequestError(500, INTERNAL))

    def description(self) -> dict[str, Any]:
        """The API in the words of OpenAPI."""
        return self._app.openapi()

    def _let_in(self, call: _Call) -> None:
        rates = self._looks if call.method in SAFE else self._asks
        wait_s = rates.wait_s(call.client, now=self._monotonic())
        if wait_s > 0:
            raise later(429, "too many requests from this address", wait_s=wait_s)
        refuse_strangers(call.first_lines(), self._options)
        if call.declared_bytes > call.max_bytes:
            raise too_large(call.max_bytes)
        if call.headers.get("content-encoding", "identity") != "identity":
            raise RequestError(415, "compressed bodies are not read; send it as it is, without Content-Encoding")

    def max_bytes(self, path: str, content_type: str) -> int:
        """Size of a body, at most."""
        if path in ("/predict", "/predict/file", "/recognize"):
            is_form = media_type(content_type) == FORM_TYPE
            return self._options.max_form_bytes if is_form else self._options.max_json_bytes
        return FEEDBACK_BYTES

    async def note(self, call: _Call, status: int) -> None:
        """Counts a request and writes it down, before its reply is sent."""
        took_s = self._monotonic() - call.started
        self._metrics.answered(call.route, status, took_s)
        if call.method != "POST" or call.route not in AUDITED or status == 429:
            return
        line = AuditLine(
            at=self._clock(),
            client=call.client,
            route=call.route,
            status=status,
            took_ms=took_s * 1000,
            said=call.scope.get(SAID, Said()),
        )
        if not await asyncio.get_running_loop().run_in_executor(self._clerks, self._audit.write, line):
            self._metrics.audit_failed()

    def start_call(self) -> tuple[float, float]:
        """Now, and when a body must be here."""
        now = self._monotonic()
        return now, now + self._options.body_timeout_s


class _Call:
    """One request on its way through the guard."""

    def __init__(self, guard: Guard, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.headers = Headers(scope=scope)
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.route = self.path if self.path in ROUTES else "other"
        self.client: str = (scope.get("client") or ("", 0))[0]
        self.max_bytes = guard.max_bytes(self.path, self.headers.get("content-type", ""))
        self.started, self._deadline = guard.start_call()
        self._guard = guard
        self._receive = receive
        self._send = send
        self._read = 0
        self._is_read = False
        self._is_answered = False

    @property
    def declared_bytes(self) -> int:
        """What Content-Length says, 0 where it says nothing."""
        declared = self.headers.get("content-length", "")
        return int(declared) if declared.isascii() and declared.isdigit() else 0

    def first_lines(self) -> FirstLines:
        """For the gate."""
        headers: dict[str, str] = {}
        for name, value in self.headers.items():
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return FirstLines(method=self.method, path=self.path, headers=headers)

    async def receive(self) -> Message:
        """The next piece of the body, within size and time; after it, whether the caller hung up."""
        if self._is_read:
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, self._deadline - self._guard.start_call()[0]))
        except TimeoutError:
            raise RequestError(408, "the body did not come in time; send it faster, or a smaller picture") from None
        if message["type"] == "http.disconnect":
            raise CallerGoneError
        self._read += len(message.get("body", b""))
        self._is_read = not message.get("more_body", False)
        if self._read > self.max_bytes:
            raise too_large(self.max_bytes)
        return message

    async def send(self, message: Message) -> None:
        """Passes a piece of the reply on; the first one is counted and gets its headers."""
        if message["type"] == "http.response.start":
            self._is_answered = True
            present = {name.lower() for name, _ in message["headers"]}
            extra = [(key.encode(), value.encode()) for key, value in HEADERS.items() if key.encode() not in present]
            if not self._has_whole_body():
                extra.append((b"connection", b"close"))
            await self._guard.note(self, message["status"])
            message = {**message, "headers": [*message["headers"], *extra]}
        await self._send(message)

    async def refuse(self, refusal: RequestError) -> None:
        """Ends the request, unless its reply has begun."""
        if self._is_answered:
            return
        body = refusal.body()
        headers = {"content-type": "application/json", "content-length": str(len(body)), **refusal.headers}
        raw = [(key.lower().encode(), value.encode("latin-1")) for key, value in headers.items()]
        await self._drain()
        await self.send({"type": "http.response.start", "status": refusal.status, "headers": raw})
        await self.send({"type": "http.response.body", "body": body})

    async def _drain(self) -> None:
        """Reads on for a moment, as much again as is allowed; a caller that waits to be asked is not asked."""
        if self._has_whole_body() or self.headers.get("expect"):
            return
        left = self.max_bytes
        try:
            async with asyncio.timeout(_DRAIN_S):
                while left > 0 and not self._is_read:
                    message = await self._receive()
                    left -= len(message.get("body", b""))
                    self._is_read = not message.get("more_body", False)
        except TimeoutError:
            return

    def _has_whole_body(self) -> bool:
        return self._is_read or ("transfer-encoding" not in self.headers and not self.declared_bytes)


def too_large(max_bytes: int) -> RequestError:
    """The refusal of a body over its limit."""
    return RequestError(413, f"the body has more than {max_bytes} bytes; send a smaller picture")


def mark(scope: Scope, said: Said) -> None:
    """Notes what a request was about, for its line in the audit."""
    scope[SAID] = said
