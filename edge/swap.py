"""Which engine answers: the first one after a start, the next one after an update, the one before after a failure."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator

from edge.bundle.reader import Bundle
from edge.engine import Engine, open_engine
from edge.errors import (
    BackendError,
    BundleError,
    EdgeloopError,
    FormatError,
    MissingExtraError,
    SelfTestError,
    StorageError,
    UsageError,
)
from edge.home import DeviceHome
from edge.image.decode import DEFAULT_LIMITS, DecodeLimits
from edge.loading import StageChoice, choose_artifacts
from edge.settings import AgentSettings
from edge.tune.recall import recall
from edge.update.selftest import hardware_fingerprint, self_test
from edge.update.slots import Slots


class EngineSlot:
    """The engine that answers now. A swap waits for nobody: the old engine is closed by the last who uses it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._current: Engine | None = None
        self._users: Counter[Engine] = Counter()

    @property
    def current(self) -> Engine | None:
        """The engine that answers now, to look at; use `lease` to ask it something."""
        return self._current

    @contextlib.contextmanager
    def lease(self) -> Iterator[Engine | None]:
        """The engine that answers now, which stays open for the length of the block."""
        with self._lock:
            engine = self._current
            if engine is not None:
                self._users[engine] += 1
        try:
            yield engine
        finally:
            if engine is not None:
                self._give_back(engine)

    def swap(self, engine: Engine | None) -> None:
        """Puts another engine in place; None for none."""
        with self._lock:
            old, self._current = self._current, engine
            is_idle = old is not None and self._users[old] == 0
        if old is not None and is_idle and old is not engine:
            old.close()

    def _give_back(self, engine: Engine) -> None:
        with self._lock:
            self._users[engine] -= 1
            is_last = self._users[engine] == 0
            if is_last:
                del self._users[engine]
            is_over = is_last and engine is not self._current
        if is_over:
            engine.close()


class Engines:
    """Opens engines from the slots and passes them from the link's thread to the one that answers.

    Args:
        settings: What the device was told.
        slots: Where the bundles are.
        can_wait: Whether a bundle that does not work may be waited out, because a server can send another.
        say: Told in one line what a person should know.
    """

    def __init__(self, settings: AgentSettings, slots: Slots, *, can_wait: bool, say: Callable[[str], None]) -> None:
        self._settings = settings
        self._slots = slots
        self._can_wait = can_wait
        self._say = say
        self._lock = threading.Lock()
        self._next: Engine | None = None

    def first(self) -> Engine | None:
        """Opens the active bundle; one that does not work here any more gives way to the one before.

        Returns:
            The engine, or None when there is none to run and a server may send one.

        Raises:
            BundleError: The only bundle does not work, and there is no server to send another.
            BackendError: The same.
            UsageError: The bundle has no artifact of the wanted name.
            MissingExtraError: No runtime for it is installed.
        """
        while (bundle := self._slots.open_active()) is not None:
            try:
                self._test_again(bundle)
                return self._load(bundle)
            except (BundleError, BackendError, FormatError) as error:
                if self._slots.has_fallback:
                    self._say(f"{error.message}; back to the bundle before")
                    self._slots.roll_back(reject=not _wants_key(bundle, error))
                elif self._can_wait:
                    self._say(f"{error.message}; waiting for another release")
                    return None
                else:
                    raise
        return None

    def test(self, bundle: Bundle) -> None:
        """Whether a bundle works here: its golden vectors, and the artifact that this device was told to run."""
        choose_artifacts(bundle.manifest.stages, wanted=self._settings.artifact or None)
        self_test(bundle)

    def prepare(self) -> None:
        """In the link's thread: opens the bundle that was just activated and lays its engine down for `take`.

        Raises:
            BundleError: It does not work after all, and there is nothing to go back to.
            BackendError: The same.
        """
        bundle = self._slots.open_active()
        if bundle is None:
            return
        try:
            engine = self._load(bundle)
        except (BundleError, BackendError, FormatError) as error:
            if not self._slots.has_fallback:
                raise
            self._slots.roll_back(reject=not _wants_key(bundle, error))
            self._say(f"{error.message}; the device stays on the bundle it has")
            return
        with self._lock:
            old, self._next = self._next, engine
        if old is not None:
            old.close()

    def take(self) -> Engine | None:
        """The engine that was laid down, once."""
        with self._lock:
            engine, self._next = self._next, None
        return engine

    def fall_back(self, failed: str, reason: str) -> Engine | None:
        """Leaves a bundle on trial whose network fails while answering.

        Args:
            failed: Digest of the bundle that failed; another one that is active by now is left alone.
            reason: What it said.

        Returns:
            The engine of the bundle before, or None when there is none.

        Raises:
            StorageError: The disk is full or failing; the bundle on trial is still the active one.
        """
        if not (self._slots.state.trial and self._slots.has_fallback):
            return None
        if failed != self._slots.active.bundle_digest:
            return None
        self._say(f"{reason}; back to the bundle before")
        self._slots.roll_back()
        return self.first()

    def _test_again(self, bundle: Bundle) -> None:
        """After a change of runtime or hardware the golden vectors must pass anew."""
        here = hardware_fingerprint()
        if self._slots.active.tested_on != here:
            self.test(bundle)
            try:
                self._slots.mark_tested(here)
            except StorageError as error:  # then they are tried again at the next start
                self._say(str(error))

    def _load(self, bundle: Bundle) -> Engine:
        limits = DecodeLimits(max_bytes=self._settings.max_picture_bytes, max_pixels=DEFAULT_LIMITS.max_pixels)
        engine = self._open_tuned(bundle, limits) or self._open(bundle, limits, None)
        manifest = bundle.manifest
        files = "+".join(artifact.file for artifact in engine.artifacts)
        self._say(f"runs {manifest.name} version {manifest.version} ({bundle.digest[:12]}, {files})")
        return engine

    def _open_tuned(self, bundle: Bundle, limits: DecodeLimits) -> Engine | None:
        """The engine as a trial on this device has found it best, unless the settings ask for something else."""
        if self._settings.artifact or self._settings.threads != 1:
            return None
        choices = recall(DeviceHome(folder=self._settings.home).tuning, bundle, say=self._say)
        if choices is None:
            return None
        try:
            return self._open(bundle, limits, choices)
        except (BackendError, UsageError, MissingExtraError) as error:
            # A driver may have gone since the trial, which no fingerprint sees.
            self._say(f"{error.message}; the bundle runs as it would without a trial")
            return None

    def _open(self, bundle: Bundle, limits: DecodeLimits, choices: tuple[StageChoice, ...] | None) -> Engine:
        wanted = self._settings.artifact or None
        engine = open_engine(bundle, artifact=wanted, threads=self._settings.threads, choices=choices, limits=limits)
        try:
            return engine.load()
        except BaseException:
            engine.close()
            raise


def _wants_key(bundle: Bundle, error: EdgeloopError) -> bool:
    """Whether the fleet's key may be at fault, and not the bundle: one whose golden vectors fail says so itself."""
    return bool(bundle.sealed) and isinstance(error, BundleError) and not isinstance(error, SelfTestError)
