"""How the kiosk API is to be served: where, for whom, and how much of it."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path

from edge.errors import UsageError

LEAST_TOKEN = 16
_TOKEN = re.compile(r"^[A-Za-z0-9._~+/=-]+$")  # what RFC 6750 allows in a bearer token
_NAME = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$")
_LEAST: dict[str, float] = {
    "per_minute": 1,
    "max_picture_bytes": 1,
    "workers": 1,
    "queue": 0,
    "max_remembered": 1,
    "max_remembered_bytes": 1,
    "audit_max_bytes": 1_000,
    "screen_side": 64,
    "head_timeout_s": 0.05,
    "body_timeout_s": 0.05,
    "reply_timeout_s": 0.05,
    "queue_timeout_s": 0.05,
}
# The options, class thresholds and field names around a picture.
_ROOM = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class KioskOptions:
    """Where the API listens, who may call it, and what one caller may cost.

    Attributes:
        host: Address to listen on; anything but this very machine needs a token.
        port: TCP port; 0 takes a free one.
        token: What callers must show (`Authorization: Bearer …`); empty for no token.
        names: Host names, besides `localhost`, under which browsers may call it; addresses always may.
        per_minute: POST requests a minute from one address; of GET requests ten times as many.
        max_picture_bytes: Larger pictures are refused before they are decoded.
        workers: Pictures that are answered for side by side.
        queue: Pictures that may wait for their turn; one more is refused.
        queue_timeout_s: Seconds a picture may wait for its turn.
        head_timeout_s: Seconds a caller may take for the first lines of a request.
        body_timeout_s: Seconds a caller may take to send a body.
        reply_timeout_s: Seconds a caller may take to read a reply.
        max_remembered: Answers that feedback may still come for.
        max_remembered_bytes: Bytes of their pictures.
        audit: File of the audit log, or None to write none.
        audit_max_bytes: Size at which the audit log is moved aside.
        screen_side: Longer side of the picture on the page in pixels, at most.

    Raises:
        UsageError: A value makes no sense, or the address needs a token.
    """

    host: str = "127.0.0.1"
    port: int = 8765
    token: str = field(default="", repr=False)
    names: tuple[str, ...] = ()
    per_minute: int = 600
    max_picture_bytes: int = 32_000_000
    workers: int = 2
    queue: int = 4
    queue_timeout_s: float = 5.0
    head_timeout_s: float = 5.0
    body_timeout_s: float = 20.0
    reply_timeout_s: float = 20.0
    max_remembered: int = 256
    max_remembered_bytes: int = 64_000_000
    audit: Path | None = None
    audit_max_bytes: int = 8_000_000
    screen_side: int = 1280

    def __post_init__(self) -> None:
        """Refuses what makes no sense, and an open door."""
        for name, least in _LEAST.items():
            if not getattr(self, name) >= least:
                raise UsageError(f"kiosk {name} must be at least {least}, found {getattr(self, name)}")
        if not 0 <= self.port <= 65_535:
            raise UsageError(f"kiosk port must be 0 to 65535, found {self.port}")
        for name in (self.host, *self.names):
            if not (is_address(name) or _NAME.match(name)):
                raise UsageError(f"kiosk host {name!r} is no address and no host name")
        self._check_token()

    def _check_token(self) -> None:
        if self.token and (len(self.token) < LEAST_TOKEN or not _TOKEN.match(self.token)):
            raise UsageError(
                f"the kiosk token must be at least {LEAST_TOKEN} letters, digits or any of '._~+/=-'",
                hint="make one with `python3 -c 'import secrets; print(secrets.token_urlsafe())'`",
            )
        if not self.token and not is_loopback(self.host):
            raise UsageError(
                f"the kiosk would listen on {self.host} for everyone",
                hint="set a token (kiosk_token), or listen on 127.0.0.1",
            )

    @property
    def max_json_bytes(self) -> int:
        """Size of a JSON body with a picture in base64, at most."""
        return -(-self.max_picture_bytes // 3) * 4 + _ROOM

    @property
    def max_waiting_bytes(self) -> int:
        """What all bodies that wait or come in may have together."""
        return 2 * self.max_json_bytes

    @property
    def max_form_bytes(self) -> int:
        """Size of a form with a picture, at most."""
        return self.max_picture_bytes + _ROOM


def is_address(name: str) -> bool:
    """Whether a name is an IPv4 or IPv6 address, written without brackets."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this very machine only; a name is not looked up, but for `localhost`."""
    return host == "localhost" or (is_address(host) and ipaddress.ip_address(host).is_loopback)
