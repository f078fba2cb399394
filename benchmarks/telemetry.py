"""What counting one answer costs the frame path, against counting without the hours' statistics.

    python benchmarks/telemetry.py

Both ways are timed in turns within one process; compare the ratio, not the microseconds.
"""

from __future__ import annotations

import statistics
import time

from edge.telemetry import Telemetry
from edge.types import Classification, ClassScore, Decision, DecisionReason, Inference, Outcome, Timings

ROUNDS, ANSWERS = 40, 5000


class _NoHours:
    """Stands in for the statistics, and does nothing."""

    def answered(self, *_: object) -> None:
        """Nothing."""


def answer(number: int) -> Inference:
    """One of many different answers."""
    label = f"class {number % 40}"
    top = (ClassScore(label=label, index=number % 40, probability=0.9),)
    return Inference(
        prediction=Classification(top=top, margin=0.5, entropy=0.2),
        decision=Decision(
            outcome=list(Outcome)[number % 3], confidence=number % 100 / 100, reason=DecisionReason.CONFIDENT
        ),
        timings=Timings(preprocess_ms=3.0 + number % 7, infer_ms=20.0 + number % 31, postprocess_ms=1.0),
        bundle_digest="b" * 64,
        artifact="m.tflite",
        picture_digest="c" * 64,
    )


def timed(telemetry: Telemetry, answers: list[Inference]) -> float:
    """Microseconds an answer."""
    begun = time.perf_counter()
    for one in answers:
        telemetry.answered(one, 3)
    return (time.perf_counter() - begun) / len(answers) * 1e6


def main() -> None:
    """Prints both and the difference."""
    answers = [answer(number) for number in range(ANSWERS)]
    whole, bare = Telemetry(), Telemetry()
    bare._hours = _NoHours()  # type: ignore[assignment]
    pairs = [(timed(whole, answers), timed(bare, answers)) for _ in range(ROUNDS)]
    with_hours, without = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(
        f"with statistics {with_hours:.2f} us, without {without:.2f} us, {with_hours - without:.2f} us more an answer"
    )


if __name__ == "__main__":
    main()
