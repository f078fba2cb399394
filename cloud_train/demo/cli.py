"""`edgeloop demo`: the whole loop on this machine."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import click

from cloud_train.demo.options import (
    DEFAULT_EPOCHS,
    DEFAULT_FPS,
    DEFAULT_NUM_UNKNOWN,
    DEFAULT_PER_CLASS,
    DEFAULT_SEED,
    DemoOptions,
    claim_work_folder,
    field_share,
    usual_application,
)
from cloud_train.store.lock import exclusive
from edge import jsonvalue
from edge.durable import make_folder
from edge.errors import UsageError


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
    "--app", "application", default=None, help="Application of the model zoo; `shelf`, or `transfer` with --weights."
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
    default=DEFAULT_NUM_UNKNOWN,
    show_default=True,
    help="With --data: classes that version 1 does not know.",
)
@click.option(
    "--epochs",
    type=click.IntRange(min=0),
    default=DEFAULT_EPOCHS,
    help="Most passes over the data; 0 for the recipe's.",
)
@click.option(
    "--fps",
    type=click.FloatRange(min=0.1),
    default=DEFAULT_FPS,
    show_default=True,
    help="Frames a second before the device.",
)
@click.option("--seed", type=int, default=DEFAULT_SEED, show_default=True, help="Of everything random.")
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
    application = application or usual_application(str(weights or ""))
    device_python = device_python or default_device_python()
    check_inputs(data, weights, application, device_python)
    options = DemoOptions(
        work=str(work.resolve()),
        data=str(data.resolve()) if data else "",
        weights=str(weights.resolve()) if weights else "",
        application=application,
        device_python=str(device_python.absolute()),
        per_class=per_class,
        field_fraction=field_share(application) if field_fraction is None else field_fraction,
        num_unknown=num_unknown,
        epochs=epochs,
        fps=fps,
        seed=seed,
    )
    make_folder(options.folder)
    with work_lock(options.folder):
        claim_work_folder(options)
        run_demo(options, as_json=as_json)


def check_inputs(data: Path | None, weights: Path | None, application: str, device_python: Path) -> None:
    """Looks at what a wrong word on the command line can break, before a work folder is claimed for it.

    Raises:
        UsageError: Something that was named is not there.
    """
    from model_zoo.registry import find_application

    if data is not None and not data.is_dir():
        raise UsageError(f"{data}: no such data folder", hint="name a folder that holds one folder a class")
    if weights is not None and not weights.is_file():
        raise UsageError(f"{weights}: no such weights file", hint="check the path")
    find_application(application)
    if not os.access(device_python, os.X_OK):
        raise UsageError(
            f"{device_python}: no such Python for the device", hint="name one that has edgeloop with --device-python"
        )


def default_device_python() -> Path:
    """The device's own environment beside this one; this one where there is none."""
    beside = Path(sys.prefix).parent / ".venv-device" / "bin" / "python"
    return beside if beside.exists() else Path(sys.executable)


def work_lock(folder: Path) -> AbstractContextManager[None]:
    """Holds the work folder for this process alone."""
    busy = UsageError(
        f"{folder}: another demo is running in this folder", hint="wait for it, or name another folder with --work"
    )
    return exclusive(folder / "demo.lock", busy=busy)


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
    try:
        with durable_runtime(options.folder / "demo.sqlite"):
            report = run_workflow(workflow.demo, "demo", jsonvalue.to_json(options))
    finally:
        processes.stop()
    print_story(options, console, as_json=as_json)
    console.print(f"report: {report}", highlight=False, soft_wrap=True)
