"""The next certificate, in time and without a person.

A new key, a request over the road that the present certificate opens, an answer; then the new identity is tried on a
road of its own, and only when the server has let it in is it written over the old one, in one durable write. Killed
at any point, the device has one of the two, whole, and both are good.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Protocol

from edge.errors import EdgeloopError, RefusedError, RoadError
from edge.identity import due, request
from edge.identity.enroll import joined
from edge.identity.store import IdentityStore
from edge.identity.types import Identity
from edge.sync.types import Enrolment

_QUIET_SHARE = 0.2
"""While more than this share of a certificate's life is left, a road that fails is nothing to tell a person."""


class RenewTransport(Protocol):
    """The road that an identity opens, as far as renewal goes."""

    def renew(self, csr_pem: bytes) -> Enrolment:
        """Asks for a new certificate under the name that the present one carries."""
        ...


class Renewal:
    """Keeps the certificate of one device fresh. Used by one thread.

    Args:
        store: Where the identity is.
        identity: Who the device is now.
        try_out: Speaks to the server as an identity, once; raises when it is not let in.
        switch: Has the road of the agent go on as an identity.
        say: Told in one line what a person should know.
        jitter: A number in [0, 1].
        steady: Seconds that never jump; what is tried again goes by these.
    """

    def __init__(
        self,
        store: IdentityStore,
        identity: Identity,
        *,
        try_out: Callable[[Identity], None],
        switch: Callable[[Identity], None],
        say: Callable[[str], None],
        jitter: float,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self.identity = identity
        self._store = store
        self._try_out = try_out
        self._switch = switch
        self._say = say
        self._jitter = jitter
        self._steady = steady
        self._not_before_s = steady()
        self._last_words = ""

    def step(self, transport: RenewTransport, now: float) -> None:
        """Renews, when it is due; failures are said, and tried again later.

        Args:
            transport: The road that the present certificate opens.
            now: Seconds since the epoch, UTC.
        """
        present = self.identity
        if self._steady() < self._not_before_s:
            return
        if not due.is_due(present.not_before, present.not_after, now, self._jitter):
            return
        if present.is_brought:
            self._tell_about_brought(now)
            return
        try:
            self._renew(transport)
        except EdgeloopError as error:
            self._not_before_s = self._steady() + due.retry_wait_s(present.not_before, present.not_after, now)
            if not isinstance(error, RoadError) or now > present.not_after - _QUIET_SHARE * _life_s(present):
                self._tell(_failure(present, error, now))

    def explained(self, error: EdgeloopError, now: float) -> str:
        """What to tell a person of a failure on the road: of the certificate, when that may be why."""
        line = expiry_line(self.identity, now)
        return line if line and isinstance(error, RoadError) else str(error)

    def _renew(self, transport: RenewTransport) -> None:
        key = request.new_key()
        answer = transport.renew(request.signing_request(key))
        fresh = renewed(self.identity, answer, key)
        self._try_out(fresh)
        self._store.write(fresh)
        self._switch(fresh)
        self.identity = fresh
        self._tell("")

    def _tell_about_brought(self, now: float) -> None:
        self._not_before_s = self._steady() + due.DAY_S
        self._say(f"{_standing(self.identity, now)}; whoever made it must bring the next one")

    def _tell(self, line: str) -> None:
        if line and line != self._last_words:
            self._say(line)
        self._last_words = line


def renewed(present: Identity, answer: Enrolment, key_pem: bytes) -> Identity:
    """The next identity of the same device."""
    if answer.device_id != present.device_id:
        raise RefusedError(f"the server renewed {answer.device_id!r} instead of {present.device_id!r}")
    not_before, not_after = request.lifetime(answer.certificate_pem)
    return dataclasses.replace(
        present,
        key_pem=key_pem.decode(),
        certificate_pem=answer.certificate_pem.decode(),
        authority_pem=joined(present.authority_pem, answer.authority_pem.decode()),
        not_before=not_before,
        not_after=not_after,
    )


def expiry_line(identity: Identity, now: float) -> str:
    """What a person must know of a certificate that has expired, or has not begun; empty for a good one."""
    if now >= identity.not_after:
        return f"{_standing(identity, now)}; the device works offline until a person enrols it anew with --replace"
    if now < identity.not_before:
        return f"{_standing(identity, now)}; the clock of this device is wrong"
    return ""


def _life_s(identity: Identity) -> float:
    return identity.not_after - identity.not_before


def _failure(present: Identity, error: EdgeloopError, now: float) -> str:
    return f"the certificate could not be renewed: {error}; {_standing(present, now)}"


def standing_line(identity: Identity, now: float) -> str:
    """How it stands with a certificate, as `its certificate is good until …`."""
    if now >= identity.not_after:
        return f"its certificate expired on {_day(identity.not_after)}"
    if now < identity.not_before:
        return f"its certificate is good from {_day(identity.not_before)} on, which its clock has not reached"
    return f"its certificate is good until {_day(identity.not_after)}"


def _standing(identity: Identity, now: float) -> str:
    return f"device {identity.device_id}: {standing_line(identity, now)}"


def _day(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at))
