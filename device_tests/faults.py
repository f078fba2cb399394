"""What goes wrong on devices, tried on the device itself: each ends in one clear error, and work goes on after it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from device_tests.child import run_child
from device_tests.hostile import ODD_PICTURES, OddPicture
from device_tests.outbox_faults import outbox_checks
from device_tests.plan import (
    OWN_BUNDLES,
    TINY_BUNDLE,
    VECTORS,
    Check,
    Finding,
    MismatchError,
    Plan,
    SkippedError,
    opened,
)
from edge.bundle.archive import unpack
from edge.engine import Engine, open_engine
from edge.errors import EdgeloopError, ImageError

FLIPPED_PLACES = 12


def fault_checks(plan: Plan) -> Iterator[Check]:
    """One check for each odd picture, each kind of damage, each missing library, the full disk and the outbox."""
    for picture in ODD_PICTURES:
        yield _check(f"picture {picture.name}", partial(_check_picture, picture))
    yield _check("picture no-such-file.jpg", partial(_check_path, "missing"))
    yield _check("picture folder.jpg", partial(_check_path, "folder"))
    yield _check("picture pipe.jpg", partial(_check_path, "pipe"))
    for bundle in OWN_BUNDLES:
        yield _check(f"damaged {bundle.name}", partial(_check_damaged_archive, bundle))
    for case in ("truncated-model", "missing-model", "newer-format"):
        yield _check(f"bundle with {case}", partial(_in_child, plan, case))
    for runtime in ("tflite", "onnx"):
        yield _check(f"no runtime for {runtime}", partial(_in_child, plan, "missing-runtime", runtime))
    yield _check("full disk", partial(_in_child, plan, "full-disk"))
    yield from outbox_checks(plan)


def refused(action: Callable[[], object], kind: type[EdgeloopError] = EdgeloopError) -> str:
    """The one line of the error that an action must end in.

    Raises:
        MismatchError: It did not fail, or failed with something else or with several lines.
    """
    try:
        action()
    except kind as error:
        if "\n" in str(error) or not str(error):
            raise MismatchError(f"the error is not one line: {str(error)!r}") from error
        return str(error)
    except Exception as error:
        raise MismatchError(f"ended in {type(error).__name__}, not {kind.__name__}: {error}") from error
    raise MismatchError("was taken without an error")


def _check(name: str, run: Callable[[], Finding]) -> Check:
    return Check(group="faults", name=name, run=run)


def _check_picture(picture: OddPicture) -> Finding:
    """From a file and from memory; the next good picture is answered."""
    data = picture.make()
    with opened(TINY_BUNDLE) as bundle, open_engine(bundle) as engine, TemporaryDirectory() as folder:
        path = Path(folder) / picture.name
        path.write_bytes(data)
        if picture.answered:
            return Finding(detail=f"answered: {engine.infer(path).decision.outcome.value}")
        refused(lambda: engine.infer(data), ImageError)
        line = refused(lambda: engine.infer(path), ImageError)
        return _named(engine, line, path)


def _check_path(kind: str) -> Finding:
    with opened(TINY_BUNDLE) as bundle, open_engine(bundle) as engine, TemporaryDirectory() as folder:
        path = Path(folder) / f"{kind}.jpg"
        if kind == "folder":
            path.mkdir()
        elif kind == "pipe" and hasattr(os, "mkfifo"):
            os.mkfifo(path)
        elif kind == "pipe":
            raise SkippedError("this system has no named pipes")
        return _named(engine, refused(lambda: engine.infer(path), ImageError), path)


def _named(engine: Engine, line: str, path: Path) -> Finding:
    """The error names the file, and the engine stands ready for the next picture."""
    if str(path) not in line:
        raise MismatchError(f"the error does not name {path.name}: {line}")
    engine.infer(VECTORS / "rgb.png")
    return Finding(detail=line.replace(f"{path.parent}/", ""))


def _check_damaged_archive(bundle: Path) -> Finding:
    """Cut short, and with bytes turned over in many places: never taken, nothing left behind."""
    data = bundle.read_bytes()
    for position in range(0, len(data), len(data) // FLIPPED_PLACES + 1):
        flipped = data[:position] + bytes([data[position] ^ 0x55]) + data[position + 1 :]
        _refuse_archive(data[:position], f"cut after {position} bytes")
        if not _harmless(data, position):
            _refuse_archive(flipped, f"byte {position} turned over")
    return Finding(detail=_refuse_archive(data[: len(data) // 2], "cut in the middle"))


def _harmless(data: bytes, position: int) -> bool:
    """Whether a byte belongs to no file's content but to a local header that no reader looks at."""
    start = data.rfind(b"PK\x03\x04", 0, position + 1)
    name_length = int.from_bytes(data[start + 26 : start + 28], "little") if start >= 0 else 0
    return 0 <= position - start < 30 + name_length


def _refuse_archive(data: bytes, what: str) -> str:
    with TemporaryDirectory() as folder:
        archive = Path(folder) / "damaged.edgebundle"
        archive.write_bytes(data)
        try:
            line = refused(lambda: unpack(archive, Path(folder) / "bundle"))
        except MismatchError as error:
            raise MismatchError(f"{what}: {error.message}") from error
        if left := sorted(path.name for path in Path(folder).iterdir() if path != archive):
            raise MismatchError(f"{what}: left behind {', '.join(left)}")
        return line.replace(f"{folder}/", "")


def _in_child(plan: Plan, *arguments: str) -> Finding:
    return Finding(detail=run_child(plan, "probe_faults", *arguments).strip())
