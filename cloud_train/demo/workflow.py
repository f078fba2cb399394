"""The demo as one durable workflow: killed anywhere, the same command goes on at the unfinished step."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import cast

from dbos import DBOS, SetWorkflowID

from cloud_train.demo import steps
from cloud_train.demo.narrator import Narrator
from cloud_train.demo.options import DemoOptions
from cloud_train.demo.processes import DemoProcesses
from cloud_train.demo.story import StepTime, write_story
from cloud_train.retrain.plan import RetrainPlan, RetrainResult
from cloud_train.retrain.workflow import retrain
from edge import jsonvalue
from edge.jsonvalue import Json


class Stage:
    """What the steps of the running demo share: its options, its processes, its voice. Set before the workflow starts.

    Attributes:
        options: What was asked for.
        processes: Server and device.
        narrator: Tells the person what happens.
    """

    options: DemoOptions
    processes: DemoProcesses
    narrator: Narrator


@DBOS.step()
def data_step() -> Json:
    """Pictures, snapshot, held-back labels, the field."""
    return _timed(lambda: steps.prepare_data(Stage.options, steps.make_pictures(Stage.options)))


@DBOS.step()
def first_pass_step() -> Json:
    """The device sees the field for the first time."""
    return _timed(lambda: steps.watch_first_pass(Stage.options, Stage.processes))


@DBOS.step()
def label_step(prepared: Json, judged_by: str) -> Json:
    """A stand-in for a person answers."""
    return _timed(lambda: steps.answer_samples(Stage.options, Stage.processes, _prepared(prepared), judged_by))


@DBOS.step()
def keep_device_running_step() -> None:
    """The device goes on answering frames while the cloud trains."""
    Stage.processes.device()


@DBOS.step()
def swap_step(published: Json) -> Json:
    """The running device finds, tests and takes the new bundle."""
    return _timed(lambda: steps.watch_swap(Stage.options, Stage.processes, _result(published)))


@DBOS.step()
def report_step(facts: Json) -> str:
    """Writes the report."""
    return str(write_story(Stage.options, facts))


@DBOS.step()
def clock_step() -> float:
    """The time, recorded so that a resumed run knows when a part began."""
    return time.time()


@DBOS.workflow()
def demo(options: Json) -> str:
    """The whole loop; returns the path of the report."""
    say = Stage.narrator.step
    wanted = jsonvalue.from_json(DemoOptions, options, where="demo options")
    times: list[Json] = []
    say("pictures, snapshot, labels held back")
    data = _value(data_step(), "data", times)
    prepared = _prepared(data)
    Stage.narrator.prepared(prepared)
    say("version 1: train, quantize, prove, publish")
    first = _child("v1", steps.first_plan(wanted, prepared), times)
    steps.require_published("version 1", first)
    say("the device installs version 1 and sees the field")
    first_pass = _value(first_pass_step(), "first pass", times)
    say("labels for what it kept (the data set's own label answers, in place of a person)")
    num_labels = cast(int, _value(label_step(data, first.bundle_digest), "label", times))
    Stage.narrator.labelled(num_labels, first_pass)
    keep_device_running_step()
    say("version 2: retrain on the enlarged snapshot, gate, publish; the device keeps running")
    second = _child("v2", steps.second_plan(wanted, prepared, first), times)
    say("the running device notices, tests and swaps")
    swap = _value(swap_step(jsonvalue.to_json(second)), "swap", times)
    say("control: the same training on as many randomly kept samples")
    control = _child("control", steps.control_plan(wanted, prepared, num_labels), times)
    say("report")
    facts = {
        "prepared": data,
        "first": first,
        "second": second,
        "control": control,
        "first_pass": first_pass,
        "swap": swap,
        "num_labels": num_labels,
        "times": times,
    }
    return report_step(jsonvalue.to_json(facts))


def _child(name: str, plan: RetrainPlan, times: list[Json]) -> RetrainResult:
    began = clock_step()
    with SetWorkflowID(f"{DBOS.workflow_id}-{name}"):
        handle = DBOS.start_workflow(retrain, jsonvalue.to_json(plan))
    result = _result(handle.get_result(polling_interval_sec=0.1))
    steps.check_bundle(result)
    times.append(jsonvalue.to_json(StepTime(name=f"retrain {name}", seconds=clock_step() - began)))
    Stage.narrator.retrained(name, result)
    return result


def _timed(work: Callable[[], object]) -> Json:
    began = time.monotonic()
    value = jsonvalue.to_json(work())
    return {"value": value, "seconds": time.monotonic() - began}


def _value(timed: Json, name: str, times: list[Json]) -> Json:
    entry = cast("dict[str, Json]", timed)
    times.append(jsonvalue.to_json(StepTime(name=name, seconds=cast(float, entry["seconds"]))))
    return entry["value"]


def _prepared(value: Json) -> steps.Prepared:
    return jsonvalue.from_json(steps.Prepared, value, where="prepared data")


def _result(value: Json) -> RetrainResult:
    return jsonvalue.from_json(RetrainResult, value, where="retrain result")
