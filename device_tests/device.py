"""What a machine says about itself."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from pathlib import Path

from device_tests.report import DeviceDescription

LIBRARIES = ("edgeloop", "ai-edge-litert", "tflite-runtime", "onnxruntime", "numpy", "pillow")
_MODEL = Path("/proc/device-tree/model")
_CPUINFO = Path("/proc/cpuinfo")


def describe_device(*, device: str = "local", emulated: str = "") -> DeviceDescription:
    """The machine this process runs on.

    Args:
        device: How it was asked for.
        emulated: The emulated processor, or empty.
    """
    return DeviceDescription(
        device=device,
        board=f"emulated {emulated}" if emulated else board_name(),
        machine=platform.machine(),
        system=f"{platform.system()} {platform.release()}",
        emulated=emulated,
        python=platform.python_version(),
        libraries={name: _version(name) for name in LIBRARIES},
    )


def board_name(model: Path = _MODEL, cpuinfo: Path = _CPUINFO) -> str:
    """The board's name from its device tree, else its processor's; the architecture where neither is told.

    Args:
        model: Name of an ARM board, ends in a zero byte.
        cpuinfo: What Linux says about the processor.
    """
    if sys.platform == "linux":
        if model.exists():
            return model.read_text(errors="replace").rstrip("\0\n ")
        lines = cpuinfo.read_text(errors="replace").splitlines() if cpuinfo.exists() else []
        for line in lines:
            field, _, value = line.partition(":")
            if field.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "none"
