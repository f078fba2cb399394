"""The always-on loop of a device: frames in, answers out, the doubtful kept, the next bundle swapped in.

Two threads work together. The main thread takes frames, infers, decides, keeps. The link (`edge.link`) uploads,
reports and updates; it loads and tests a new engine while the old one still answers, and hands it over; the main
thread takes it between two frames, so that no frame is dropped. Both survive a kill at any point: what was kept is in
the outbox, what runs is in a verified slot.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable

from edge.engine import Engine
from edge.errors import BackendError, ImageError, StorageError, UsageError
from edge.home import DeviceHome
from edge.journal import Journal, prediction_line
from edge.keeper import Keeper
from edge.link import Link, LinkParts, release_claims
from edge.outbox.sqlite import SqliteOutbox
from edge.settings import AgentSettings
from edge.sources.folder import FolderSource
from edge.status import AgentState, write_status
from edge.swap import Engines
from edge.sync.base import SyncTransport
from edge.telemetry import Counts, Telemetry
from edge.types import Frame, Inference
from edge.update.selftest import hardware_fingerprint
from edge.update.slots import Slots
from edge.update.trust import TrustStore
from edge.update.updater import Updater

STATUS_INTERVAL_S = 1.0
STOP_TIMEOUT_S = 1.0
_SLICE_S = 0.05


class Agent:
    """One device at work. Make it, `run` it once, `stop` it from a signal handler or another thread.

    Args:
        settings: What the device was told; `source` must be set.
        transport: The road, or None to stay offline.
        say: Told in one line what a person should know.
        progress: Told the counts about once a second.
        clock: Seconds since the epoch, UTC.
        jitter: A random number in [0, 1].
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
    ) -> None:
        self._settings = settings
        self._transport = transport
        self._say = say
        self._progress = progress
        self._clock = clock
        self._jitter = jitter
        self._home = DeviceHome(folder=settings.home)
        self._telemetry = Telemetry()
        self._stopping = False
        self._phase = "starting"
        self._status_due = 0.0
        self._engine: Engine | None = None
        self._link: Link | None = None
        self._good_frames = 0
        self._reported: set[str] = set()

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
            self._open(stack)
            try:
                self._answer_all()
                self._wait_until_drained()
            finally:
                self._close()
        self._raise_what_failed()
        return self._telemetry.counts()

    def _open(self, stack: contextlib.ExitStack) -> None:
        settings = self._settings
        if settings.source is None:
            raise UsageError("no pictures to watch", hint="give --source FOLDER")
        self._source = FolderSource(
            settings.source,
            passes=settings.passes,
            fps=settings.fps,
            max_bytes=settings.max_picture_bytes,
            pace=Pace(self._clock, self._wait),
            unreadable=self._unreadable_file,
            pass_done=self._pass_done,
        )
        self._slots = Slots(settings.home)
        self._outbox = SqliteOutbox(self._home.outbox)
        stack.callback(self._outbox.close)
        release_claims(self._outbox)
        self._keeper = Keeper(settings, self._outbox, self._telemetry, clock=self._clock, report=self._report_failure)
        self._journal = Journal(self._home.journal, max_bytes=settings.journal_max_bytes)
        stack.callback(self._journal.close)
        rejected = self._slots.count_start()
        if rejected:
            self._say(f"bundle {rejected[:12]} never got to answer frames; back to the one before")
        self._engines = Engines(settings, self._slots, can_wait=self._transport is not None, say=self._say)
        self._engine = self._engines.first()
        if self._transport is not None:
            self._link = self._make_link(self._transport)
            self._link.start()
        elif self._engine is None:
            raise UsageError("there is no bundle on this device", hint="give --server to fetch one, or --bundle")

    def _make_link(self, transport: SyncTransport) -> Link:
        trust = TrustStore(self._settings.home, transport, channel=self._settings.channel)
        updater = Updater(self._slots, trust, transport, self_test=self._engines.test, fingerprint=hardware_fingerprint)
        return Link(
            LinkParts(
                settings=self._settings,
                outbox=self._outbox,
                transport=transport,
                slots=self._slots,
                updater=updater,
                telemetry=self._telemetry,
                prepare=self._engines.prepare,
                say=self._say,
                clock=self._clock,
                jitter=self._jitter,
            )
        )

    def _wait_for_engine(self) -> bool:
        """True once there is an engine; False when the agent shall stop before."""
        if self._engine is None:
            self._phase = "waiting for a bundle"
            self._say("there is no bundle yet; waiting for the first release")
        while self._engine is None:
            if self._wait(_SLICE_S):
                return False
            self._take_new_engine()
        self._phase = "running"
        return True

    # Frames.

    def _answer_all(self) -> None:
        if not self._wait_for_engine():
            return
        for frame in self._source.frames():
            self._take_new_engine()
            self._answer(frame)
            self._tick()
            if self._stopping:
                break
        if self._good_frames:
            self._slots.confirm()

    def _answer(self, frame: Frame) -> None:
        assert isinstance(frame.data, bytes)  # noqa: S101 - a folder holds encoded pictures
        self._telemetry.add(frames_seen=1, bytes_seen=len(frame.data))
        engine, inference = self._infer(frame)
        if inference is None:
            return
        version = engine.bundle.manifest.version
        kept = self._keeper.keep(
            frame, frame.data, inference, engine.bundle.manifest, gallery_labels=engine.gallery_labels
        )
        self._telemetry.answered(inference, version)
        self._write_journal(frame, inference, version, kept=kept)
        self._good_frames += 1
        if self._good_frames == self._settings.confirm_frames:
            self._slots.confirm()

    def _infer(self, frame: Frame) -> tuple[Engine, Inference | None]:
        """Answers one frame; a bundle on trial whose network fails gives way at once, and the same frame goes again."""
        while True:
            engine = self._engine
            assert engine is not None  # noqa: S101 - `_answer_all` waits for one
            try:
                return engine, engine.infer(frame.data)
            except ImageError as error:
                self._unreadable(frame.source, error.message.removeprefix("picture: "))
                return engine, None
            except BackendError as error:
                if not self._fall_back(str(error)):
                    self._telemetry.add(frames_failed=1)
                    self._telemetry.frame_failed(f"{frame.source}: {error}")
                    return engine, None

    def _fall_back(self, reason: str) -> bool:
        engine = self._engines.fall_back(reason)
        if engine is None:
            return False
        self._swap(engine)
        return True

    def _take_new_engine(self) -> None:
        engine = self._engines.take()
        if engine is not None:
            self._swap(engine)

    def _swap(self, engine: Engine) -> None:
        old, self._engine, self._good_frames = self._engine, engine, 0
        if old is not None:
            old.close()

    def _write_journal(self, frame: Frame, inference: Inference, version: int, *, kept: bool) -> None:
        line = prediction_line(frame, inference, pass_number=self._source.current_pass, version=version, kept=kept)
        try:
            self._journal.append(line)
        except StorageError as error:
            self._report_failure(str(error))

    def _unreadable_file(self, name: str, reason: str) -> None:
        self._telemetry.add(frames_seen=1)
        self._unreadable(name, reason)

    def _unreadable(self, name: str, reason: str) -> None:
        self._telemetry.add(frames_unreadable=1)
        if name not in self._reported:
            self._reported.add(name)
            self._say(f"skipped {name}: {reason}")

    def _report_failure(self, line: str) -> None:
        self._telemetry.frame_failed(line)
        if line not in self._reported:
            self._reported.add(line)
            self._say(line)

    def _pass_done(self, number: int) -> None:
        self._telemetry.add(passes=1)
        if self._link is not None:
            self._link.wake()

    # The end.

    def _wait_until_drained(self) -> None:
        if self._link is None or not self._settings.exit_when_drained:
            return
        self._phase = "draining"
        self._link.wake()
        while self._outbox.stats().pending > 0 and not self._wait(_SLICE_S):
            continue

    def _close(self) -> None:
        self._phase = "stopped"
        if self._link is not None:
            self._link.stop(timeout_s=STOP_TIMEOUT_S)
        self._take_new_engine()
        if self._engine is not None:
            self._engine.close()
        with contextlib.suppress(StorageError):  # the disk is full: what matters was said already
            self._write_status()

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
            self._tick()
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(left, _SLICE_S))
        return True

    def _shall_stop(self) -> bool:
        return self._stopping or (self._link is not None and self._link.fatal is not None)

    def _tick(self) -> None:
        now = time.monotonic()
        if now < self._status_due:
            return
        self._status_due = now + STATUS_INTERVAL_S
        self._progress(self._telemetry.counts())
        try:
            self._write_status()
        except StorageError as error:
            self._report_failure(str(error))

    def _write_status(self) -> None:
        # Counts before the outbox: whoever reads a finished pass and an empty outbox may believe both.
        counts = self._telemetry.counts()
        state = AgentState(
            device_id=self._settings.device_id,
            phase=self._phase,
            slots=self._slots.state,
            outbox=self._outbox.stats(),
            server_reached_at=self._link.reached_at if self._link is not None else 0.0,
            at=self._clock(),
        )
        write_status(self._home, counts, state, self._engine)


class Pace:
    """Time and waiting for a source (`edge.sources.folder.Pace`)."""

    def __init__(self, now: Callable[[], float], wait: Callable[[float], bool]) -> None:
        self.now = now
        self.wait = wait
