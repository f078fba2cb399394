"""Tells systemd that the service is up and still at work (sd_notify(3), sd_watchdog_enabled(3)).

One datagram a message, `NAME=value`, to the socket that systemd names in NOTIFY_SOCKET. Only the loop that answers
frames may call `beat`: when an inference is stuck the signs of life end, and systemd starts the service anew.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable

_BEATS = 3
_MAX_STATUS = 500


class Watchdog:
    """The line to systemd. Without a socket it does nothing; a broken one never stops the agent. Thread-safe.

    Args:
        socket_path: As in NOTIFY_SOCKET: an absolute path, or `@name` for an abstract socket; empty for nobody there.
        interval_s: systemd acts when it has heard nothing for so long; 0 when it does not wait for signs of life.
        clock: Seconds that never jump.
    """

    def __init__(self, socket_path: str, interval_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._address = _address(socket_path)
        self._pause_s = interval_s / _BEATS
        self._clock = clock
        self._due = float("-inf")
        self._unsaid = ""
        self._socket: socket.socket | None = None
        if self._address:
            with contextlib.suppress(OSError):
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
                self._socket.setblocking(False)

    def ready(self) -> None:
        """The service is up. Said again with the next beats, should systemd not have heard it."""
        if not self._send("READY=1") and self._socket is not None:
            self._unsaid = "READY=1"

    def say(self, status: str) -> None:
        """What `systemctl status` shows: one line."""
        self._send(f"STATUS={' '.join(status.split())[:_MAX_STATUS]}")

    def beat(self) -> None:
        """Still at work. Cheap enough for every frame: at most three signs of life go out in an interval."""
        now = self._clock()
        if self._pause_s <= 0 and not self._unsaid:
            return
        if now < self._due:
            return
        self._due = now + self._pause_s
        if self._unsaid and self._send(self._unsaid):
            self._unsaid = ""
        if self._pause_s > 0:
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """The service is about to end in order."""
        self._unsaid = ""
        self._send("STOPPING=1")

    def close(self) -> None:
        """Lets go of the socket. Calling it twice is harmless."""
        opened, self._socket = self._socket, None
        if opened is not None:
            opened.close()

    def _send(self, message: str) -> bool:
        """False when it did not arrive; what to do about it is systemd's business, which then hears nothing."""
        opened = self._socket
        if opened is None:
            return False
        try:
            opened.sendto(message.encode(errors="replace"), self._address)
        except OSError:
            return False
        return True


def _address(socket_path: str) -> str | bytes:
    """What the socket is called; empty for an address that is none."""
    if socket_path.startswith("@") and len(socket_path) > 1:
        return b"\0" + socket_path[1:].encode(errors="surrogateescape")
    return socket_path if socket_path.startswith("/") else ""
