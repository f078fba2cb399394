"""What travels to a board: all that the tests need, nothing else, and the same wishes."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from device_tests.kit import inner_arguments, pack_kit
from device_tests.options import make_parser, plan_of
from device_tests.plan import OWN_BUNDLES, VECTORS, Plan
from device_tests.report import read_report
from edge.errors import ImageError, UsageError


@pytest.fixture
def plan(tiny_bundle: Path, tmp_path: Path, picture_bytes: Callable[..., bytes]) -> Plan:
    picture = tmp_path / "red one.png"
    picture.write_bytes(picture_bytes("red"))
    return Plan(
        bundles=(*OWN_BUNDLES, tiny_bundle),
        pictures=(picture,),
        groups=("outputs", "bundle"),
        num_warm_up_frames=1,
        num_latency_frames=2,
        num_memory_frames=7,
        slow_factor=2.5,
        strict_latency=True,
        emulated="cortex-a72, qemu 7",
        launcher=("/usr/bin/emulator", "--flag"),
    )


def test_kit_holds_sources_vectors_bundles_and_pictures(plan: Plan, tmp_path: Path) -> None:
    pack_kit(plan, tmp_path / "kit.zip")
    with zipfile.ZipFile(tmp_path / "kit.zip") as archive:
        names = archive.namelist()
    assert {"edge/engine.py", "edge/py.typed", "device_tests/__main__.py", "device_tests/vectors/index.json"} <= {
        *names
    }
    assert {"device_tests/tiny_int8.edgebundle", "bundles/tiny-bundle.edgebundle", "pictures/red one.png"} <= {*names}
    assert all(f"device_tests/vectors/{path.name}" in names for path in VECTORS.iterdir() if path.is_file())
    assert len(names) == len(set(names))
    assert not [name for name in names if "__pycache__" in name or name.startswith(("tests", "converters", "/"))]


def test_wishes_arrive_as_they_were_sent(plan: Plan) -> None:
    arrived = plan_of(make_parser().parse_args(inner_arguments(plan)))
    same = ("groups", "num_warm_up_frames", "num_latency_frames", "num_memory_frames", "slow_factor")
    same += ("strict_latency", "emulated", "launcher")
    for name in same:
        assert getattr(arrived, name) == getattr(plan, name), name
    assert arrived.bundles == (*OWN_BUNDLES, Path("bundles/tiny-bundle.edgebundle"))
    assert arrived.pictures == (Path("pictures/red one.png"),)


def test_an_unpacked_kit_runs_without_the_checkout(plan: Plan, tmp_path: Path) -> None:
    folder = tmp_path / "board"
    pack_kit(plan, tmp_path / "kit.zip")
    with zipfile.ZipFile(tmp_path / "kit.zip") as archive:
        archive.extractall(folder)
    command = [sys.executable, "-c", "import sys, runpy; sys.path.insert(0, ''); import edge; print(edge.__file__);"]
    command[-1] += "runpy.run_module('device_tests', run_name='__main__')"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    wishes = [word for word in inner_arguments(plan) if not word.startswith("--launcher")]
    done = subprocess.run(
        [*command, *wishes, "--json", "r.json"], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip() == str(folder / "edge" / "__init__.py")
    report = read_report(folder / "r.json")
    assert {item.input for item in report.outputs} >= {"red one.png", "rgb.png", "golden-0.png"}


def test_what_cannot_travel_is_refused(plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="gone: no such bundle"):
        pack_kit(Plan(bundles=(*OWN_BUNDLES, tmp_path / "gone")), tmp_path / "kit.zip")
    with pytest.raises(ImageError, match=r"gone\.png"):
        pack_kit(Plan(pictures=(tmp_path / "gone.png",)), tmp_path / "kit.zip")
    with pytest.raises(UsageError, match=r"two pictures are called 'red one\.png'"):
        Plan(pictures=plan.pictures * 2)
