"""Publishing as one step: history, and kills at every durable write."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cloud_train.errors import PublishError
from cloud_train.publish.publish import publish_bundle
from cloud_train.publish.repository import open_repository
from cloud_train.store.sql import open_meta_store
from edge.bundle.manifest import Verdict
from edge.bundle.reader import open_bundle

NOW = 1_800_000_000.0


def test_a_release_is_offered_and_recorded_once(store: Path, tmp_path: Path, make_bundle: Callable[..., Path]) -> None:
    bundles = [make_bundle(tmp_path / f"b{number}", version=number) for number in (1, 2)]
    first = publish_bundle(bundles[0], store, channel="stable", now=NOW)
    assert publish_bundle(bundles[0], store, channel="stable", now=NOW + 9) == first
    second = publish_bundle(bundles[1], store, channel="stable", now=NOW)
    assert open_repository(store, now=NOW).current("stable") == second
    meta = open_meta_store(store / "meta.sqlite")
    assert meta.releases("stable") == (first, second)
    meta.close()


def test_a_refused_bundle_makes_no_store(store: Path, tmp_path: Path, make_bundle: Callable[..., Path]) -> None:
    with pytest.raises(PublishError):
        publish_bundle(make_bundle(tmp_path / "b", verdict=Verdict.FAIL), store, channel="stable", now=NOW)
    assert not store.exists()


@pytest.mark.slow
@pytest.mark.parametrize("update", [False, True], ids=["the first bundle", "an update"])
def test_killed_at_any_durable_write_clients_find_old_or_new_and_the_same_command_finishes(
    store: Path, tmp_path: Path, make_bundle: Callable[..., Path], update: bool
) -> None:
    if update:
        publish_bundle(make_bundle(tmp_path / "old", version=1), store, channel="stable", now=NOW)
    new = make_bundle(tmp_path / "new", version=2, flavour=2)
    script = Path(__file__).with_name("publish_until_killed.py")
    run = subprocess.run([sys.executable, script, new, store, tmp_path], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    kills = [json.loads(line) for line in run.stdout.splitlines()]
    points = [kill["point"] for kill in kills]
    assert points[-1] == "end"
    for expected in (
        "publish.file:written",
        "publish.targets:after",
        "publish.timestamp:before",
        "meta.releases:before",
    ):
        assert expected in points
    assert len(points) > (20 if update else 40)
    offered = (
        points.index("publish.timestamp:after")
        if update
        else len(points) - 1 - points[::-1].index("publish.timestamp:after")
    )
    assert {kill["seen"] for kill in kills[: offered - 1]} == {1 if update else None}
    assert {kill["seen"] for kill in kills[offered:]} == {2}
    wanted = {"version": 2, "digest": open_bundle(new).digest}
    assert all(kill["again"] == wanted and kill["seen_again"] == 2 and not kill["leftovers"] for kill in kills)
