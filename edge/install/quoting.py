"""Values written so that systemd, TOML, environment files and YAML read them back as they were."""

from __future__ import annotations

import json
import re
from pathlib import Path

from edge.errors import UsageError

_PLAIN_WORD = re.compile(r"[A-Za-z0-9_@.,:/=+-]+")
_TOML_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def systemd_text(text: str) -> str:
    """A value that takes the rest of its line: a description (systemd.unit(5), Specifiers)."""
    return _printable(text).replace("%", "%%")


def systemd_word(text: str | Path) -> str:
    """One of several words of a line, for instance a path (systemd.syntax(7), Quoting)."""
    word = _printable(str(text))
    if not _PLAIN_WORD.fullmatch(word):
        word = '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return word.replace("%", "%%")


def systemd_argument(text: str | Path) -> str:
    """A word of a command line, in which variables would be put in too (systemd.service(5), Command lines)."""
    return systemd_word(text).replace("$", "$$")


def toml_value(value: object) -> str:
    """A value of a TOML file.

    Raises:
        UsageError: A text that no TOML file can hold.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    return f'"{"".join(_toml_char(char) for char in _encodable(str(value)))}"'


def environment_line(name: str, value: object) -> str:
    """A line of a file that both systemd (EnvironmentFile=) and Docker Compose (env_file) read.

    Both take what stands between apostrophes as it is; only where the value has one itself it is written with escapes.
    """
    text = _printable(str(value).lower() if isinstance(value, bool) else str(value))
    if "'" not in text:
        return f"{name}='{text}'"
    escaped = re.sub(r'([\\"$`])', r"\\\1", text)
    return f'{name}="{escaped}"'


def compose_text(text: str | Path) -> str:
    """A string of a Compose file, which is YAML with variables."""
    return json.dumps(_encodable(str(text)), ensure_ascii=False).replace("$", "$$")


def _printable(text: str) -> str:
    """Refuses what would break a line in two.

    Raises:
        UsageError: It has control characters, or is no Unicode.
    """
    if not _encodable(text).isprintable():
        raise UsageError(f"{text!r} cannot be written into a unit", hint="choose a name without control characters")
    return text


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as cause:
        raise UsageError(f"{text!r} is not Unicode", hint="choose another name") from cause
    return text


def _toml_char(char: str) -> str:
    if char in _TOML_ESCAPES:
        return _TOML_ESCAPES[char]
    return f"\\u{ord(char):04X}" if ord(char) < 0x20 or ord(char) == 0x7F else char
