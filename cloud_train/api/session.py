"""Who is signed in, kept in a cookie that only a server of this fleet can have written. Pure.

The cookie names the person and when it ends, and is signed with a key that comes of the fleet's own and of the hash of
the person's token: whoever reads the database cannot make one, and revoking or renewing a token ends all of its
sessions at once, in every process.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import math
from dataclasses import dataclass

from cloud_train.fleet_types import Person

COOKIE = "edgeloop_session"
SECURE_COOKIE = "__Host-edgeloop_session"
LASTS_S = 12 * 3600.0
NONCE_BYTES = 16
LEAST_KEY_BYTES = 32
_LONGEST = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a cookie says; nothing of it is known to be true before `is_genuine`.

    Attributes:
        name: Of the person.
        ends_at: Seconds since the epoch, UTC.
        nonce: Tells this session from others, hex.
        said: The signed part of the cookie.
        signature: Over that.
    """

    name: str
    ends_at: float
    nonce: str
    said: str
    signature: str


def make_cookie(person: Person, *, key: bytes, nonce: str, now: float) -> str:
    """The cookie of somebody who has just shown a token.

    Args:
        person: Who.
        key: The fleet's own.
        nonce: `NONCE_BYTES` of chance, hex.
        now: Seconds since the epoch.
    """
    claim = {"name": person.name, "ends_at": now + LASTS_S, "nonce": nonce}
    said = base64.urlsafe_b64encode(json.dumps(claim).encode()).decode()
    return f"{said}.{_sign(said, person, key)}"


def read_cookie(cookie: str) -> Claim | None:
    """What a cookie says, None where it is no cookie of ours."""
    said, dot, signature = cookie.partition(".")
    if not dot or len(cookie) > _LONGEST:
        return None
    try:
        claim = json.loads(base64.b64decode(said.encode("ascii"), altchars=b"-_", validate=True))
        name, ends_at, nonce = claim["name"], float(claim["ends_at"]), claim["nonce"]
    except (UnicodeError, binascii.Error, ValueError, KeyError, TypeError, OverflowError):
        return None
    if not (isinstance(name, str) and name.isprintable() and isinstance(nonce, str) and math.isfinite(ends_at)):
        return None
    return Claim(name=name, ends_at=ends_at, nonce=nonce, said=said, signature=signature)


def is_genuine(claim: Claim, person: Person, *, key: bytes, now: float) -> bool:
    """Whether a claim was signed by this fleet for this person, and still holds."""
    ours = _sign(claim.said, person, key)
    is_signed = hmac.compare_digest(ours.encode(), claim.signature.encode("utf-8", "replace"))
    return is_signed and claim.name == person.name and person.revoked_at is None and now < claim.ends_at


def form_token(claim: Claim, *, key: bytes) -> str:
    """What every form of a session must send back, which no other site can know."""
    return hmac.new(key, f"form {claim.nonce}".encode(), hashlib.sha256).hexdigest()


def is_form_token(given: str, claim: Claim, *, key: bytes) -> bool:
    """Whether a form of this session was sent."""
    return hmac.compare_digest(form_token(claim, key=key).encode(), given.encode("utf-8", "replace"))


def _sign(said: str, person: Person, key: bytes) -> str:
    own = hmac.new(key, f"session {person.token_hash}".encode(), hashlib.sha256).digest()
    return hmac.new(own, said.encode(), hashlib.sha256).hexdigest()
