"""Started by the fault checks: faults that want a process of their own. Prints one line: the error that was asked for.

python -m device_tests.probe_faults truncated-model | missing-model | newer-format | full-disk
python -m device_tests.probe_faults missing-runtime tflite|onnx
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import TYPE_CHECKING

from device_tests.child import SKIPPED
from device_tests.faults import refused
from device_tests.mounts import leave_shared_mounts, mount_tmpfs, unmount
from device_tests.plan import TINY_BUNDLE, MismatchError, SkippedError
from device_tests.samples import make_sample
from edge import jsonvalue
from edge.bundle.archive import unpack
from edge.bundle.manifest import MANIFEST_NAME, FileEntry
from edge.bundle.reader import Bundle, open_bundle
from edge.engine import open_engine
from edge.errors import BackendError, BundleError, MissingExtraError, StorageError

if TYPE_CHECKING:
    from edge.outbox.base import Sample

_MODULES = {"tflite": ("ai_edge_litert", "tflite_runtime"), "onnx": ("onnxruntime",)}
_DISK_BYTES = 12_000_000


def truncated_model(bundle: Bundle) -> str:
    """Half of each model with a right digest, as a build machine with a full disk would ship it."""
    models = [artifact.file for artifact in bundle.manifest.stages[0].artifacts]
    files = (_halved(bundle, entry) if entry.name in models else entry for entry in bundle.manifest.files)
    manifest = replace(bundle.manifest, files=tuple(files))
    (bundle.folder / MANIFEST_NAME).write_bytes(jsonvalue.canonical_bytes(manifest))
    return refused(lambda: open_engine(bundle.folder).load(), BackendError)


def _halved(bundle: Bundle, entry: FileEntry) -> FileEntry:
    data = bundle.read(entry.name)[: entry.size_bytes // 2]
    bundle.path(entry.name).write_bytes(data)
    return replace(entry, sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))


def missing_model(bundle: Bundle) -> str:
    """A file of the bundle has gone."""
    (bundle.folder / bundle.manifest.stages[0].artifacts[0].file).unlink()
    return refused(lambda: open_bundle(bundle.folder), BundleError)


def newer_format(bundle: Bundle) -> str:
    """A bundle of a later edgeloop."""
    value = json.loads((bundle.folder / MANIFEST_NAME).read_bytes()) | {"format_version": 1000}
    (bundle.folder / MANIFEST_NAME).write_bytes(jsonvalue.canonical_bytes(value))
    return refused(lambda: open_bundle(bundle.folder), BundleError)


def missing_runtime(bundle: Bundle, runtime: str) -> str:
    """The library is not installed: the error must hold the exact line that installs it."""
    for module in _MODULES[runtime]:
        sys.modules[module] = None  # type: ignore[assignment]
    line = refused(lambda: open_engine(bundle, artifact=runtime).load(), MissingExtraError)
    if f'pip install "edgeloop[{runtime}]"' not in line:
        raise SystemExit(f"no pip install line in: {line}")
    return line


def full_disk() -> str:
    """A disk of 12 MB: the outbox keeps what it has taken, and a bundle arrives whole or not at all."""
    folder = Path(mkdtemp())
    try:
        leave_shared_mounts()
        mount_tmpfs(folder, size_bytes=_DISK_BYTES)
        num_kept, line = _fill_outbox(folder / "outbox.sqlite")
        before = sorted(folder.iterdir())
        _fill_up(folder / "filler")
        refused(lambda: unpack(TINY_BUNDLE, folder / "bundle"), StorageError)
        left = [path.name for path in sorted(folder.iterdir()) if path not in before]
        if left != ["filler"]:
            raise SystemExit(f"left behind on the full disk: {', '.join(left)}")
    finally:
        unmount(folder)
        folder.rmdir()
    return f"{num_kept} samples kept, then: {line.replace(f'{folder}/', '')}"


def _fill_outbox(path: Path) -> tuple[int, str]:
    from edge.outbox.sqlite import SqliteOutbox

    outbox = SqliteOutbox(path)
    samples: list[Sample] = []

    def fill() -> None:
        while True:
            samples.append(make_sample(len(samples), size_bytes=32_768))
            outbox.put(samples[-1], now=float(len(samples)))

    line = refused(fill, StorageError)
    kept = {entry.digest for entry in outbox.entries()}
    if kept != {sample.digest for sample in samples[:-1]}:
        raise SystemExit(f"the outbox holds {len(kept)} of {len(samples) - 1} samples")
    if any(outbox.payload(sample.digest) != sample.payload for sample in samples[:-1]):
        raise SystemExit("the outbox gives back other bytes than it took")
    outbox.close()
    return len(kept), line


def _fill_up(path: Path) -> None:
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def try_fault(case: str, *arguments: str) -> str:
    """Makes one fault and returns the error that it ended in.

    Raises:
        SkippedError: It cannot be made here.
        MismatchError: It did not end in the right error.
    """
    if case == "full-disk":
        return full_disk()
    with TemporaryDirectory() as folder:
        bundle = unpack(TINY_BUNDLE, Path(folder) / "bundle")
        line = missing_runtime(bundle, *arguments) if case == "missing-runtime" else DAMAGES[case](bundle)
        return line.replace(f"{folder}/", "")


def main(*words: str) -> int:
    """Tries one fault.

    Returns:
        0, 1 where it did not end as it must, 77 where it cannot be made here.
    """
    try:
        print(try_fault(*words))
    except SkippedError as reason:
        print(reason, file=sys.stderr)
        return SKIPPED
    except MismatchError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


DAMAGES = {"truncated-model": truncated_model, "missing-model": missing_model, "newer-format": newer_format}

if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
