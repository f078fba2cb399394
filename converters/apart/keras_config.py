"""Whether the architecture inside a Keras file is data alone; the standard library only, for both sides read it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from converters.apart.job_report import JobError

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
MAX_UNPACKED_BYTES = 4_000_000_000
_MAX_CONFIG_BYTES = 64_000_000
_ZIP_SIGNATURE = b"PK\x03\x04"
_CODE = frozenset({"Lambda", "__lambda__"})
_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
_AGAIN = "save it again with model.save('model.keras'), or copy it again"


def check_keras_file(path: Path) -> None:
    """Refuses what is no whole Keras file, and one that brings code along, as far as can be seen without Keras.

    Raises:
        JobError: Says what it is instead.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(len(HDF5_SIGNATURE))
    if head == HDF5_SIGNATURE:
        return
    if not head.startswith(_ZIP_SIGNATURE):
        raise JobError("not a Keras file", hint=_AGAIN)
    check_config(_archived_config(path))


def check_config(text: str | bytes) -> None:
    """Refuses an architecture that holds code of its authors, or needs some that it does not hold.

    Args:
        text: JSON as Keras writes it.

    Raises:
        JobError: Names the layer.
    """
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as cause:
        raise JobError("damaged: its architecture is not JSON", hint=_AGAIN) from cause
    pending = [config]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            _check_object(value)
            pending += value.values()
        elif isinstance(value, list):
            pending += value


def _check_object(value: dict[str, object]) -> None:
    """One serialized object: a class with the module it comes from."""
    kind, module = value.get("class_name"), value.get("module")
    inner = value.get("config")
    name = inner.get("name") if isinstance(inner, dict) else None
    shown = f"{kind} {name!r}" if isinstance(name, str) else str(kind)
    if kind in _CODE:
        raise JobError(
            f"layer {shown} is code, which is never run from a file",
            hint="replace it by Keras' own layers, for instance Rescaling, and save again",
        )
    own = module is None and not (kind and "module" in value and value.get("registered_name"))
    if not own and str(module).split(".")[0] != "keras":
        raise JobError(
            f"layer {shown} is not Keras' own, and its code is not in the file",
            hint="replace it by Keras' own layers and save again",
        )


def _archived_config(path: Path) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {item.filename: item.file_size for item in archive.infolist()}
            if not {_CONFIG, _WEIGHTS} <= set(sizes):
                raise JobError("not a Keras file: a zip archive without a model", hint=_AGAIN)
            if sum(sizes.values()) > MAX_UNPACKED_BYTES or sizes[_CONFIG] > _MAX_CONFIG_BYTES:
                raise JobError("unpacks to more than is read")
            return archive.read(_CONFIG)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as cause:
        raise JobError("damaged: its archive is not whole", hint=_AGAIN) from cause
