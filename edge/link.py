"""The agent's way out: uploads what was kept, reports health, brings the next bundle; patient with a bad road."""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from edge import __version__
from edge.background import lower_priority
from edge.errors import EdgeloopError, MissingExtraError, RoadError, StorageError, UsageError
from edge.following import Following
from edge.identity.renewal import Renewal
from edge.outbox.base import OutboxStats, SampleOutbox
from edge.settings import AgentSettings
from edge.sync import backoff
from edge.sync.base import SyncTransport
from edge.sync.types import Directive
from edge.sync.uploader import drain
from edge.sync.windows import may_sync, parse_windows
from edge.telemetry import Circumstances, Telemetry, Topic, device_status, with_hours
from edge.update.slots import Slots
from edge.update.starts import read_starts
from edge.update.types import UpdateOutcome
from edge.update.updater import Updater
from edge.wire.limits import LAST_MOMENT

MIN_CHECK_IN_S = 0.2
MAX_CHECK_IN_S = 3600.0
_LONGEST_DRAIN_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkParts:
    """What the link works with.

    Attributes:
        settings: What the device was told.
        outbox: What waits to be sent.
        transport: The road.
        slots: What runs.
        updater: What brings the next bundle.
        following: Which channel it is brought from.
        telemetry: What is reported.
        prepare: Called after a new bundle was activated, to load it and hand it over.
        say: Told in one line what a person should know.
        clock: Seconds since the epoch, UTC; may jump.
        jitter: A random number in [0, 1].
        is_metered: Whether every byte costs just now.
        renewal: What keeps the device's certificate fresh; None for a device without one.
        steady: Seconds that never jump; what is due goes by these.
    """

    settings: AgentSettings
    outbox: SampleOutbox
    transport: SyncTransport
    slots: Slots
    updater: Updater
    following: Following
    telemetry: Telemetry
    prepare: Callable[[], None]
    say: Callable[[str], None]
    clock: Callable[[], float]
    jitter: Callable[[], float]
    is_metered: Callable[[], bool] = lambda: False
    renewal: Renewal | None = None
    steady: Callable[[], float] = time.monotonic


