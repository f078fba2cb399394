"""Flat values to rows and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any


def fields_of(value: Any) -> dict[str, Any]:  # noqa: ANN401 - any flat dataclass
    """The fields of a dataclass, not looked into."""
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def without(row: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """A row less some columns."""
    return {name: value for name, value in row.items() if name not in names}
