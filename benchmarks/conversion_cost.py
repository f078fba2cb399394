"""What a conversion costs: seconds of a first one and of the same one again, and the most memory that it took.

python -m benchmarks.conversion_cost ROW OUT CACHE DATA NETWORKS [quick]

Run as a program it converts once, by the default chain, into a bundle, and prints its seconds and its peak memory as
JSON. The second conversion has another output folder and the same cache.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.conversion_subjects import FULL, QUICK, TRAINED, Effort
from converters.cache import ConversionCache
from converters.measure import peak_memory_mb
from converters.pipeline import convert
from edge import jsonvalue
from edge.bundle.manifest import QualityLimits
from edge.errors import EdgeloopError


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """One conversion.

    Attributes:
        seconds: Of the conversion, without starting Python and loading the network.
        peak_mb: Greatest resident memory of its process, in MB (10^6 bytes).
    """

    seconds: float
    peak_mb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Two of them.

    Attributes:
        name: Of the network.
        first: With an empty cache.
        again: With that of the first.
    """

    name: str
    first: Cost
    again: Cost


def measure_costs(name: str, data: Path, networks: Path, effort: Effort, work: Path) -> Costs:
    """Converts twice, in processes of their own.

    Raises:
        EdgeloopError: A conversion failed; says its last words.
    """
    folder = work / f"{name}-twice"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    first, again = (
        _converted(name, folder / place, folder / "cache", data, networks, effort) for place in ("first", "again")
    )
    return Costs(name=name, first=first, again=again)


def _converted(name: str, out: Path, cache: Path, data: Path, networks: Path, effort: Effort) -> Cost:
    command = [sys.executable, "-m", "benchmarks.conversion_cost", name, out, cache, data, networks]
    if effort == QUICK:
        command.append("quick")
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["failed without a word"]
        raise EdgeloopError(f"converting {name}: {lines[-1][:300]}")
    return jsonvalue.load(Cost, done.stdout.strip().splitlines()[-1].encode(), where="its figures")


def main(name: str, out: Path, cache: Path, data: Path, networks: Path, effort: Effort) -> None:
    """Converts once. A quick one has too few pictures for any limit."""
    job = replace(TRAINED[name](data, networks, effort).job, out=out)
    if effort == QUICK:
        job = replace(job, limits=QualityLimits(max_drop_points=100.0, max_drop_upper_points=100.0))
    began = time.monotonic()
    convert(job, cache=ConversionCache(folder=cache), progress=False)
    cost = Cost(seconds=round(time.monotonic() - began, 2), peak_mb=peak_memory_mb())
    print(json.dumps(jsonvalue.to_json(cost)))


if __name__ == "__main__":
    main(sys.argv[1], *(Path(part) for part in sys.argv[2:6]), QUICK if "quick" in sys.argv[6:] else FULL)
