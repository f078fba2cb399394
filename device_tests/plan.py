"""What is asked of a run, and what a check is: the two values that every group of checks is written against."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from device_tests.report import LatencyFigure, MemoryFigure, OutputDigest
from edge.bundle.archive import unpack
from edge.bundle.reader import Bundle, open_bundle
from edge.errors import EdgeloopError, UsageError

if TYPE_CHECKING:
    from device_tests.reference import Reference

FOLDER = Path(__file__).resolve().parent
VECTORS = FOLDER / "vectors"
TINY_BUNDLE = FOLDER / "tiny.edgebundle"
TINY_INT8_BUNDLE = FOLDER / "tiny_int8.edgebundle"
OWN_BUNDLES = (TINY_BUNDLE, TINY_INT8_BUNDLE)


class MismatchError(EdgeloopError):
    """The device gives something else than the machine that made the vectors."""


class SkippedError(Exception):
    """This device cannot run a check; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one run tests.

    Attributes:
        bundles: Bundle folders or `.edgebundle` files; their names differ.
        pictures: Pictures that the outputs are recorded of, beside those of the vectors; their names differ.
        groups: Names of the groups to run; empty for all.
        num_warm_up_frames: Frames before latency is measured.
        num_latency_frames: Frames whose latency is measured.
        num_memory_frames: Frames of each memory check.
        reference: Latency to compare with, or None.
        slow_factor: Slower than the reference times this is reported.
        strict_latency: Whether slow fails.
        emulated: Emulated processor, or empty: times are not judged then, nor is memory.
        launcher: Words put before Python where a check starts a process of its own, for emulators.
    """

    bundles: tuple[Path, ...] = OWN_BUNDLES
    pictures: tuple[Path, ...] = ()
    groups: tuple[str, ...] = ()
    num_warm_up_frames: int = 20
    num_latency_frames: int = 200
    num_memory_frames: int = 1000
    reference: Reference | None = None
    slow_factor: float = 1.5
    strict_latency: bool = False
    emulated: str = ""
    launcher: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuses counts that measure nothing and bundles that cannot be told apart."""
        if self.num_latency_frames < 1 or self.num_memory_frames < 5 or self.num_warm_up_frames < 0:
            raise UsageError("needs at least 1 frame for latency, 5 for memory, and no negative warm-up")
        _require_unique("bundles", [bundle_name(path) for path in self.bundles])
        _require_unique("pictures", [path.name for path in self.pictures])


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a check that passed has to say.

    Attributes:
        detail: One line; may be empty.
        slow: Whether it was slower than the reference allows.
        outputs: What models said.
        latency: How fast they were.
        memory: How large they were.
    """

    detail: str = ""
    slow: bool = False
    outputs: tuple[OutputDigest, ...] = ()
    latency: tuple[LatencyFigure, ...] = ()
    memory: tuple[MemoryFigure, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that must hold on a device.

    Attributes:
        group: Group it belongs to.
        name: Name in the group; the same on every machine.
        run: Raises an `EdgeloopError` where it does not hold, `SkippedError` where it cannot be tried.
    """

    group: str
    name: str
    run: Callable[[], Finding]


def bundle_name(path: Path) -> str:
    """What checks call a bundle: its file name without the suffix."""
    return path.name.removesuffix(".edgebundle")


def _require_unique(what: str, names: list[str]) -> None:
    if doubles := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"two {what} are called {doubles[0]!r}", hint="rename one of the files")


@contextmanager
def opened(path: Path) -> Iterator[Bundle]:
    """A bundle folder, or an archive unpacked for as long as the block lasts.

    Raises:
        EdgeloopError: There is no such bundle, or it is damaged.
    """
    if path.is_dir():
        yield open_bundle(path)
    elif path.is_file():
        with TemporaryDirectory() as scratch:
            yield unpack(path, Path(scratch) / "bundle")
    else:
        raise UsageError(f"{path}: no such bundle")
