"""Process start → first answer about a 1080p photo, and the greatest memory on the way; the agent's memory beside it.

python -m benchmarks.cold_start [--runs 15]

Bare: a script with the same runtime, model and photo and nothing else. ultralytics: `predict` of the same file, in an
environment of its own with a CPU build of torch. edgeloop is installed as on a device (`benchmarks.installed`), for an
editable installation costs every start some 15 ms.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import click

from benchmarks.installed import installed_python
from benchmarks.once import OneShot, Start, run_in_turn, times_as_long
from benchmarks.peers import ULTRALYTICS, peer_environment, peer_python
from benchmarks.photos import FULL_HD, plain_photo
from benchmarks.places import with_places
from benchmarks.table import Row, show
from edge.errors import EdgeloopError

SCRIPTS = Path(__file__).parent / "scripts"
EDGE, BARE = "edgeloop", "bare"
MOST_TIME, MOST_MEMORY = 1.6, 1.2
LEAST_TIME_LEAD, LEAST_MEMORY_LEAD = 12.0, 5.0
AGENT_PICTURES, AGENT_PASSES = 20, 3
TITLE = "process start to first answer, MobileNetV2 224 static int8, 1080p JPEG"


def commands(models: Path, photo: Path, runs: int) -> list[OneShot]:
    """Ours and the bare script."""
    model, labels = models / "mobilenetv2_224_int8.tflite", models / "imagenet_labels.txt"
    python = installed_python()
    edge = (python, SCRIPTS / "first_answer_edge.py", models / "classifier", photo)
    bare = (python, SCRIPTS / "first_answer_bare.py", model, photo, labels)
    return [OneShot(name=EDGE, command=edge, runs=runs), OneShot(name=BARE, command=bare, runs=runs)]


def ultralytics_command(models: Path, photo: Path, runs: int) -> OneShot:
    """Ultralytics on the same file.

    Raises:
        EdgeloopError: It is not installed.
    """
    python, script = peer_python(ULTRALYTICS), SCRIPTS / "first_answer_ultralytics.py"
    command = (python, script, models / "mobilenetv2_224_int8.tflite", photo, SCRIPTS.parent.parent)
    return OneShot(name=ULTRALYTICS, command=command, environment=peer_environment(ULTRALYTICS), runs=runs)


def measure(models: Path, data: Path, *, runs: int) -> list[Row]:
    """All rows."""
    photo = plain_photo(data, models, FULL_HD)
    cast, absent = commands(models, photo, runs), ""
    try:
        cast.append(ultralytics_command(models, photo, max(3, runs // 3)))
    except EdgeloopError as error:
        absent = str(error)
    found = run_in_turn(cast)
    rows = _bare_rows(found[EDGE], found[BARE])
    rows += [Row(what=ULTRALYTICS, figures="", note=absent)] if absent else _peer_rows(found[EDGE], found[ULTRALYTICS])
    return [*rows, agent_row(models, data)]


def agent_row(models: Path, data: Path) -> Row:
    """Memory of `edgeloop device run` while it answers ten frames a second."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        source.mkdir()
        for picture in sorted((data / "grocery" / "val").rglob("*.jpg"))[:AGENT_PICTURES]:
            shutil.copy(picture, source)
        samples = _agent_memory(Path(folder), source, models / "classifier")
    return Row(
        what=f"agent, memory over {AGENT_PASSES * AGENT_PICTURES} frames (no server)",
        figures=f"{samples[-1] / 1e6:.0f} MB at the end, at most {max(samples) / 1e6:.0f} MB",
    )


def _agent_memory(folder: Path, source: Path, bundle: Path) -> list[int]:
    """Resident bytes every tenth of a second."""
    command = [installed_python().parent / "edgeloop", "device", "run", "--home", folder / "home", "--source", source]
    command += ["--bundle", bundle, "--allow-unsigned", "--fps", "10", "--passes", AGENT_PASSES]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    samples = []
    while process.poll() is None:
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines())
        if "VmRSS" in fields:  # gone between its end and our looking
            samples.append(int(fields["VmRSS"].split()[0]) * 1024)
        time.sleep(0.1)
    if process.returncode != 0 or not samples:
        raise EdgeloopError(f"the agent ended with {process.returncode}")
    return samples


def _bare_rows(ours: Start, bare: Start) -> list[Row]:
    slower, larger = times_as_long(ours, bare), ours.median_mb / bare.median_mb
    times = " against ".join(f"{start.median_ms:.0f} ({_span(start)})" for start in (ours, bare))
    return [
        Row(
            what="time against a bare script",
            figures=f"{times} ms: {slower:.2f}",
            target=f"≤ {MOST_TIME} times",
            met=ours.said == bare.said and slower <= MOST_TIME,
            note="" if ours.said == bare.said else "the answers differ",
        ),
        Row(
            what="memory against a bare script",
            figures=f"{ours.median_mb:.0f} against {bare.median_mb:.0f} MB: {larger:.2f}",
            target=f"≤ {MOST_MEMORY} times",
            met=larger <= MOST_MEMORY,
        ),
    ]


def _peer_rows(ours: Start, peer: Start) -> list[Row]:
    faster, smaller = times_as_long(peer, ours), peer.median_mb / ours.median_mb
    return [
        Row(
            what="time against ultralytics",
            figures=f"{peer.median_ms:.0f} ({_span(peer)}) ms: {faster:.1f} times as long",
            target=f"≥ {LEAST_TIME_LEAD:.0f} times",
            met=faster >= LEAST_TIME_LEAD,
        ),
        Row(
            what="memory against ultralytics",
            figures=f"{peer.median_mb:.0f} MB: {smaller:.1f} times as much",
            target=f"≥ {LEAST_MEMORY_LEAD:.0f} times",
            met=smaller >= LEAST_MEMORY_LEAD,
        ),
    ]


def _span(start: Start) -> str:
    return f"{min(start.times_ms):.0f} to {max(start.times_ms):.0f}"


@click.command()
@with_places
@click.option("--runs", default=15, show_default=True, help="Starts of each program; a third of them of ultralytics.")
def main(models: Path, data: Path, runs: int) -> None:
    """Prints the table."""
    show(TITLE, measure(models, data, runs=runs))


if __name__ == "__main__":
    main()
