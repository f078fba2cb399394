"""Latency that a board has shown before, one file a board, and whether this run is slower."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from device_tests.report import DeviceDescription, LatencyFigure, Report
from edge import jsonvalue
from edge.errors import UsageError

FOLDER = Path(__file__).resolve().parent / "reference"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """`reference/<board>.json`.

    Attributes:
        board: As `DeviceDescription.board`.
        emulated: Whether the processor was emulated; such figures are kept to be looked at, never compared.
        measured_at: Date and time, UTC, ISO 8601.
        python: Version of Python.
        libraries: Versions of the libraries.
        figures: What was measured.
    """

    board: str
    emulated: bool
    measured_at: str
    python: str
    libraries: dict[str, str]
    figures: tuple[LatencyFigure, ...]


def reference_of(report: Report) -> Reference:
    """The latency of a run, to be written as a reference."""
    return Reference(
        board=report.device.board,
        emulated=bool(report.device.emulated),
        measured_at=report.taken_at,
        python=report.device.python,
        libraries=report.device.libraries,
        figures=report.latency,
    )


def read_reference(path: Path) -> Reference:
    """Reads one file.

    Raises:
        UsageError: There is no such file.
        FormatError: It is no reference; names the field.
    """
    try:
        data = path.read_bytes()
    except OSError as cause:
        raise UsageError(f"{path}: cannot be read: {(cause.strerror or str(cause)).lower()}") from cause
    return jsonvalue.load(Reference, data, where=str(path))


def find_reference(device: DeviceDescription, folder: Path = FOLDER) -> Reference | None:
    """The reference of this very board, or None; never one for or from an emulated processor."""
    if device.emulated:
        return None
    found = [read_reference(path) for path in sorted(folder.glob("*.json"))]
    return next((item for item in found if item.board == device.board and not item.emulated), None)


def slower_than(reference: Reference | None, figure: LatencyFigure, *, factor: float) -> tuple[str, bool]:
    """Compares the median of one model with its reference.

    Args:
        reference: Or None.
        figure: What was measured.
        factor: Slower than the reference by more than this is slow.

    Returns:
        Words for the table, and whether it is slow.
    """
    known = reference.figures if reference is not None and not reference.emulated else ()
    expected = next((item for item in known if item.artifact_sha256 == figure.artifact_sha256), None)
    if expected is None:
        return "no reference", False
    ratio = figure.p50_ms / expected.p50_ms
    return f"{ratio:.2f}x the reference", ratio > factor
