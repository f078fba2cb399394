"""Which optional libraries a device needs for what it was told, and which of them it has."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edge.bundle.manifest import ArtifactFormat
from edge.bundle.reader import open_bundle
from edge.doctor.types import Finding, State, Subject
from edge.errors import EdgeloopError
from edge.settings import AgentSettings
from edge.sources.address import is_address
from edge.sources.camera import is_local_camera
from edge.update.slots import Slots


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """One library of an extra.

    Attributes:
        module: What is imported.
        distributions: What pip may have called it, the name that the extra asks for first.
    """

    module: str
    distributions: tuple[str, ...]


def _library(module: str, *distributions: str) -> Library:
    return Library(module=module, distributions=distributions)


EXTRAS: dict[str, tuple[Library, ...]] = {
    "tflite": (_library("ai_edge_litert", "ai-edge-litert"),),
    "onnx": (_library("onnxruntime", "onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino"),),
    "sync": (_library("grpc", "grpcio"), _library("google.protobuf", "protobuf")),
    "identity": (_library("cryptography", "cryptography"),),
    "update": (_library("tuf", "tuf"), _library("securesystemslib", "securesystemslib")),
    "camera": (_library("cv2", "opencv-python-headless", "opencv-python", "opencv-contrib-python"),),
    "kiosk": (
        _library("fastapi", "fastapi"),
        _library("uvicorn", "uvicorn"),
        _library("python_multipart", "python-multipart"),
        _library("prometheus_client", "prometheus-client"),
        _library("fastapi_offline", "fastapi-offline"),
    ),
}
# On boards for which the newer one has no wheels.
_INSTEAD = {"tflite": _library("tflite_runtime", "tflite-runtime")}


def needed_extras(settings: AgentSettings) -> tuple[str, ...]:
    """The extras without which a device cannot do what it was told, in the order of `EXTRAS`."""
    needed = {runtime_extra(settings)}
    if settings.server:
        needed |= {"sync", "update"}
    if needs_camera(settings.source):
        needed.add("camera")
    if settings.kiosk_port:
        needed.add("kiosk")
    return tuple(name for name in EXTRAS if name in needed)


def needs_camera(source: str) -> bool:
    """Whether a source is a camera, a stream or a video, and not a folder of pictures."""
    if not source or Path(source).is_dir():
        return False
    return is_local_camera(source) or is_address(source) or bool(Path(source).suffix)


def pip_line(extras: Iterable[str]) -> str:
    """What installs them."""
    return f'pip install "edgeloop[{",".join(extras)}]"'


def examine_extras(subject: Subject) -> tuple[Finding, ...]:
    """One finding: what is installed, and what is needed and missing."""
    needed = needed_extras(subject.settings)
    missing = [name for name in needed if _missing_of(name)]
    installed = ", ".join(_installed(name) for name in EXTRAS if not _missing_of(name)) or "none"
    if not missing:
        return (Finding(name="extras", state=State.OK, detail=f"installed: {installed}"),)
    lacking = "; ".join(f"{name} lacks {', '.join(_missing_of(name))}" for name in missing)
    detail = f"needed and missing: {lacking}. Installed: {installed}"
    return (Finding(name="extras", state=State.FAIL, detail=detail, fix=pip_line(missing)),)


def runtime_extra(settings: AgentSettings) -> str:
    """The runtime that the bundle which runs needs, or else the wanted artifact; an installed one where several do."""
    formats = _active_formats(settings)
    serving = [one.value for one, files in formats.items() if settings.artifact in ("", one.value, *files)]
    if not serving:
        is_onnx = settings.artifact == "onnx" or settings.artifact.endswith(".onnx")
        serving = ["onnx"] if is_onnx else ["tflite"] if settings.artifact else ["tflite", "onnx"]
    return next((name for name in serving if not _missing_of(name)), serving[0])


def _active_formats(settings: AgentSettings) -> dict[ArtifactFormat, tuple[str, ...]]:
    """Formats of the active bundle and the files in each; empty where there is no bundle to ask."""
    found: dict[ArtifactFormat, tuple[str, ...]] = {}
    try:
        slots = Slots(settings.home)
        if not slots.active.bundle_digest:
            return found
        manifest = open_bundle(slots.folder(slots.state.active), digests=False).manifest
    except EdgeloopError:
        return found  # another check says what is wrong with it
    for stage in manifest.stages:
        for artifact in stage.artifacts:
            found[artifact.format] = (*found.get(artifact.format, ()), artifact.file)
    return found


def _missing_of(extra: str) -> tuple[str, ...]:
    """Libraries of an extra that are not installed, by the name pip knows."""
    instead = _INSTEAD.get(extra)
    if instead is not None and _is_there(instead):
        return ()
    return tuple(one.distributions[0] for one in EXTRAS[extra] if not _is_there(one))


def _installed(extra: str) -> str:
    instead = _INSTEAD.get(extra)
    libraries = EXTRAS[extra] if instead is None or not _is_there(instead) else (instead,)
    return f"{extra} ({', '.join(_named_version(one) for one in libraries)})"


def _is_there(library: Library) -> bool:
    parent = library.module.partition(".")[0]
    if importlib.util.find_spec(parent) is None:
        return False
    return parent == library.module or importlib.util.find_spec(library.module) is not None


def _named_version(library: Library) -> str:
    for name in library.distributions:
        try:
            return f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return library.module
