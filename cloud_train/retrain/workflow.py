"""The durable retraining workflow: snapshot, train, convert and prove, evaluate, gate, publish."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import cast

from dbos import DBOS

from cloud_train.retrain import steps
from cloud_train.retrain.plan import RetrainPlan, RetrainResult
from edge import jsonvalue
from edge.jsonvalue import Json

logger = logging.getLogger(__name__)


@DBOS.step()
def freeze_step(plan: Json) -> str:
    """Snapshot digest to train on."""
    return steps.freeze(_begun(plan, "freeze"))


@DBOS.step()
def train_step(plan: Json, snapshot: str) -> str:
    """Folder of the training run."""
    return steps.train(_begun(plan, "train"), snapshot)


@DBOS.step()
def convert_step(plan: Json, snapshot: str, run: str) -> str:
    """Folder of the proven bundle."""
    return steps.convert(_begun(plan, "convert"), snapshot, run)


@DBOS.step()
def evaluate_step(plan: Json, snapshot: str, bundle: str) -> str:
    """Path of the report on the frozen test split."""
    return steps.evaluate(_begun(plan, "evaluate"), snapshot, bundle)


@DBOS.step()
def gate_step(plan: Json, report: str) -> Json:
    """The gate's verdict."""
    return jsonvalue.to_json(steps.gate(_begun(plan, "gate"), report))


@DBOS.step()
def publish_step(plan: Json, bundle: str) -> Json:
    """The release."""
    return jsonvalue.to_json(steps.publish(_begun(plan, "publish"), bundle, now=time.time()))


@DBOS.workflow()
def retrain(plan: Json) -> Json:
    """Takes and returns JSON (`RetrainPlan`, `RetrainResult`), because DBOS stores both."""
    wanted = _plan(plan)
    snapshot = freeze_step(plan)
    run = train_step(plan, snapshot)
    bundle = convert_step(plan, snapshot, run)
    report = evaluate_step(plan, snapshot, bundle)
    verdict: dict[str, Json] | None = None
    if wanted.channel:
        verdict = cast("dict[str, Json]", gate_step(plan, report))
        if verdict["passed"]:
            publish_step(plan, bundle)
    return jsonvalue.to_json(_result(snapshot, run, bundle, report, verdict))


def _result(snapshot: str, run: str, bundle: str, report: str, verdict: dict[str, Json] | None) -> RetrainResult:
    passed = bool(verdict and verdict["passed"])
    return RetrainResult(
        snapshot=snapshot,
        run=run,
        bundle=bundle,
        bundle_digest=steps.read_report(Path(report)).bundle,
        report=report,
        gate="not asked" if verdict is None else "passed" if passed else "failed",
        gate_reasons=tuple(cast("list[str]", verdict["reasons"])) if verdict else (),
        published=passed,
    )


def _begun(plan: Json, step: str) -> RetrainPlan:
    wanted = _plan(plan)
    logger.info("%s v%d: step %s", wanted.name, wanted.version, step)
    return wanted


def _plan(plan: Json) -> RetrainPlan:
    return jsonvalue.from_json(RetrainPlan, plan, where="retrain plan")
