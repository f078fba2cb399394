"""What the address of a camera looks like, and what of it people and logs may see.

An address often carries a password, and people forget to write its `@` as `%40`. Whatever is not plainly harmless is
left out of the name.
"""

from __future__ import annotations

import re

from edge.errors import UsageError

SCHEMES = ("rtsp", "rtsps", "http", "https")
_HIDDEN = "…"
_ADDRESS = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)(.*)", re.DOTALL)
_HOST = re.compile(r"(?:[\w.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")
# Somebody's slip of the pen, which ends up in an error message: `rtsp:/user:secret@camera`.
_ALMOST_ADDRESS = re.compile(r"\s*(?:rtsps?|https?):|[^:]*:.*@", re.DOTALL | re.IGNORECASE)


def is_address(where: str) -> bool:
    """Whether it says `something://`."""
    return _ADDRESS.match(where) is not None


def public_name(where: str) -> str:
    """A name for people and logs: without user, password, query, and what looks like a setting in the path.

    Args:
        where: A path or an address as it was given; need not make sense.
    """
    match = _ADDRESS.match(where)
    if match is None:
        return _HIDDEN if _ALMOST_ADDRESS.match(where) else _printable(where)
    scheme, host, tail = match[1].lower(), _host(match[2]), match[3]
    # A `@` further on may belong to a password with a slash in it: what looks like the host is the user then.
    if "@" in tail or not _HOST.fullmatch(host):
        return f"{scheme}://{_HIDDEN}"
    path = re.split(r"[?#]", tail, maxsplit=1)[0]
    return _printable(f"{scheme}://{host}{'/'.join(_without_setting(part) for part in path.split('/'))}")


def check_address(where: str) -> None:
    """Refuses an address that cannot lead to a camera.

    Raises:
        UsageError: Another scheme, no host, or a password whose special characters are not escaped.
    """
    match = _ADDRESS.match(where)
    if match is None or match[1].lower() not in SCHEMES:
        schemes = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise UsageError(f"no way to open {public_name(where)}", hint=f"a camera's address begins with {schemes}")
    path = re.split(r"[?#]", match[3], maxsplit=1)[0]
    if not _HOST.fullmatch(_host(match[2])) or "@" in path or not where.isprintable() or " " in where:
        raise UsageError(
            f"{public_name(where)} is not the address of a camera",
            hint="in a user's name or password write @ as %40, / as %2F, : as %3A, # as %23, ? as %3F",
        )


def _host(authority: str) -> str:
    """Host and port, without user and password."""
    return authority.rpartition("@")[2]


def _without_setting(part: str) -> str:
    """Some cameras take user and password in the path: `/user=admin&password=secret`."""
    return _HIDDEN if re.search(r"[=&;]", part) else part


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)
