"""statistics.json: hours that no check-in has told, so that they outlive the agent. Page: docs/formats/statistics.md.

Written seldom, for flash wears out: every few minutes while the server cannot be reached, at a proper stop, and once
more when the server has heard of what is in it. While the server is reached nothing is written at all. So a kill loses
at most the last few minutes.

What is restored keeps the name of the run that counted it. The server replaces an hour of a run by its newest word, so
nothing counts twice, also when it had heard of it and its answer was lost.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edge import durable, jsonvalue
from edge.errors import FormatError, StorageError
from edge.sync.types import BundleHour
from edge.telemetry import Telemetry
from edge.wire.limits import check_hour

SAVE_S = 300.0
"""What no check-in has told is written down after so long."""
OLDEST_HOURS = 30 * 24
"""A server takes no hours from longer ago."""
MAX_BYTES = 4_000_000
FORMAT_VERSION = 1
_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedHours:
    """The file.

    Attributes:
        format_version: 1.
        digest: SHA-256 of the canonical bytes of `hours`, hex.
        hours: Oldest first.
    """

    format_version: int
    digest: str
    hours: tuple[BundleHour, ...]


class HoursFile:
    """Keeps the file; used by one thread at a time. Nothing that goes wrong with it is raised.

    Args:
        path: The file; its folder is there.
        telemetry: Whose hours.
        say: Told in one line what went wrong.
        clock: Seconds since the epoch, UTC; may jump.
        steady: Seconds that never jump.
    """

    def __init__(
        self,
        path: Path,
        telemetry: Telemetry,
        *,
        say: Callable[[str], None],
        clock: Callable[[], float],
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path, self._telemetry = path, telemetry
        self._say, self._clock, self._steady = say, clock, steady
        self._written = ""  # digest of what is in the file, empty where there is none
        self._reported = telemetry.times_reported
        self._since = steady()

    def load(self) -> None:
        """Hands what earlier runs left to the telemetry; a damaged file is set aside."""
        try:
            found = read_hours(self._path)
        except FileNotFoundError:
            return
        except FormatError as error:
            self._set_aside(error)
        except OSError as error:
            self._say(f"the statistics of earlier runs cannot be read: {os.strerror(error.errno or 0).lower()}")
        else:
            self._written = found.digest
            self._telemetry.restore(self._worth_telling(found.hours))

    def step(self, *, last: bool = False) -> None:
        """Writes when it is time.

        Args:
            last: Whether the agent stops now.
        """
        reported, now = self._telemetry.times_reported, self._steady()
        if last or (reported == self._reported and now - self._since >= SAVE_S):
            self._save(self._telemetry.untold())
        elif reported == self._reported:
            return
        elif self._written and not self._save(self._telemetry.untold(over=True)):
            self._forget()  # the server has heard more than the file says: that must not be told again
        self._reported, self._since = reported, now

    def _save(self, hours: tuple[BundleHour, ...]) -> bool:
        """Whether the file holds just these hours now."""
        left = self._worth_telling(hours)
        value = jsonvalue.to_json(left)
        digest = _digest_of(value) if left else ""
        if digest == self._written:
            return True
        try:
            if left:
                saved: dict[str, jsonvalue.Json] = {"format_version": FORMAT_VERSION, "digest": digest, "hours": value}
                durable.write_bytes(self._path, jsonvalue.canonical_json(saved), point="statistics")
            else:
                self._path.unlink(missing_ok=True)
        except (OSError, StorageError) as error:
            self._say(f"the statistics of this device are not saved: {error}")
            return False
        self._written = digest
        return True

    def _forget(self) -> None:
        with suppress(OSError):  # possible on a full disk
            self._path.unlink(missing_ok=True)
            self._written = ""

    def _worth_telling(self, hours: tuple[BundleHour, ...]) -> tuple[BundleHour, ...]:
        """Those that say something, and that the server still takes."""
        oldest = self._clock() // _HOUR_S - OLDEST_HOURS
        return tuple(
            hour
            for hour in hours
            if hour.hour >= oldest and (hour.frames or hour.failed or hour.kept or hour.outbox_depth)
        )

    def _set_aside(self, error: FormatError) -> None:
        aside = self._path.with_name(f"{self._path.stem}.damaged{self._path.suffix}")
        where = "left where it is"
        with suppress(OSError):
            os.replace(self._path, aside)
            where = f"set aside as {aside.name}"
        self._say(f"the statistics of earlier runs are lost, their file is {where}: {error.message}")


def read_hours(path: Path) -> SavedHours:
    """Reads and checks the file.

    Raises:
        FileNotFoundError: There is none.
        OSError: It cannot be read.
        FormatError: It is damaged, or of another format version.
    """
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    value = jsonvalue.parse(data, where=path.name, max_bytes=MAX_BYTES)
    if isinstance(value, dict) and value.get("format_version") not in (None, FORMAT_VERSION):
        raise FormatError(f"{path.name}: only format version {FORMAT_VERSION} is read")
    found = jsonvalue.from_json(SavedHours, value, where=path.name)
    if not _has_digest(value, found.digest):
        raise FormatError(f"{path.name}: its content does not match its digest")
    for index, hour in enumerate(found.hours):
        check_hour(hour, f"{path.name}: hours[{index}]")
    return found


def _digest_of(hours: jsonvalue.Json) -> str:
    return hashlib.sha256(jsonvalue.canonical_json(hours)).hexdigest()


def _has_digest(value: jsonvalue.Json, digest: str) -> bool:
    """By what was read: a newer edgeloop may have written fields that this one does not know."""
    assert isinstance(value, dict)  # noqa: S101 - a value was made of it
    try:
        return _digest_of(value["hours"]) == digest
    except ValueError:  # what no canonical bytes can hold, no digest was taken of
        return False
