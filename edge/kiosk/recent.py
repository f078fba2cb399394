"""The last answers by their ids, so that a person's word can still be put to the picture it is about."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge.answering import Answer
    from edge.types import Frame


class Recent:
    """Remembers answers. Thread-safe; the oldest are forgotten first, but the newest never, however large.

    Args:
        max_answers: How many.
        max_bytes: Bytes of their pictures: of the encoded ones where they are, else of the pixels.
    """

    def __init__(self, *, max_answers: int, max_bytes: int) -> None:
        self._max_answers = max_answers
        self._max_bytes = max_bytes
        self._answers: OrderedDict[str, Answer] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def remember(self, answer: Answer) -> None:
        """Adds an answer, or makes it the newest again."""
        name = answer.inference.prediction_id
        with self._lock:
            old = self._answers.pop(name, None)
            self._bytes += picture_bytes(answer.frame) - (picture_bytes(old.frame) if old is not None else 0)
            self._answers[name] = answer
            while len(self._answers) > 1 and self._is_over():
                _, gone = self._answers.popitem(last=False)
                self._bytes -= picture_bytes(gone.frame)

    def find(self, prediction_id: str) -> Answer | None:
        """The answer of that id; None when it is not remembered any more."""
        with self._lock:
            return self._answers.get(prediction_id)

    @property
    def num_bytes(self) -> int:
        """Bytes of the pictures that are remembered."""
        with self._lock:
            return self._bytes

    def __len__(self) -> int:
        with self._lock:
            return len(self._answers)

    def _is_over(self) -> bool:
        return len(self._answers) > self._max_answers or self._bytes > self._max_bytes


def picture_bytes(frame: Frame) -> int:
    """Memory that the picture of a frame takes."""
    return len(frame.data) if isinstance(frame.data, bytes) else int(frame.data.nbytes)
