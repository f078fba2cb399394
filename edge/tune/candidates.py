"""Which ways there are to run a stage on this device."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edge.backends.base import CPU, RuntimeOptions
from edge.bundle.manifest import ArtifactFormat, ArtifactSpec, StageInput, StageSpec
from edge.tune.types import Candidate

# Only these compute on as many of the processor's cores as they are told to. LiteRT's kernels without XNNPACK do so
# too, but are the last resort of a device on which XNNPACK is wrong, and several times slower.
_THREADED = (CPU, "openvino")


def candidates(
    stage: StageSpec,
    *,
    delegates: Callable[[ArtifactFormat], tuple[str, ...]],
    libraries: tuple[str, ...] = (),
    num_processors: int,
) -> tuple[Candidate, ...]:
    """Every way to run a stage, in the order in which equal ones are preferred.

    That is: the bundle's first model before its second, the processor before a delegate, fewer threads before more,
    and for crops one copy with one thread, then several such copies, then one with several threads.

    Args:
        stage: Of the bundle.
        delegates: Which delegates this device has for a format; none where the runtime is not installed.
        libraries: Paths of external delegates for LiteRT.
        num_processors: How many threads and copies are tried, doubling from 1.
    """
    found = []
    for artifact in stage.artifacts:
        known = delegates(artifact.format)
        extra = libraries if known and artifact.format is ArtifactFormat.TFLITE else ()
        for delegate in (*known, *extra):
            found += list(_of_delegate(artifact, delegate, stage.reads, num_processors))
    return tuple(found)


def _of_delegate(artifact: ArtifactSpec, delegate: str, reads: StageInput, num_processors: int) -> Iterator[Candidate]:
    yield Candidate(artifact=artifact, options=RuntimeOptions(delegate=delegate))
    if delegate not in _THREADED:
        return
    numbers = list(_doublings(num_processors))
    if reads is StageInput.CROPS:
        for workers in numbers:
            yield Candidate(artifact=artifact, options=RuntimeOptions(delegate=delegate), workers=workers)
    for threads in numbers:
        yield Candidate(artifact=artifact, options=RuntimeOptions(delegate=delegate, threads=threads))


def _doublings(most: int) -> Iterator[int]:
    """2, 4, 8 and so on, and at last `most` itself."""
    number = 2
    while number < most:
        yield number
        number *= 2
    if most > 1:
        yield most
