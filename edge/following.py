"""Which update channel a device follows: the one it was started with, else what the fleet says, else its enrolment's.

What the fleet said last is one small file of the home, replaced whole, so that a restart without a road and a power cut
find it again. The word chooses among channels and nothing else: what may run is what is signed for the channel.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from edge import durable, jsonvalue
from edge.errors import EdgeloopError
from edge.identity.store import IdentityStore
from edge.settings import AgentSettings, is_channel

STANDARD = "stable"
"""The channel of a device that nobody told anything."""
_FILE_NAME = "channel.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Word:
    """Content of the file.

    Attributes:
        channel: What the fleet said last.
    """

    channel: str


class Following:
    """The channel of one device; one process a home writes (see `edge.home.DeviceHome.hold`).

    Args:
        home: The device's home.
        own: The channel that it was started with, empty for none: that one wins.
        enrolled: The channel of its enrolment, empty for none: it counts until the fleet has said one.

    Attributes:
        own: As given.
        fleet: What the fleet said last, empty before.
    """

    def __init__(self, home: Path, *, own: str = "", enrolled: str = "") -> None:
        self._file = home / _FILE_NAME
        self._enrolled = enrolled
        self.own = own
        self.fleet = _last_word(self._file)

    @property
    def channel(self) -> str:
        """The one to follow now."""
        return self.own or self.fleet or self._enrolled or STANDARD

    @property
    def reason(self) -> str:
        """Why that one, in a few words for people."""
        if self.own:
            differs = self.fleet not in ("", self.own)
            return "as it was started with" + (f"; the fleet says {self.fleet}" if differs else "")
        if self.fleet:
            return "as the fleet says"
        return "as it was enrolled with" if self._enrolled else "for nobody has named another"

    def hear(self, channel: str) -> str:
        """Takes in what the fleet says; durable on return.

        Args:
            channel: From the server; no name that a channel can have changes nothing.

        Returns:
            One line where people should know of it, else nothing.

        Raises:
            StorageError: The disk is full or failing; the device follows the channel that it followed.
        """
        if channel == self.fleet:
            return ""
        if not is_channel(channel):
            return f"the server names channel {channel[:80]!r}, and no channel can be called so"
        before = self.channel
        durable.make_folder(self._file.parent)
        durable.write_bytes(self._file, jsonvalue.pretty_bytes(_Word(channel=channel)), point="channel")
        self.fleet = channel
        if self.own:
            keeps = f"this device keeps to {self.own!r}, which it was started with"
            return f"the fleet says channel {channel!r}; {keeps}" if channel != self.own else ""
        return f"the fleet moves this device from channel {before!r} to {channel!r}" if channel != before else ""


def open_following(settings: AgentSettings) -> Following:
    """The channel of a home, as its settings, its fleet and its enrolment say it.

    An identity that cannot be read names none here; whoever needs it says so.
    """
    identity = None
    with contextlib.suppress(EdgeloopError):
        identity = IdentityStore(settings.home).read()
    return Following(settings.home, own=settings.channel, enrolled=identity.channel if identity is not None else "")


def _last_word(file: Path) -> str:
    """What the file says; nothing where it is missing or damaged: the next check-in brings it again."""
    try:
        said = jsonvalue.load(_Word, file.read_bytes(), where=file.name).channel
    except (OSError, EdgeloopError):
        return ""
    return said if is_channel(said) else ""
