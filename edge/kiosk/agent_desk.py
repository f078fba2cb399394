"""The agent as its kiosk sees it: pictures that people hold up, and what they say about the answers."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from edge.answering import Answer, Answerer
from edge.errors import BackendError, ImageError
from edge.keeper import Keeper
from edge.kiosk.desk import Serving, Watching, serving_of
from edge.outbox.base import SampleOutbox
from edge.status import AgentState
from edge.telemetry import Counts, Telemetry, Topic
from edge.types import Feedback, Frame


class AgentDesk:
    """See `edge.kiosk.desk.Desk`.

    Args:
        answerer: Answers.
        keeper: Keeps what people said something about.
        outbox: Where that goes.
        telemetry: Told what happened.
        clock: Seconds since the epoch, UTC.
        latest: Gives the newest answer for a frame of the source.
        watching: Gives the source, and whether it has frames.
        state: Gives what the agent says about itself.
    """

    def __init__(
        self,
        *,
        answerer: Answerer,
        keeper: Keeper,
        outbox: SampleOutbox,
        telemetry: Telemetry,
        clock: Callable[[], float],
        latest: Callable[[], Answer | None],
        watching: Callable[[], Watching],
        state: Callable[[], AgentState],
    ) -> None:
        self._answerer = answerer
        self._keeper = keeper
        self._outbox = outbox
        self._telemetry = telemetry
        self._clock = clock
        self._sequence = itertools.count()
        self._serving: Serving | None = None
        self.latest = latest
        self.watching = watching
        self.state = state

    def recognise(self, picture: bytes, *, source: str, top_k: int | None = None) -> Answer:
        """See `Desk.recognise`."""
        frame = Frame(data=picture, captured_at=self._clock(), source=source, sequence=next(self._sequence))
        self._telemetry.add(frames_seen=1, bytes_seen=len(picture))
        try:
            return self._answerer.answer(frame, top_k=top_k)
        except ImageError:
            self._telemetry.add(frames_unreadable=1)
            raise
        except BackendError as error:
            self._telemetry.add(frames_failed=1)
            self._telemetry.trouble(Topic.FRAME, f"{source}: {error}")
            raise
        except BaseException:
            self._telemetry.add(frames_failed=1)
            raise

    def feedback(self, answer: Answer, feedback: Feedback) -> str:
        """See `Desk.feedback`."""
        digest = self._keeper.keep_for_answer(answer.frame, answer.inference)
        self._outbox.put_answer(digest, feedback, now=self._clock())
        return digest

    def serving(self) -> Serving | None:
        """See `Desk.serving`."""
        engine = self._answerer.slot.current
        if engine is None:
            return None
        if self._serving is None or self._serving.digest != engine.bundle.digest:
            with self._answerer.slot.lease() as leased:
                self._serving = serving_of(leased) if leased is not None else None
        return self._serving

    def counts(self) -> Counts:
        """See `Desk.counts`."""
        return self._telemetry.counts()
