"""The machine, Python and edgeloop itself."""

from __future__ import annotations

import platform
import sys

from edge import __version__
from edge.doctor.types import Finding, State, Subject

_LEAST_PYTHON = (3, 11)


def examine_software(subject: Subject) -> tuple[Finding, ...]:
    """One finding: what runs here, and whether it can."""
    name, python = "software", platform.python_version()
    model = subject.text("proc/device-tree/model").rstrip("\0")
    place = f"{platform.machine()}, {_system(subject)}" + (f", {model}" if model else "")
    detail = f"edgeloop {__version__}, Python {python}, {place}"
    if sys.version_info < _LEAST_PYTHON:
        return (Finding(name=name, state=State.FAIL, detail=detail, fix="install Python 3.11 or newer"),)
    if sys.maxsize < 2**32:
        fix = "install the 64-bit system: the runtimes have no wheels for 32 bits"
        return (Finding(name=name, state=State.WARN, detail=f"{detail}, a 32-bit Python", fix=fix),)
    return (Finding(name=name, state=State.OK, detail=detail),)


def _system(subject: Subject) -> str:
    for line in subject.text("etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return platform.system()
