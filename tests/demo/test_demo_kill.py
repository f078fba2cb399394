"""A demo that is killed inside every one of its steps ends with the very bundles of one that was left alone."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

MARKER = re.compile(r"^\[(\d/8)\]|cloud_train\.retrain\.workflow: (\S+ v\d: step \w+)", re.MULTILINE)
LONG = re.compile(r"[1-8]/8|train|convert|evaluate")
NUM_SECTIONS = 8
CLASSES = ("apple", "bread", "cheese", "dates")
STARTS_AT_MOST = 60


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Four classes that a small network tells apart after a few passes."""
    folder = tmp_path_factory.mktemp("pictures")
    for index, label in enumerate(CLASSES):
        (folder / label).mkdir()
        for number in range(60):
            blots(index, number).save(folder / label / f"{number:03d}.png")
    return folder


def blots(index: int, number: int) -> Image.Image:
    """Random blots that lean towards the colour of their class."""
    rng = np.random.default_rng([index, number])
    colour = np.array([(200, 60, 60), (60, 200, 60), (60, 60, 200), (190, 190, 60)][index])
    cells = np.clip(rng.normal(colour, 70, (8, 8, 3)), 0, 255).astype(np.uint8)
    return Image.fromarray(cells).resize((64, 64), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def unbroken(pictures, tmp_path_factory) -> dict[str, object]:
    """The figures of a demo that nobody disturbs."""
    work = tmp_path_factory.mktemp("unbroken") / "work"
    finished = subprocess.run(command(pictures, work), capture_output=True, text=True, timeout=900, check=False)
    assert finished.returncode == 0, finished.stderr
    return figures(work)


def command(pictures: Path, work: Path) -> list[str]:
    options = ["--data", pictures, "--work", work, "--app", "shelf", "--epochs", 8, "--num-unknown", 1, "--fps", 60]
    start = "from cloud_train.cli import main; main()"
    return [sys.executable, "-c", start, "-v", "demo", *map(str, options), "--field-fraction", "0.5"]


def figures(work: Path) -> dict[str, object]:
    return json.loads((work / "figures.json").read_text())


class Run:
    """One start of the demo, watched line by line."""

    def __init__(self, line: list[str]) -> None:
        self.process = subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ | {"PYTHONUNBUFFERED": "1"}
        )
        self.output = b""

    def markers(self) -> Iterator[str]:
        """Every step as it begins, `3/8` or `shelf v1: step train`."""
        assert self.process.stdout is not None
        for raw in self.process.stdout:
            self.output += raw
            found = MARKER.search(raw.decode(errors="replace"))
            if found is not None:
                yield found[1] or found[2]

    def end_by(self, number: signal.Signals, *, after_s: float) -> None:
        """Sends a signal in a while, unless the demo has ended by itself."""
        deadline = time.monotonic() + after_s
        while time.monotonic() < deadline and self.process.poll() is None:
            time.sleep(0.02)
        if self.process.poll() is None:
            self.process.send_signal(number)
        assert self.process.stdout is not None
        self.output += self.process.stdout.read()
        self.process.wait(60)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["SIGINT", "SIGKILL"])
def test_killed_in_every_step_it_ends_with_the_same_bundles(pictures, unbroken, tmp_path, number):
    work, rng, met, seen = tmp_path / "work", random.Random(int(number)), [], set()
    for _ in range(STARTS_AT_MOST):
        run = Run(command(pictures, work))
        for marker in run.markers():
            if marker not in met:
                met.append(marker)
                run.end_by(number, after_s=rng.uniform(0.0, 1.5) if LONG.search(marker) else 0.0)
                seen |= {found[1] or found[2] for found in MARKER.finditer(run.output.decode(errors="replace"))}
                break
        else:
            run.process.wait(60)
            assert run.process.returncode == 0, run.output.decode()
            break
        no_half_written(work)
    else:
        pytest.fail(f"still not finished after {STARTS_AT_MOST} starts; met {met}")

    runs = ("shelf v1", "shelf v2", "shelf-random v2")
    assert {f"{section}/8" for section in range(1, NUM_SECTIONS + 1)} <= seen | set(met)
    assert {f"{name}: step {step}" for name in runs for step in ("train", "convert")} <= set(met)
    # A step of a few milliseconds may be over before the signal comes.
    steps = ("freeze", "evaluate", "gate", "publish")
    assert {f"{name}: step {step}" for name in runs[:2] for step in steps} <= seen | set(met)
    for name in ("bundle_v1", "bundle_v2", "kept", "accuracy_v1", "accuracy_v2", "accuracy_control"):
        assert figures(work)[name] == unbroken[name], name


def no_half_written(work: Path) -> None:
    """Whatever has its final name is whole."""
    from cloud_train.datasets.snapshot import load_snapshot
    from edge.bundle.reader import open_bundle

    for snapshot in (work / "store" / "snapshots").glob("[0-9a-f]*.json"):
        load_snapshot(snapshot)
    for bundle in (work / "store" / "bundles").glob("[a-z]*"):
        if bundle.is_dir():
            open_bundle(bundle)


def test_the_demo_leaves_no_process_behind(pictures, tmp_path):
    run = Run(command(pictures, tmp_path / "work"))
    for marker in run.markers():
        if marker == "3/8":
            break
    time.sleep(3)
    run.process.kill()
    run.process.communicate(timeout=60)
    deadline = time.monotonic() + 15
    while (left := running_in(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left


def running_in(folder: Path) -> list[str]:
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line:
            lines.append(line)
    return lines
