"""What the address of a request asks for: filters, order, where a page begins."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Sequence
from typing import Annotated

from fastapi import Path, Query

from cloud_train.api.schemas import LABEL_KEY
from cloud_train.fleet.names import parse_labels
from cloud_train.store.device_rows import After, DeviceFilter, Health, Sort
from edge.kiosk.refusals import RequestError

_AFTER_PATTERN = r"^[A-Za-z0-9_=-]*$"
_PRINTABLE = r"^[^\x00-\x1f\x7f]*$"
DeviceId = Annotated[str, Path(min_length=1, max_length=512, pattern=_PRINTABLE)]
RolloutId = Annotated[int, Path(ge=1, le=2**31 - 1)]
Text = Annotated[str, Query(max_length=100, pattern=_PRINTABLE, description="In name, software or last error.")]
Label = Annotated[str, Query(max_length=330, pattern=_PRINTABLE, description="`key=value`, or `key` for any value.")]
Bundle = Annotated[str, Query(pattern=r"^[0-9a-f]{0,64}$", description="Beginning of the digest of its bundle.")]
Begin = Annotated[str, Query(max_length=1200, pattern=_AFTER_PATTERN, description="`next` of the page before.")]


def device_filter(text: str, label: str, bundle: str, health: Health | None) -> DeviceFilter:
    """The filter that an address asks for.

    Raises:
        RequestError: 422, the label has no such key.
    """
    key, _, value = (part.strip() for part in label.partition("="))
    if label.strip() and not re.match(LABEL_KEY, key):
        raise RequestError(422, "label: must be key=value, the key of letters, digits, '.', '_' or '-'")
    return DeviceFilter(text=text.strip(), label=key, label_value=value, bundle=bundle, health=health)


def write_after(after: After | None) -> str:
    """Where the next page begins, for an address; empty for nowhere."""
    if after is None:
        return ""
    return base64.urlsafe_b64encode(json.dumps([after.value, after.device_id]).encode()).decode()


def read_after(text: str, sort: Sort) -> After | None:
    """Where a page begins.

    Raises:
        RequestError: 422, it is none of ours, or of another order.
    """
    if not text:
        return None
    try:
        value, device_id = json.loads(base64.b64decode(text.encode(), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, TypeError) as cause:
        raise _no_place() from cause
    wanted = str if sort.column == "device_id" else (int, float)
    is_sound = isinstance(value, wanted) and not isinstance(value, bool) and isinstance(device_id, str)
    if not is_sound or "\x00" in f"{value}{device_id}" or not _fits(value) or not _encodes(device_id, value):
        raise _no_place()
    return After(value=value, device_id=device_id)


def read_labels(text: str) -> dict[str, str]:
    """Labels as people write them: `key=value`, with commas or in lines.

    Raises:
        UsageError: One is none.
    """
    return parse_labels(tuple(part for part in re.split(r"[\s,]+", text) if part))


def write_labels(labels: dict[str, str]) -> str:
    """Labels as `read_labels` takes them."""
    return "\n".join(f"{key}={value}" for key, value in sorted(labels.items()))


def shown(values: Sequence[str], most: int) -> str:
    """The first of some words, and how many more there are."""
    more = len(values) - most
    return ", ".join(values[:most]) + (f" and {more} more" if more > 0 else "")


def _fits(value: float | str) -> bool:
    return isinstance(value, str) or (abs(value) < 2**53 and math.isfinite(value))


def _encodes(*values: float | str) -> bool:
    try:
        "".join(map(str, values)).encode()
    except UnicodeEncodeError:
        return False
    return True


def _no_place() -> RequestError:
    return RequestError(422, "after: no page begins there; take `next` of the page before, in the same order")
