"""What one run of the device tests says: values for a table on the screen and a JSON file for other machines."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edge import jsonvalue
from edge.errors import UsageError

FORMAT_VERSION = 1


class Status(enum.Enum):
    """How a check ended; SLOW passes unless the run is strict about latency."""

    OK = "ok"
    SLOW = "slow"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceDescription:
    """Where the checks ran.

    Attributes:
        device: As asked for: `local`, `arm64`, `ssh:HOST`.
        board: What the board or its processor calls itself.
        machine: Architecture, for instance `aarch64`.
        system: Kernel name and release.
        emulated: The processor that was emulated, for instance `cortex-a72`; empty on real hardware.
        python: Version of Python.
        libraries: Version of each library that outputs depend on; `none` where it is not installed.
    """

    device: str
    board: str
    machine: str
    system: str
    emulated: str
    python: str
    libraries: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """How one check ended.

    Attributes:
        group: Group of checks.
        name: Name in the group.
        status: How it ended.
        detail: One line: what was measured, or what is wrong; may be empty.
    """

    group: str
    name: str
    status: Status
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputDigest:
    """One output tensor of one model for one picture, to the bit.

    Attributes:
        bundle: Name and version of the bundle.
        artifact: File name of the model.
        artifact_sha256: Digest of the model file, hex.
        recipe: How it was quantized.
        tolerance: As in the manifest; 0 asks for equality to the last bit.
        input: Which picture, by name.
        output: Name of the output tensor.
        shape: Its shape.
        sha256: Digest of its values, float32 little-endian in C order, hex.
        step: Of a large output, only every `step`-th value is kept.
        values: The values that are kept, in the same form, base64.
    """

    bundle: str
    artifact: str
    artifact_sha256: str
    recipe: str
    tolerance: float
    input: str
    output: str
    shape: tuple[int, ...]
    sha256: str
    step: int
    values: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyFigure:
    """Encoded picture to decision, one thread, after warm-up. Milliseconds.

    Attributes:
        bundle: Name and version of the bundle.
        artifact: File name of the model.
        artifact_sha256: Digest of the model file, hex.
        num_frames: Frames that were measured.
        p50_ms: Median of the whole answer.
        p95_ms: 95th percentile of the whole answer.
        network_p50_ms: Median of the network alone.
    """

    bundle: str
    artifact: str
    artifact_sha256: str
    num_frames: int
    p50_ms: float
    p95_ms: float
    network_p50_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryFigure:
    """Resident memory of a fresh process that only recognises. Bytes.

    Attributes:
        bundle: Name and version of the bundle.
        artifact: File name of the model.
        num_frames: Frames answered in all.
        start_bytes: Python itself.
        import_bytes: After the imports.
        open_bytes: After the engine is open.
        end_bytes: After the last frame.
        drift_bytes: Growth from the end of the warm-up (a fifth of the frames) to the last frame.
    """

    bundle: str
    artifact: str
    num_frames: int
    start_bytes: int
    import_bytes: int
    open_bytes: int
    end_bytes: int
    drift_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One whole run.

    Attributes:
        format_version: 1.
        taken_at: Date and time, UTC, ISO 8601.
        device: Where it ran.
        checks: Every check in the order it ran.
        outputs: What the models said.
        latency: How fast.
        memory: How large.
    """

    format_version: int
    taken_at: str
    device: DeviceDescription
    checks: tuple[CheckResult, ...]
    outputs: tuple[OutputDigest, ...] = ()
    latency: tuple[LatencyFigure, ...] = ()
    memory: tuple[MemoryFigure, ...] = ()

    def count(self) -> Mapping[Status, int]:
        """How many checks ended each way."""
        return {status: sum(check.status is status for check in self.checks) for status in Status}


def read_report(path: Path) -> Report:
    """Reads a report that `--json` wrote.

    Raises:
        UsageError: There is no such file, or its format version is unknown.
        FormatError: It is no report; names the field.
    """
    try:
        data = path.read_bytes()
    except OSError as cause:
        raise UsageError(f"{path}: cannot be read: {(cause.strerror or str(cause)).lower()}") from cause
    return parse_report(data, where=str(path))


def parse_report(data: bytes, *, where: str) -> Report:
    """Reads the bytes of a report; see `read_report`."""
    report = jsonvalue.load(Report, data, where=where)
    if report.format_version != FORMAT_VERSION:
        raise UsageError(f"{where}: report version {report.format_version} is not known, this is {FORMAT_VERSION}")
    return report
