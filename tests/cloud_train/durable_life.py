"""A process with a small durable workflow: `python durable_life.py FOLDER NAME WORKFLOW TROUBLE…`.

The workflow has the steps `one`, `two`, `three`; each adds its name to FOLDER/journal. Step `two` does to itself what
the next unused TROUBLE says (`kill`, `usage`, `defect`, `wait`, `fine`); FOLDER/troubles counts the used ones.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import click
from dbos import DBOS

from cloud_train.retrain.durable_runs import durable_runtime, run_workflow
from edge.cli import run_cli
from edge.errors import UsageError
from edge.jsonvalue import Json


def note(folder: str, line: str) -> None:
    with (Path(folder) / "journal").open("a") as file:
        file.write(f"{line}\n")


def next_trouble(folder: Path) -> str:
    used = folder / "troubles"
    number = len(used.read_text()) if used.exists() else 0
    used.write_text("x" * (number + 1))
    return (folder / "plan").read_text().split()[number]


@DBOS.step()
def one(folder: str) -> Json:
    note(folder, "one")
    return {"pictures": ["käse.png"], "share": 0.1}


@DBOS.step()
def two(folder: str, made: Json) -> Json:
    note(folder, "two")
    trouble = next_trouble(Path(folder))
    if trouble == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if trouble == "usage":
        raise UsageError("the field is empty", hint="put pictures into it")
    if trouble == "defect":
        raise KeyError("zonk")
    if trouble == "wait":
        print("waiting", flush=True)
        time.sleep(60)
    return made


@DBOS.step()
def three(folder: str) -> int:
    note(folder, "three")
    return 3


@DBOS.workflow()
def steps(folder: Json) -> Json:
    made = two(str(folder), one(str(folder)))
    return {"made": made, "three": three(str(folder))}


@DBOS.workflow()
def nested(folder: Json) -> Json:
    return DBOS.start_workflow(steps, folder).get_result(polling_interval_sec=0.05)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("name")
@click.argument("workflow", type=click.Choice(["steps", "nested"]))
@click.argument("troubles", nargs=-1)
def life(folder: Path, name: str, workflow: str, troubles: tuple[str, ...]) -> None:
    if troubles:
        (folder / "plan").write_text(" ".join(troubles))
    with durable_runtime(folder / "state" / "runs.sqlite", owner=name):
        click.echo(run_workflow({"steps": steps, "nested": nested}[workflow], name, str(folder)))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    run_cli(life)
