"""How often somebody unknown may be wrong: a bucket of tries an address, in the memory of one process."""

from __future__ import annotations

import ipaddress
import threading
from collections import OrderedDict
from urllib.parse import unquote

from edge.errors import RoadError

FAILURES_AT_ONCE = 10
REFILL_S = 6.0
"""One more try every so many seconds."""
_MOST_PEERS = 4096
_IPV6_SITE_BITS = 64


class Attempts:
    """Counts failures by address. Thread-safe. Who is never wrong never waits.

    Args:
        at_once: Failures that an address may make in a row.
        refill_s: Seconds after which one of them is forgiven.
    """

    def __init__(self, *, at_once: int = FAILURES_AT_ONCE, refill_s: float = REFILL_S) -> None:
        self._at_once = at_once
        self._refill_s = refill_s
        self._lock = threading.Lock()
        self._failures: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def check(self, peer: str, now: float) -> None:
        """Asks whether an address may try.

        Raises:
            RoadError: Not now; says for how long.
        """
        with self._lock:
            left_s = (self._level(site_of(peer), now) + 1 - self._at_once) * self._refill_s
        if left_s > 0:
            raise RoadError("too many failed attempts from this address", hint="wait", retry_after_s=left_s)

    def failed(self, peer: str, now: float) -> None:
        """Notes a failure."""
        site = site_of(peer)
        with self._lock:
            self._failures[site] = (self._level(site, now) + 1, now)
            self._failures.move_to_end(site)
            while len(self._failures) > _MOST_PEERS:
                self._failures.popitem(last=False)

    def _level(self, site: str, now: float) -> float:
        level, at = self._failures.get(site, (0.0, now))
        return max(0.0, level - max(0.0, now - at) / self._refill_s)


def site_of(peer: str) -> str:
    """The address of a peer as it counts: without its port, and of IPv6 the first 64 bits.

    Args:
        peer: As gRPC names it (`ipv4:192.0.2.7:4711`, `ipv6:%5B2001:db8::1%5D:4711`), or a plain address.
    """
    text = unquote(peer).removeprefix("ipv4:").removeprefix("ipv6:")
    host = text[1:].partition("]")[0] if text.startswith("[") else text
    if host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return peer[:100]
    if address.version == 6:
        return str(ipaddress.ip_network((address, _IPV6_SITE_BITS), strict=False).network_address)
    return str(address)
