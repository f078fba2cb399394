"""Times converted models on this machine; what comes out lies outside the bundle's digest."""

from __future__ import annotations

import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING

from converters.types import Artifact, Latency
from edge.backends.select import open_backend
from edge.preprocess import to_input

if TYPE_CHECKING:
    from edge.types import ByteArray

WARM_UP_RUNS = 3
RUNS = 30


def latency(artifact: Artifact, picture: ByteArray) -> Latency:
    """Times the network alone, on one thread.

    Args:
        artifact: The model.
        picture: uint8 (height, width, 3) that it is run on.

    Raises:
        BackendError: The runtime refuses the model.
    """
    import numpy as np

    tensor = to_input(picture)
    backend = open_backend(artifact.path, artifact.format, threads=1)
    times = []
    try:
        for _ in range(WARM_UP_RUNS + RUNS):
            started = time.perf_counter()
            backend.run(tensor)
            times.append(1000 * (time.perf_counter() - started))
    finally:
        backend.close()
    p50, p95 = np.percentile(times[WARM_UP_RUNS:], [50, 95])
    return Latency(
        file=artifact.path.name,
        p50_ms=round(float(p50), 4),
        p95_ms=round(float(p95), 4),
        runs=RUNS,
        recipe=artifact.recipe.name,
    )


def peak_memory_mb() -> float:
    """Greatest resident memory of this process so far, in MB (10^6 bytes); 0 where the system does not tell."""
    try:
        import resource
    except ImportError:
        return 0.0
    unit = 1 if platform.system() == "Darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)


def machine() -> str:
    """Processor and system, for people."""
    return _machine(Path("/proc/cpuinfo"))


def _machine(cpuinfo: Path) -> str:
    try:
        lines = cpuinfo.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))]
    return f"{models[0] if models else platform.machine()}, {platform.system()} {platform.machine()}"
