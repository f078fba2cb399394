"""What devices, labels, channels and people may be called: plain words, so that no name is ever a path or a command."""

from __future__ import annotations

import re

from edge.errors import FormatError, UsageError
from edge.sync.windows import parse_windows
from edge.wire import limits

MAX_LABELS = 32
_LABEL_KEY = re.compile(r"[a-z0-9][a-z0-9_.-]{0,39}")
_LABEL_VALUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,79}")
_CHANNEL = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_PERSON = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")
_SHOWN = 80


def check_device_name(name: str) -> str:
    """A device's name: `limits.check_device_id`, and it begins with a letter or a digit.

    Raises:
        FormatError: Says what is allowed.
    """
    limits.check_device_id(name)
    if not name[0].isalnum():
        raise FormatError(f"device_id: {name!r} does not begin with a letter or a digit")
    return name


def check_channel(name: str, *, empty: bool = False) -> str:
    """An update channel's name; nothing at all where `empty` allows it.

    Raises:
        UsageError: Says what is allowed.
    """
    if not (_CHANNEL.fullmatch(name) or (empty and not name)):
        allowed = "write 1 to 40 small letters, digits, '_' or '-'"
        raise UsageError(f"{name[:_SHOWN]!r} is no channel", hint=allowed)
    return name


def check_labels(labels: dict[str, str]) -> dict[str, str]:
    """Labels of a device.

    Raises:
        UsageError: Names the label, and says what is allowed.
    """
    if len(labels) > MAX_LABELS:
        raise UsageError(f"{len(labels)} labels are too many", hint=f"at most {MAX_LABELS} are allowed")
    for key, value in labels.items():
        if not _LABEL_KEY.fullmatch(key):
            hint = "write 1 to 40 small letters, digits, '_', '.' or '-'"
            raise UsageError(f"{key[:_SHOWN]!r} cannot be the name of a label", hint=hint)
        if not _LABEL_VALUE.fullmatch(value):
            hint = "write 1 to 80 letters, digits, '_', '.', ':' or '-'"
            raise UsageError(f"{value[:_SHOWN]!r} cannot be the value of label {key!r}", hint=hint)
    return labels


def parse_labels(words: tuple[str, ...]) -> dict[str, str]:
    """Labels as people write them, `store=17`.

    Raises:
        UsageError: One is malformed, or given twice.
    """
    labels: dict[str, str] = {}
    for word in words:
        key, separator, value = word.partition("=")
        if not separator or key in labels:
            raise UsageError(f"{word[:_SHOWN]!r} is no label, or is there twice", hint="write --label name=value")
        labels[key] = value
    return check_labels(labels)


def check_person(name: str) -> str:
    """A person's name.

    Raises:
        UsageError: Says what is allowed.
    """
    if not _PERSON.fullmatch(name):
        hint = "write 1 to 64 letters, digits, '_', '.', '@' or '-'"
        raise UsageError(f"{name[:_SHOWN]!r} cannot be the name of a person", hint=hint)
    return name


def check_windows(text: str) -> str:
    """Hours in which a device may change its bundle, as `22:00-06:00`; empty for any.

    Raises:
        UsageError: They are malformed.
    """
    limits.check_text(text, "update_windows", empty=True)
    parse_windows(text)
    return text
