"""`edgeloop demo`: the whole loop on this machine."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from cloud_train.demo.options import DemoOptions, claim_work_folder
from edge import jsonvalue
from edge.durable import make_folder
from edge.errors import UsageError

DEFAULT_PER_CLASS = 180


@click.command()
@click.option(
    "--work",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("work/demo"),
    show_default=True,
    help="Work folder; the same command resumes in it.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=None,
    help="ImageFolder (one folder a class); without it shelf products are drawn.",
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    default=None,
    help="Local safetensors file to start from; with --data.",
)
@click.option(
    "--app", "application", default=None, help="Application of the model zoo; `shelf`, or `transfer` with --data."
)
@click.option(
    "--device-python",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    help="Python of the device's environment.",
)
@click.option(
    "--per-class",
    type=click.IntRange(min=8),
    default=DEFAULT_PER_CLASS,
    show_default=True,
    help="Drawn pictures a class.",
)
@click.option(
    "--field-fraction",
    type=click.FloatRange(0, 0.95),
    default=None,
    help="Share of known training pictures that only the device sees at first.",
)
@click.option(
    "--num-unknown",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="With --data: classes that version 1 does not know.",
)
@click.option("--epochs", type=click.IntRange(min=0), default=0, help="Most passes over the data; 0 for the recipe's.")
@click.option(
    "--fps", type=click.FloatRange(min=0.1), default=25.0, show_default=True, help="Frames a second before the device."
)
@click.option("--seed", type=int, default=7, show_default=True, help="Of everything random.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON at the end.")
def demo(
    work: Path,
    data: Path | None,
    weights: Path | None,
    application: str | None,
    device_python: Path | None,
    per_class: int,
    field_fraction: float | None,
    num_unknown: int,
    epochs: int,
    fps: float,
    seed: int,
    as_json: bool,
) -> None:
    """Train, quantize, prove, publish, install, meet the unknown, learn it, come back better; then show the figures."""
    for path, what in ((data, "data folder"), (weights, "weights file")):
        if path is not None and not path.exists():
            raise UsageError(f"{path}: no such {what}", hint="check the path")
    options = DemoOptions(
        work=str(work.resolve()),
        data=str(data.resolve()) if data else "",
        weights=str(weights.resolve()) if weights else "",
        application=application or ("transfer" if data else "shelf"),
        device_python=str(device_python or default_device_python()),
        per_class=per_class,
        field_fraction=field_share(application or ("transfer" if data else "shelf"))
        if field_fraction is None
        else field_fraction,
        num_unknown=num_unknown,
        epochs=epochs,
        fps=fps,
        seed=seed,
    )
    claim_work_folder(options)
    with work_lock(options.folder):
        run_demo(options, as_json=as_json)


def field_share(application: str) -> float:
    """How much of the known classes only the device sees at first."""
    from model_zoo.registry import FIELD_FRACTIONS

    return FIELD_FRACTIONS.get(application, 0.5)


def default_device_python() -> Path:
    """The device's own environment beside this one; this one where there is none."""
    beside = Path(sys.prefix).parent / ".venv-device" / "bin" / "python"
    return beside if beside.exists() else Path(sys.executable)


@contextmanager
def work_lock(folder: Path) -> Iterator[None]:
    """Holds the work folder for this process alone."""
    make_folder(folder)
    with (folder / "demo.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as cause:
            raise UsageError(
                f"{folder}: another demo is running in this folder",
                hint="wait for it, or name another folder with --work",
            ) from cause
        yield


def run_demo(options: DemoOptions, *, as_json: bool) -> None:
    """Runs the workflow to its end and prints the table."""
    from rich.console import Console

    from cloud_train.demo import workflow
    from cloud_train.demo.narrator import Narrator
    from cloud_train.demo.processes import DemoProcesses
    from cloud_train.demo.story import print_story
    from cloud_train.retrain.durable_runs import durable_runtime, run_workflow

    console = Console(stderr=as_json)
    processes = DemoProcesses(options)
    workflow.Stage.options = options
    workflow.Stage.processes = processes
    workflow.Stage.narrator = Narrator(console)
    with durable_runtime(options.folder / "demo.sqlite"):
        try:
            report = run_workflow(workflow.demo, "demo", jsonvalue.to_json(options))
        except KeyboardInterrupt:
            # A step may be deep in native code in another thread; nothing of it needs more than what is on disk.
            console.print("stopped; the same command goes on from here")
            os._exit(130)
        finally:
            processes.stop()
    print_story(options, console, as_json=as_json)
    console.print(f"report: {report}", highlight=False, soft_wrap=True)
