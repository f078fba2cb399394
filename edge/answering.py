"""One frame answered for, whoever asked: the camera's loop and the kiosk's screen share this."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edge.errands import Errands
from edge.errors import BackendError, StorageError, UsageError
from edge.journal import Journal, prediction_line
from edge.keeper import Keeper
from edge.swap import Engines, EngineSlot
from edge.telemetry import Telemetry
from edge.types import Frame, Inference

if TYPE_CHECKING:
    from edge.bundle.manifest import BundleManifest
    from edge.engine import Engine
    from edge.update.slots import Slots


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A frame and what became of it.

    Attributes:
        frame: The picture.
        inference: What the engine said.
        manifest: Of the bundle that said it.
        kept: Whether it is, or is about to be, in the outbox; of a live source that is decided later, and False here.
        sample_digest: SHA-256 of the payload there, hex; empty where it is not kept.
    """

    frame: Frame
    inference: Inference
    manifest: BundleManifest
    kept: bool = False
    sample_digest: str = ""

    @property
    def model_version(self) -> str:
        """`name version`, as people read it."""
        return f"{self.manifest.name} {self.manifest.version}"


class Answerer:
    """Infers, keeps, counts and writes down. Thread-safe.

    Args:
        engines: Where the next engine comes from.
        slots: Told when a bundle on trial has proven itself.
        keeper: Keeps what is worth it.
        telemetry: Told what happened.
        journal: One line an answer.
        keeping: Runs what decides on frames that were answered: without waiting for a disk.
        writing: Runs what is written down beside the answers.
        report: Told in one line what went wrong with that, and an empty one once it works again.
        confirm_frames: Frames that a bundle on trial must answer before it is confirmed.
    """

    def __init__(
        self,
        *,
        engines: Engines,
        slots: Slots,
        keeper: Keeper,
        telemetry: Telemetry,
        journal: Journal,
        keeping: Errands,
        writing: Errands,
        report: Callable[[str], None],
        confirm_frames: int,
    ) -> None:
        self.slot = EngineSlot()
        self._engines = engines
        self._slots = slots
        self._keeper = keeper
        self._telemetry = telemetry
        self._journal = journal
        self._keeping = keeping
        self._writing = writing
        self._report = report
        self._confirm_frames = confirm_frames
        self._good_frames = 0
        self._lock = threading.Lock()

    def answer(self, frame: Frame, *, pass_number: int = 1, top_k: int | None = None, now: bool = True) -> Answer:
        """Answers for one frame, and keeps it where the bundle asks for it.

        Args:
            frame: The picture.
            pass_number: The pass over its source, from 1.
            top_k: How many classes to name; None for what the bundle says.
            now: Whether to decide at once if it is kept; else that is an errand.

        A bundle on trial whose network fails gives way at once to the one before, and the same frame goes again.

        Raises:
            ImageError: It is no usable picture.
            UsageError: There is no bundle yet.
            BackendError: The network failed.
        """
        while True:
            with self.slot.lease() as engine:
                if engine is None:
                    raise UsageError("there is no bundle on this device yet", hint="wait for the first release")
                try:
                    inference = engine.infer(frame.data, top_k=top_k)
                except BackendError as error:
                    self._telemetry.failed(engine.bundle.digest)
                    if not self._fall_back(engine, str(error)):
                        raise
                    continue
                self._telemetry.answered(inference, engine.bundle.manifest.version)
                self._count_good(engine)
                return self._finish(frame, inference, engine, pass_number, now=now)

    def take_new_engine(self) -> None:
        """Puts the engine in place that an update has laid down, if there is one."""
        engine = self._engines.take()
        if engine is not None:
            self.swap(engine)

    def swap(self, engine: Engine | None) -> None:
        """Puts another engine in place, which begins without a good frame."""
        with self._lock:
            self._good_frames = 0
            self.slot.swap(engine)

    def close(self) -> None:
        """Lets go of the engine, and of one that was laid down."""
        self.take_new_engine()
        self.swap(None)

    def confirm_what_worked(self) -> None:
        """Confirms a bundle on trial that has answered at all: there is nothing more to answer."""
        engine = self.slot.current
        if self._good_frames and engine is not None:
            self._confirm(engine.bundle.digest)

    def _finish(self, frame: Frame, inference: Inference, engine: Engine, pass_number: int, *, now: bool) -> Answer:
        undecided = Answer(frame=frame, inference=inference, manifest=engine.bundle.manifest)
        labels = engine.gallery_labels()  # now, for by the time of an errand the engine may be closed
        if now:
            return self._decide(undecided, labels, pass_number)

        def decide_later() -> None:
            self._decide(undecided, labels, pass_number)

        self._keeping.do(decide_later)
        return undecided

    def _decide(self, answer: Answer, labels: Mapping[str, tuple[str, ...]], pass_number: int) -> Answer:
        """Keeps a frame that is worth it, and writes down what became of it."""
        digest = self._keeper.keep(answer.frame, answer.inference, answer.manifest, gallery_labels=lambda: labels)
        decided = replace(answer, kept=bool(digest), sample_digest=digest)
        self._writing.do(lambda: self._write_down(decided, pass_number))
        return decided

    def _write_down(self, answer: Answer, pass_number: int) -> None:
        line = prediction_line(
            answer.frame,
            answer.inference,
            pass_number=pass_number,
            version=answer.manifest.version,
            kept=answer.kept,
        )
        try:
            self._journal.append(line)
        except StorageError as error:
            self._report(str(error))
        else:
            self._report("")

    def _count_good(self, engine: Engine) -> None:
        with self._lock:
            if engine is not self.slot.current:
                return
            self._good_frames += 1
            is_due = self._good_frames % self._confirm_frames == 0
        if is_due:
            self._confirm(engine.bundle.digest)

    def _confirm(self, digest: str) -> None:
        """Ends the trial of a bundle, once; a disk that fails is tried again with later frames."""

        def confirm() -> None:
            try:
                self._slots.confirm(digest)
            except StorageError as error:
                self._report(str(error))

        self._writing.do(confirm)

    def _fall_back(self, failed: Engine, reason: str) -> bool:
        """Whether another engine stands ready: because of us, or of another thread that met the same failure."""
        with self._lock:
            if failed is not self.slot.current:
                return True
            try:
                engine = self._engines.fall_back(failed.bundle.digest, reason)
            except StorageError as error:  # the next frame tries again
                self._report(str(error))
                return False
            if engine is None:
                return False
            self._good_frames = 0
            self.slot.swap(engine)
            return True
