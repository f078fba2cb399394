"""Callers who never finish: a connection that sends no request, or reads no reply, is closed in time.

uvicorn itself waits for ever for the first lines of a request and for the reading of a reply.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from edge.kiosk.options import KioskOptions
from edge.kiosk.refusals import RequestError

if TYPE_CHECKING:
    from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_CONNECTIONS = 128
_MALFORMED = RequestError(400, "this is no HTTP request that can be understood")


def patient_protocol(options: KioskOptions) -> type[H11Protocol]:
    """The protocol of uvicorn with an end to its patience.

    Args:
        options: How long it lasts.
    """
    from uvicorn.protocols.http.h11_impl import H11Protocol

    pause_s = min(options.head_timeout_s, options.reply_timeout_s) / 4

    class PatientProtocol(H11Protocol):
        """One connection."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as the class above has them
            super().__init__(*args, **kwargs)
            self._look: asyncio.TimerHandle | None = None
            self._head_since: float | None = None
            self._stuck: tuple[int, float] = (0, 0.0)

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > MOST_CONNECTIONS:
                transport.abort()
                return
            self._look = self.loop.call_later(pause_s, self._look_again)

        def connection_lost(self, exc: Exception | None) -> None:
            if self._look is not None:
                self._look.cancel()
            super().connection_lost(exc)

        def send_400_response(self, msg: str) -> None:
            """The one body of every error, for what is no HTTP."""
            body = _MALFORMED.body()
            head = (
                "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n"
                f"x-content-type-options: nosniff\r\ncontent-length: {len(body)}\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
            self.transport.close()

        def _look_again(self) -> None:
            if self._is_silent() or self._is_stuck():
                self.transport.abort()
                return
            self._look = self.loop.call_later(pause_s, self._look_again)

        def _is_silent(self) -> bool:
            """Whether the first lines of a request take too long; uvicorn's own timer watches the time before them."""
            is_between = self.cycle is None or self.cycle.response_complete
            if not is_between or self.timeout_keep_alive_task is not None:
                self._head_since = None
                return False
            now = self.loop.time()
            self._head_since = self._head_since or now
            return now - self._head_since > options.head_timeout_s

        def _is_stuck(self) -> bool:
            """Whether nothing of a reply was taken for too long."""
            size, now = self.transport.get_write_buffer_size(), self.loop.time()
            if size == 0 or size != self._stuck[0]:
                self._stuck = (size, now)
                return False
            return now - self._stuck[1] > options.reply_timeout_s

    return PatientProtocol
