"""When a certificate is renewed. Pure: the caller brings the time.

Clocks of devices go wrong, and nothing here can mend them. What happens then:

- A clock that is behind by up to five minutes, or ahead by less than what is left of the certificate, changes nothing.
- A clock before the certificate's beginning: the moment of renewal cannot be known, so it is tried at once, and then
  once a day. (It fails where the clock is so far behind that the server's certificate is not good yet either.)
- A clock past its end: renewal is tried as well, for the server judges by its own clock; a certificate that really has
  expired is refused, and a person must enrol the device anew. Until then it works offline.
"""

from __future__ import annotations

FIRST_SHARE, LAST_SHARE = 0.60, 2 / 3
"""Renewal falls between these shares of a certificate's life, so that a thousand devices do not come at once."""
RETRY_S = 3600.0
"""Between two tries when the life is long; a twentieth of it when it is short."""
DAY_S = 86_400.0
_RETRY_SHARE = 1 / 20
_LEAST_RETRY_S = 1.0


def renewal_moment(not_before: float, not_after: float, jitter: float) -> float:
    """When to renew, seconds since the epoch; never later than two thirds of the way.

    Args:
        not_before: When the certificate begins.
        not_after: When it expires.
        jitter: A number in [0, 1] that stays the same for one device.
    """
    share = FIRST_SHARE + (LAST_SHARE - FIRST_SHARE) * min(1.0, max(0.0, jitter))
    return not_before + (not_after - not_before) * share


def is_due(not_before: float, not_after: float, now: float, jitter: float) -> bool:
    """Whether it is time, or the clock cannot tell."""
    return now >= renewal_moment(not_before, not_after, jitter) or now < not_before


def retry_wait_s(not_before: float, not_after: float, now: float) -> float:
    """How long to wait after a try that failed, in seconds that never jump."""
    if now < not_before:
        return DAY_S
    return max(_LEAST_RETRY_S, min(RETRY_S, (not_after - not_before) * _RETRY_SHARE))
