"""What an agent's process did, written down for a test as it happens, outside of the agent's home.

One line each: `answered` for a frame; `handed DIGEST` for a sample that waits for the disk; `kept`, `known` or `shed`
and the digest for one that the outbox has acknowledged; `judged DIGEST` for a person's answer that it has.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def take_notes(file: Path) -> None:
    """Begins, in this process."""
    from edge.engine import Engine
    from edge.outbox.base import Sample
    from edge.outbox.recovering import RecoveringOutbox
    from edge.writer import GroupWriter

    handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    infer, put_many, put_answer = Engine.infer, RecoveringOutbox.put_many, RecoveringOutbox.put_answer
    hand_over = GroupWriter.hand_over

    def note(*lines: str) -> None:
        os.write(handle, "".join(f"{line}\n" for line in lines).encode())

    def noted_infer(engine: Engine, *args: Any, **options: Any) -> Any:
        inference = infer(engine, *args, **options)
        note("answered")
        return inference

    def noted_hand_over(writer: GroupWriter, sample: Sample) -> bool:
        is_taken = hand_over(writer, sample)
        note(*[f"handed {sample.digest}"] * is_taken)
        return is_taken

    def noted_put_many(outbox: RecoveringOutbox, samples: Sequence[Sample], **options: Any) -> Any:
        outcomes = put_many(outbox, samples, **options)
        note(*(f"{outcome.value} {sample.digest}" for sample, outcome in zip(samples, outcomes, strict=True)))
        return outcomes

    def noted_put_answer(outbox: RecoveringOutbox, digest: str, *args: Any, **options: Any) -> None:
        put_answer(outbox, digest, *args, **options)
        note(f"judged {digest}")

    Engine.infer, GroupWriter.hand_over = noted_infer, noted_hand_over
    RecoveringOutbox.put_many, RecoveringOutbox.put_answer = noted_put_many, noted_put_answer


class Notes:
    """What was written down so far.

    Args:
        file: Where; need not exist yet.
    """

    def __init__(self, file: Path) -> None:
        self.file = file

    def num(self, word: str) -> int:
        """How many lines begin with it."""
        return sum(line.split()[0] == word for line in self._lines())

    def digests(self, word: str) -> list[str]:
        """Those of the lines that begin with it, in order."""
        return [line.split()[1] for line in self._lines() if line.split()[0] == word]

    @property
    def acknowledged(self) -> set[str]:
        """Samples of which the outbox has ever said that they are safe."""
        return {*self.digests("kept"), *self.digests("known")}

    def _lines(self) -> list[str]:
        return self.file.read_text().splitlines() if self.file.exists() else []