class Link:
    """Runs `step` again and again in a thread of its own.

    Attributes:
        fatal: What ended it for good, None while it runs or after a proper stop.
        reached_at: When the server last answered, seconds since the epoch, 0 before.
        held_back: Why samples and bundles wait although the server may be there, in a few words; empty while they may
            go.
    """

    def __init__(self, parts: LinkParts) -> None:
        self.fatal: BaseException | None = None
        self.reached_at = 0.0
        self.held_back = ""
        self._windows = parse_windows(parts.settings.sync_windows)
        self._parts = parts
        self._stopping = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="edgeloop-link", daemon=True)
        self._failures = 0
        self._reached_now = False
        self._check_in_due = self._update_due = parts.steady()
        self._last_words = ""
        self._rejection = ""
        self._directive: Directive | None = None
        self._said_of_channel = ""

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def wake(self) -> None:
        """Cuts the present wait short."""
        self._wake.set()

    def stop(self, *, timeout_s: float) -> None:
        """Hangs up and waits for the thread."""
        self.hang_up()
        self.join(timeout_s=timeout_s)

    def hang_up(self) -> None:
        """Ends a call under way, and the thread soon after; waits for nobody."""
        self._stopping = True
        self._wake.set()
        self._parts.transport.close()

    def join(self, *, timeout_s: float) -> None:
        """Waits for the thread to end."""
        self._thread.join(timeout_s)

    def step(self) -> float:
        """One round: drain, check in, update, each when it is due and may be.

        Returns:
            Seconds to wait before the next round.

        Raises:
            UsageError: The device was told something that cannot work.
            MissingExtraError: A library is missing.
        """
        self._reached_now = False
        if self._parts.renewal is not None:
            self._parts.renewal.step(self._parts.transport, self._parts.clock())
        try:
            try:
                wait_s = self._drain()
            except StorageError:
                self._check_in()  # of a device whose disk is full or failing the server must hear above all
                raise
            except RoadError as error:
                if error.retry_after_s is not None:  # the server is there and takes no samples now: the rest goes on
                    self._check_in()
                    self._update()
                raise
            self._check_in()
            self._update()
        except (UsageError, MissingExtraError):
            raise
        except EdgeloopError as error:
            return self._failed(error)
        self._failures = 0
        self._well()
        return max(wait_s, self._parts.settings.link_interval_s)

    def _run(self) -> None:
        lower_priority()
        try:
            while not self._stopping:
                self._wake.wait(self.step())
                self._wake.clear()
        except BaseException as error:  # handed to the main thread, which raises it
            self.fatal = None if self._stopping else error

    def _may_move(self) -> bool:
        """Whether samples may go up and bundles may come down now."""
        if self._parts.is_metered():
            self.held_back = "the link is metered"
        elif not may_sync(self._windows, minute_of_day(self._parts.clock())):
            self.held_back = "outside the sync windows"
        else:
            self.held_back = ""
        return not self.held_back

    def _drain(self) -> float:
        if not self._may_move():
            return 0.0
        steady = self._parts.steady
        until = max(self._check_in_due, steady() + _LONGEST_DRAIN_S)  # a long backlog gives way to a check-in
        result = drain(
            self._parts.outbox,
            self._parts.transport,
            now=self._parts.clock,
            go_on=lambda: self._may_move() and not self._stopping and steady() < until,
        )
        self._parts.telemetry.add(bytes_uploaded=result.bytes_sent)
        if result.sent or result.known:
            self._reached()
        if result.refused:
            self._parts.say(f"the server refused {result.refused} samples; they are parked in the outbox")
        return result.retry_after_s

    def _check_in(self) -> None:
        parts, now = self._parts, self._parts.steady()
        if now < self._check_in_due:
            return
        outbox, slot = self._outbox_stats(), parts.slots.active
        status = with_hours(
            device_status(parts.telemetry.counts(), slot, outbox, self._circumstances()),
            parts.telemetry.hours(slot.bundle_digest, outbox.pending),
        )
        directive = parts.transport.check_in(status)
        parts.telemetry.reported(status.hours)
        self._reached()
        wanted_s = directive.check_in_s or parts.settings.check_in_s
        self._check_in_due = now + min(MAX_CHECK_IN_S, max(MIN_CHECK_IN_S, wanted_s))
        has_moved = self._heed_channel(directive.channel)
        self._directive = directive if directive.channel == parts.following.channel else None
        if has_moved or self._announces_news(directive):
            self._update_due = now

    def _heed_channel(self, channel: str) -> bool:
        """Whether what the fleet says moves this device to another channel."""
        following, before = self._parts.following, self._parts.following.channel
        line = following.hear(channel)
        if line and line != self._said_of_channel:
            self._parts.say(line)
        self._said_of_channel = line
        if following.channel != before:
            self._parts.updater.follow(following.channel)
        return following.channel != before

    def _circumstances(self) -> Circumstances:
        parts, state = self._parts, self._parts.slots.state
        starts = read_starts(parts.settings.home)
        return Circumstances(
            device_id=parts.settings.device_id,
            software=f"edgeloop {__version__}",
            platform=f"{platform.machine()} {platform.system()}".lower(),
            clock=min(max(0.0, parts.clock()), LAST_MOMENT),
            starts=starts.starts,
            unclean_starts=starts.unclean,
            on_trial=bool(state.trial),
            rejected=state.rejected,
        )

    def _outbox_stats(self) -> OutboxStats:
        """Nothing of an outbox that cannot be read: the server must hear of such a device above all."""
        try:
            return self._parts.outbox.stats()
        except StorageError:
            return OutboxStats(pending=0, sent=0, parked=0, pending_bytes=0)

    def _announces_news(self, directive: Directive) -> bool:
        state = self._parts.slots.state
        known = ("", self._parts.slots.active.bundle_digest, *state.rejected)
        return directive.channel == self._parts.following.channel and directive.bundle_digest not in known

    def _update(self) -> None:
        parts, now = self._parts, self._parts.steady()
        has_bundle = bool(parts.slots.active.bundle_digest)
        # A device without a bundle is of no use to anybody: its first one comes at any hour, over any road.
        if has_bundle and (now < self._update_due or not self._may_move() or not self._may_change()):
            return
        wanted = self._directive.bundle_digest if self._directive is not None else ""
        result = parts.updater.update(parts.clock(), wanted=wanted)
        parts.telemetry.add(bytes_fetched=result.fetched_bytes)
        if result.outcome is UpdateOutcome.OFFLINE:
            raise RoadError(result.reason)
        self._reached()
        self._update_due = now + parts.settings.update_interval_s
        rejection = result.reason if result.outcome is UpdateOutcome.REJECTED else ""
        if rejection and rejection != self._rejection:
            parts.say(rejection)
        self._rejection = rejection
        if result.outcome is UpdateOutcome.ACTIVATED:
            parts.prepare()

    def _may_change(self) -> bool:
        """Whether the server lets this device change its bundle at this hour of its day."""
        text = self._directive.update_windows if self._directive is not None else ""
        try:
            windows = parse_windows(text)
        except UsageError as error:  # the server's mistake must end nobody's link
            self._parts.telemetry.trouble(Topic.ROAD, f"the server's update windows: {error.message}")
            return True
        return may_sync(windows, minute_of_day(self._parts.clock()))

    def _reached(self) -> None:
        self.reached_at = self._parts.clock()
        self._reached_now = True

    def _failed(self, error: EdgeloopError) -> float:
        if self._stopping:  # a call that was hung up on is nobody's trouble
            return 0.0
        line = str(error)
        if self._parts.renewal is not None:
            line = self._parts.renewal.explained(error, self._parts.clock())
        self._parts.telemetry.trouble(Topic.ROAD, line)
        if line != self._last_words:
            self._parts.say(line)
        self._last_words = line
        settings = self._parts.settings
        wait_s = backoff.delay(
            self._failures,
            base_s=settings.backoff_base_s,
            cap_s=max(settings.backoff_base_s, settings.backoff_cap_s),
            jitter=self._parts.jitter(),
        )
        self._failures += 1
        asked_s = error.retry_after_s if isinstance(error, RoadError) else None
        return max(wait_s, asked_s or 0.0)

    def _well(self) -> None:
        if not self._reached_now:  # nothing was due, so nothing is known of the road
            return
        self._last_words = ""
        self._parts.telemetry.trouble(Topic.ROAD, self._rejection)


def minute_of_day(now: float) -> float:
    """Minutes since midnight in the device's local time."""
    local = time.localtime(now)
    return local.tm_hour * 60 + local.tm_min + local.tm_sec / 60
