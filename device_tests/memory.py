"""How much memory a process needs that does nothing but recognise, and whether it grows."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from device_tests.child import run_child
from device_tests.models import variants
from device_tests.plan import Check, Finding, MismatchError, Plan, bundle_name, opened
from device_tests.report import MemoryFigure
from edge import jsonvalue

MAX_DRIFT_BYTES = 2_000_000
# With fewer frames, what is allocated once is still a part of the drift.
MIN_JUDGED_FRAMES = 500


def memory_checks(plan: Plan) -> Iterator[Check]:
    """One check for each bundle, in a process of its own."""
    for path in plan.bundles:
        yield Check(group="memory", name=bundle_name(path), run=partial(_measure, plan, path))


def judge_drift(figure: MemoryFigure, *, emulated: str = "") -> None:
    """Refuses growth.

    Args:
        figure: What was measured; too few frames are not judged.
        emulated: Emulators keep what they have translated, so theirs is not judged either.

    Raises:
        MismatchError: It grew by more than 2 MB.
    """
    if emulated or figure.num_frames < MIN_JUDGED_FRAMES:
        return
    if figure.drift_bytes > MAX_DRIFT_BYTES:
        raise MismatchError(
            f"{figure.artifact}: memory grew by {figure.drift_bytes / 1e6:.1f} MB over {figure.num_frames} frames, "
            f"at most {MAX_DRIFT_BYTES / 1e6:.0f} MB is allowed"
        )


def _measure(plan: Plan, path: Path) -> Finding:
    with opened(path) as bundle:
        variants(bundle)  # skips here, without a process, where none can run
    said = run_child(plan, "probe_memory", str(path.resolve()), str(plan.num_memory_frames))
    figure = jsonvalue.load(MemoryFigure, said.encode(), where="probe_memory")
    judge_drift(figure, emulated=plan.emulated)
    return Finding(detail=_words(figure), memory=(figure,))


def _words(figure: MemoryFigure) -> str:
    steps = (figure.import_bytes, figure.open_bytes, figure.end_bytes)
    imported, opened, end = (f"{size / 1e6:.1f}" for size in steps)
    drift = f"drift {figure.drift_bytes / 1e6:+.2f} MB"
    return f"{figure.artifact}: MB after import {imported}, open {opened}, {figure.num_frames} frames {end}; {drift}"
