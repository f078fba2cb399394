"""The always-on loop of a device: frames in, answers out, the doubtful kept, the next bundle swapped in.

The main thread takes frames and answers them. Everything that may wait has a thread of its own, of lower priority: the
writer puts samples on the disk (`edge.writer`, for live sources), the link uploads, reports and updates (`edge.link`),
the reporter writes the status (`edge.reporter`), the kiosk serves its screen (`edge.kiosk`). The link loads and tests a
new engine while the old one still answers; the main thread takes it between two frames, so that no frame is dropped.
All survive a kill at any point: what was kept is in the outbox, what runs is in a verified slot.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from edge.answering import Answer, Answerer
from edge.errands import Errands
from edge.errors import BackendError, ImageError, StorageError, UsageError
from edge.following import open_following
from edge.home import DeviceHome
from edge.hours_file import HoursFile
from edge.identity.renewal import Renewal
from edge.journal import Journal
from edge.keeper import Keeper, limits_of
from edge.link import Link, LinkParts
from edge.outbox.recovering import RecoveringOutbox
from edge.reporter import Reporter
from edge.settings import AgentSettings
from edge.sources.address import public_name
from edge.sources.base import FrameSource, SourceEvents, SourceOptions
from edge.sources.change import ChangeGate
from edge.sources.select import open_source
from edge.status import AgentState, write_status
from edge.swap import Engines
from edge.sync.base import SyncTransport
from edge.telemetry import Counts, Telemetry, Topic
from edge.types import Frame
from edge.update.selftest import hardware_fingerprint
from edge.update.slots import Slots
from edge.update.starts import count_start, ended_cleanly
from edge.update.trust import TrustStore
from edge.update.updater import Updater
from edge.watchdog import Watchdog

if TYPE_CHECKING:
    from edge.kiosk.desk import Watching
    from edge.kiosk.server import KioskServer

OpenSource = Callable[..., FrameSource]
STOP_TIMEOUT_S = 1.5
"""All threads together have so long to end: systemd and people expect a stop within two seconds."""
_SLICE_S = 0.05
_MOST_REPORTED = 1000


class Agent:
    """One device at work. Make it, `run` it once, `stop` it from a signal handler or another thread.

    Args:
        settings: What the device was told; `source` or `kiosk_port` must be set.
        transport: The road, or None to stay offline.
        say: Told in one line what a person should know.
        progress: Told the counts about once a second.
        clock: Seconds since the epoch, UTC; may jump.
        jitter: A random number in [0, 1].
        watchdog: Told that the agent is up, and of every frame; closed at the end.
        open_source: Opens what `settings.source` names; another one for sources of your own.
        renewal: What keeps the device's certificate fresh; None for a device without one.
    """

    def __init__(
        self,
        settings: AgentSettings,
        *,
        transport: SyncTransport | None,
        say: Callable[[str], None],
        progress: Callable[[Counts], None] = lambda counts: None,
        clock: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
        watchdog: Watchdog | None = None,
        open_source: OpenSource = open_source,
        renewal: Renewal | None = None,
    ) -> None:
        self._settings = settings
        self._transport = transport
        self._say = say
        self._progress = progress
        self._clock = clock
        self._jitter = jitter
        self._watchdog = watchdog or Watchdog("", 0.0)
        self._open_named_source = open_source
        self._renewal = renewal
        self._home = DeviceHome(folder=settings.home)
        self._telemetry = Telemetry(run=os.urandom(4).hex(), clock=clock)
        self._stopping = False
        self._phase = "starting"
        self._source: FrameSource | None = None
        self._lost = ""
        self._latest: Answer | None = None
        self._gate: tuple[str, ChangeGate] | None = None
        self._link: Link | None = None
        self._kiosk: KioskServer | None = None
        self._reported: set[str] = set()
        self._stop_by = math.inf

    def stop(self) -> None:
        """Asks `run` to end within two seconds. Safe in a signal handler."""
        self._stopping = True

    def run(self) -> Counts:
        """Works until the source ends or `stop` is called.

        Returns:
            What was counted.

        Raises:
            UsageError: Another process works in this home, no pictures, or nothing to run and nobody to ask.
            StorageError: Samples could not be kept; the same command keeps them once there is room.
        """
        with self._home.hold(), contextlib.ExitStack() as stack:
            stack.callback(self._watchdog.close)
            self._open(stack)
            self._watchdog.ready()
            self._answer_all()
            self._serve_on()
            self._wait_until_drained()
            with contextlib.suppress(StorageError):  # then the next start counts as one after a crash
                ended_cleanly(self._settings.home)
        self._raise_what_failed()
        return self._telemetry.counts()

    # Assembly.

    def _open(self, stack: contextlib.ExitStack) -> None:
        """Makes every part, and says how each ends: the stack ends them in the opposite order, come what may."""
        settings = self._settings
        if not (settings.source or settings.kiosk_port):
            raise UsageError("no pictures to watch", hint="give --source FOLDER")
        if settings.source:
            self._source = self._open_source()
            stack.callback(self._source.close)
        self._slots = Slots(settings.home)
        self._following = open_following(settings)
        self._outbox = RecoveringOutbox(
            self._home.outbox, limits_of(settings), report=self._report_damage, clock=self._clock, patient=True
        )
        stack.callback(self._outbox.close)
        with contextlib.suppress(StorageError):  # then they come back when their leases end
            self._outbox.release_all()
        self._journal = Journal(self._home.journal, max_bytes=settings.journal_max_bytes)
        stack.callback(self._journal.close)
        self._count_start()
        self._hours = HoursFile(self._home.statistics, self._telemetry, say=self._say_failure, clock=self._clock)
        self._hours.load()
        self._engines = Engines(settings, self._slots, can_wait=self._transport is not None, say=self._say)
        self._start(stack)

    def _count_start(self) -> None:
        try:
            rejected = self._slots.count_start()
            count_start(self._settings.home)
        except StorageError as error:  # a start that is not counted is better than none
            self._report_disk(str(error))
            return
        if rejected:
            self._say(f"bundle {rejected[:12]} never got to answer frames; back to the one before")

    def _start(self, stack: contextlib.ExitStack) -> None:
        reporter = Reporter(self._report_status, report=self._report_disk)
        # A frame of 1080p is 6 MB; what decides on it waits for no disk, so a few may wait and the rest takes its turn.
        self._keeping = Errands(
            "keeping", in_background=self._is_live, most_waiting=4, in_turn=True, failed=self._say_failure
        )
        self._writing = Errands("writing", in_background=self._is_live, failed=self._say_failure)
        self._keeper = self._make_keeper()
        self._answerer = self._make_answerer()
        stack.callback(self._answerer.close)
        stack.callback(self._join_link)
        stack.callback(lambda: reporter.stop(timeout_s=self._left_s()))
        stack.callback(lambda: self._writing.stop(timeout_s=self._left_s()))
        stack.callback(lambda: self._keeper.stop(timeout_s=self._left_s()))
        stack.callback(lambda: self._keeping.stop(timeout_s=self._left_s()))
        self._answerer.swap(self._engines.first())
        if self._transport is None and self._answerer.slot.current is None:
            raise UsageError("there is no bundle on this device", hint="give --server to fetch one, or --bundle")
        reporter.start()
        if self._settings.kiosk_port:
            kiosk = self._kiosk = self._start_kiosk()
            stack.callback(lambda: kiosk.stop(timeout_s=self._left_s()))
        if self._transport is not None:
            link = self._link = self._make_link(self._transport)
            link.start()
        stack.callback(self._begin_stop)

    def _open_source(self) -> FrameSource:
        settings = self._settings
        options = SourceOptions(
            passes=settings.passes,
            fps=settings.fps,
            max_bytes=settings.max_picture_bytes,
            width=settings.camera_width,
            height=settings.camera_height,
            silence_s=settings.silence_s,
            backoff_base_s=settings.backoff_base_s,
            backoff_cap_s=max(settings.backoff_base_s, settings.backoff_cap_s),
        )
        events = SourceEvents(
            unreadable=self._unreadable_file,
            pass_done=self._pass_done,
            superseded=lambda number: self._telemetry.add(frames_superseded=number),
            lost=self._source_lost,
            back=self._source_back,
        )
        pace = Pace(self._clock, self._wait)
        return self._open_named_source(str(settings.source), options, pace=pace, events=events, jitter=self._jitter)

    def _make_keeper(self) -> Keeper:
        return Keeper(
            self._settings,
            self._outbox,
            self._telemetry,
            clock=self._clock,
            report=self._say_failure,
            in_background=self._is_live,
        )

    def _make_answerer(self) -> Answerer:
        return Answerer(
            engines=self._engines,
            slots=self._slots,
            keeper=self._keeper,
            telemetry=self._telemetry,
            journal=self._journal,
            keeping=self._keeping,
            writing=self._writing,
            report=self._report_disk,
            confirm_frames=self._settings.confirm_frames,
        )

    def _make_link(self, transport: SyncTransport) -> Link:
        trust = TrustStore(self._settings.home, transport, channel=self._following.channel)
        updater = Updater(
            self._slots,
            trust,
            transport,
            self_test=self._engines.test,
            fingerprint=hardware_fingerprint,
            max_bytes=self._settings.bundles_max_bytes,
        )
        return Link(
            LinkParts(
                settings=self._settings,
                outbox=self._outbox,
                transport=transport,
                slots=self._slots,
                updater=updater,
                following=self._following,
                telemetry=self._telemetry,
                prepare=self._engines.prepare,
                say=self._say,
                clock=self._clock,
                jitter=self._jitter,
                is_metered=lambda: self._settings.metered or self._home.is_metered(),
                renewal=self._renewal,
            )
        )

    def _start_kiosk(self) -> KioskServer:
        from edge.kiosk.agent_desk import AgentDesk
        from edge.kiosk.server import KioskServer, kiosk_options

        desk = AgentDesk(
            answerer=self._answerer,
            keeper=self._keeper,
            outbox=self._outbox,
            telemetry=self._telemetry,
            clock=self._clock,
            latest=lambda: self._latest,
            watching=self._watching,
            state=self._state,
        )
        kiosk = KioskServer(desk, kiosk_options(self._settings, audit=self._home.kiosk_audit))
        kiosk.start()
        self._say(f"the kiosk page is at {kiosk.address}")
        return kiosk

    # Frames.

    def _answer_all(self) -> None:
        if self._source is None or not self._wait_for_engine():
            return
        for frame in self._source.frames():
            self._answerer.take_new_engine()
            self._answer(frame)
            self._watchdog.beat()
            if self._shall_stop():
                break
        self._answerer.confirm_what_worked()

    def _wait_for_engine(self) -> bool:
        """True once there is an engine; False when the agent shall stop before."""
        if self._answerer.slot.current is None:
            self._phase = "waiting for a bundle"
            self._say("there is no bundle yet; waiting for the first release")
        while self._answerer.slot.current is None:
            if self._wait(_SLICE_S):
                return False
            self._answerer.take_new_engine()
        self._phase = "running"
        return True

    def _answer(self, frame: Frame) -> None:
        size = len(frame.data) if isinstance(frame.data, bytes) else frame.data.nbytes
        self._telemetry.add(frames_seen=1, bytes_seen=size)
        gate = self._change_gate()
        if gate.is_unchanged(frame.data, time.monotonic()):
            self._telemetry.add(frames_unchanged=1)
            return
        try:
            answer = self._answerer.answer(frame, pass_number=self._current_pass, now=not self._is_live)
        except ImageError as error:
            self._unreadable(frame.source, error.message.removeprefix("picture: "))
        except BackendError as error:
            self._telemetry.add(frames_failed=1)
            self._telemetry.trouble(Topic.FRAME, f"{frame.source}: {error}")
        else:
            gate.answered(time.monotonic())
            if self._kiosk is not None:
                self._latest = answer

    def _change_gate(self) -> ChangeGate:
        """The gate of the bundle that answers now; a new bundle looks at every scene anew."""
        engine = self._answerer.slot.current
        assert engine is not None  # noqa: S101 - `_wait_for_engine` has waited for one
        if self._gate is None or self._gate[0] != engine.bundle.digest:
            self._gate = (engine.bundle.digest, ChangeGate(engine.bundle.manifest.capture))
        return self._gate[1]

    @property
    def _current_pass(self) -> int:
        return self._source.current_pass if self._source is not None else 1

    def _unreadable_file(self, name: str, reason: str) -> None:
        self._telemetry.add(frames_seen=1)
        self._unreadable(name, reason)

    def _unreadable(self, name: str, reason: str) -> None:
        self._telemetry.add(frames_unreadable=1)
        self._say_once(name, f"skipped {name}: {reason}")

    @property
    def _is_live(self) -> bool:
        return self._source is not None and self._source.is_live

    def _source_lost(self, reason: str) -> None:
        self._lost = f"{self._source_name}: {reason}"
        self._telemetry.trouble(Topic.CAMERA, self._lost)
        self._say(self._lost)

    def _source_back(self) -> None:
        self._lost = ""
        self._telemetry.trouble(Topic.CAMERA, "")
        self._say(f"{self._source_name}: the camera is back")

    @property
    def _source_name(self) -> str:
        return public_name(str(self._settings.source)) if self._settings.source else ""

    def _report_disk(self, line: str) -> None:
        self._telemetry.trouble(Topic.DISK, line)
        self._say_failure(line)

    def _report_damage(self, line: str) -> None:
        self._telemetry.trouble(Topic.DAMAGE, line)
        self._say(line)

    def _say_failure(self, line: str) -> None:
        if line:
            self._say_once(line, line)

    def _say_once(self, about: str, line: str) -> None:
        if about in self._reported:
            return
        if len(self._reported) >= _MOST_REPORTED:  # years of different file names must not fill the memory
            self._reported.clear()
        self._reported.add(about)
        self._say(line)

    def _pass_done(self, number: int) -> None:
        self._telemetry.add(passes=1)
        if self._link is not None:
            self._link.wake()

    # The end.

    def _serve_on(self) -> None:
        """A kiosk goes on when there are no more frames."""
        if self._kiosk is None or self._settings.exit_when_drained:
            return
        self._phase = "running"
        while not self._wait(_SLICE_S):
            self._answerer.take_new_engine()

    def _wait_until_drained(self) -> None:
        if self._link is None or not self._settings.exit_when_drained:
            return
        self._phase = "draining"
        self._link.wake()
        while self._has_something_to_send() and not self._wait(_SLICE_S):
            continue

    def _has_something_to_send(self) -> bool:
        return self._outbox.stats().pending > 0 or bool(self._outbox.waiting_answers(limit=1))

    def _begin_stop(self) -> None:
        self._phase = "stopped"
        self._watchdog.stopping()
        if self._link is not None:
            self._link.hang_up()
        self._stop_by = time.monotonic() + STOP_TIMEOUT_S

    def _join_link(self) -> None:
        if self._link is not None:
            self._link.join(timeout_s=self._left_s())

    def _left_s(self) -> float:
        """What is left of the time that all threads together have to end."""
        return min(STOP_TIMEOUT_S, max(0.05, self._stop_by - time.monotonic()))

    def _raise_what_failed(self) -> None:
        if self._link is not None and self._link.fatal is not None:
            raise self._link.fatal
        counts = self._telemetry.counts()
        if counts.keep_failed:
            raise StorageError(
                f"{counts.keep_failed} samples could not be kept: {self._keeper.last_error}",
                hint="free some space and run the same command again; what was kept before is safe",
            )

    # Time and status.

    def _wait(self, seconds: float) -> bool:
        """Waits in slices, so that signals and a dead link are noticed; True when the agent shall stop."""
        deadline = time.monotonic() + seconds
        while not self._shall_stop():
            self._watchdog.beat()
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(left, _SLICE_S))
        return True

    def _shall_stop(self) -> bool:
        return self._stopping or (self._link is not None and self._link.fatal is not None)

    def _report_status(self) -> None:
        # Counts before the outbox: whoever reads a finished pass and an empty outbox may believe both.
        counts = self._telemetry.counts()
        self._progress(counts)
        try:
            write_status(self._home, counts, self._state(), self._answerer.slot.current)
            self._outbox.maintain()
            self._report_disk("")
        finally:
            self._hours.step(last=self._phase == "stopped")

    def _watching(self) -> Watching:
        from edge.kiosk.desk import Watching

        return Watching(name=self._source_name, lost=self._lost)

    def _state(self) -> AgentState:
        return AgentState(
            device_id=self._settings.device_id,
            phase=self._phase,
            slots=self._slots.state,
            outbox=self._outbox.stats(),
            server_reached_at=self._link.reached_at if self._link is not None else 0.0,
            held_back=self._link.held_back if self._link is not None else "",
            channel=self._following.channel,
            channel_reason=self._following.reason,
            at=self._clock(),
        )


class Pace:
    """Time and waiting for a source (`edge.sources.base.Pace`)."""

    def __init__(self, now: Callable[[], float], wait: Callable[[float], bool]) -> None:
        self.now = now
        self.wait = wait
