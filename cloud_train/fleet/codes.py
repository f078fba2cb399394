"""One-time codes and bearer tokens: made, written for people, read back, hashed. Pure; chance is an argument."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: no I, L, O and U, so that it can be read aloud and written down."""
_ALIKE = str.maketrans({"O": "0", "I": "1", "L": "1", "U": "V", "-": None, " ": None})
_GROUPS, _GROUP = 7, 4
CODE_BITS = _GROUPS * _GROUP * 5
TOKEN_PREFIX = "edgeloop_"  # noqa: S105 - what every token begins with, so that scanners find one that was leaked
_TOKEN_BYTES = 32
_MAX_SECRET = 200


def new_code(random_bytes: Callable[[int], bytes]) -> str:
    """A code of 140 random bits, as `7K3M-…` in seven groups of four.

    Args:
        random_bytes: `secrets.token_bytes`.
    """
    number = int.from_bytes(random_bytes((CODE_BITS + 7) // 8)) >> (-CODE_BITS % 8)
    letters = [_ALPHABET[number >> shift & 31] for shift in range(CODE_BITS - 5, -1, -5)]
    text = "".join(letters)
    return "-".join(text[start : start + _GROUP] for start in range(0, len(text), _GROUP))


def hash_of_code(code: str) -> str:
    """SHA-256 of a code, hex, however it was written: small letters, spaces, O for 0."""
    plain = code[:_MAX_SECRET].strip().upper().translate(_ALIKE)
    return hashlib.sha256(plain.encode(errors="replace")).hexdigest()


def new_token(random_bytes: Callable[[int], bytes]) -> str:
    """A bearer token of 256 random bits.

    Args:
        random_bytes: `secrets.token_bytes`.
    """
    return TOKEN_PREFIX + random_bytes(_TOKEN_BYTES).hex()


def hash_of_token(token: str) -> str:
    """SHA-256 of a bearer token, hex."""
    return hashlib.sha256(token[:_MAX_SECRET].encode(errors="replace")).hexdigest()
