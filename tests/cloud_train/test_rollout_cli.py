"""`edgeloop rollout …` and a whole rollout through a real server and the devices' own road."""

import json
import time
from dataclasses import replace

import pytest
from click.testing import CliRunner
from rollout_values import make_status

from cloud_train.cli import edgeloop
from cloud_train.ingest.server import running_server
from cloud_train.publish.repository import open_repository
from cloud_train.store.opened import open_store
from cloud_train.store.roster import SqlRoster
from edge.errors import EdgeloopError
from edge.sync.grpc_transport import GrpcTransport
from edge.sync.types import BundleHour


@pytest.fixture
def store(tmp_path, make_bundle):
    """A store whose channel offers version 1; `v2` beside it is what shall come."""
    folder = tmp_path / "store"
    repository = open_repository(folder, now=time.time())
    repository.publish(make_bundle(tmp_path / "v1", version=1), channel="stable", now=time.time())
    make_bundle(tmp_path / "v2", version=2, flavour=2)
    with open_store(folder) as opened:
        opened.check()
    return folder


def said(*arguments):
    """Output of a command; its error is raised as the command line would say it."""
    result = CliRunner().invoke(edgeloop, [str(argument) for argument in arguments])
    if isinstance(result.exception, EdgeloopError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def started(store, *more):
    return json.loads(said("rollout", "start", store.parent / "v2", "--store", store, "--who", "ada", "--json", *more))


def test_start_signs_and_records(store):
    rollout = started(
        store, "--rings", "5,100", "--ring-label", "store=17", "--max-accept-drop", "3", "--min-minutes", 1
    )
    repository = open_repository(store, now=time.time())
    settled = repository.current("stable").bundle_digest
    (offer,) = repository.offers("stable")
    assert (offer.digest, offer.rollback_to) == (rollout["bundle_digest"], (settled,))
    assert rollout["base_digest"] == settled
    assert [ring["percent"] for ring in rollout["plan"]["rings"]] == [0.0, 5.0, 100.0]
    assert rollout["plan"]["rings"][0]["labels"] == {"store": "17"}
    assert rollout["plan"]["rings"][2]["min_minutes"] == 1
    assert rollout["plan"]["limits"]["max_accept_drop"] == 3
    assert rollout["made_by"] == "ada"


def test_one_at_a_time(store):
    started(store)
    with pytest.raises(EdgeloopError, match="rollout 1 of channel stable is running") as error:
        started(store)
    assert "edgeloop rollout rollback 1" in error.value.hint


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rings", "1,banana"], "are not percents"),
        (["--rings", "1,50"], "the last ring must be 100"),
        (["--rings", "50,10,100"], "do not grow"),
        (["--rings", "-1,100"], "not between 0 and 100"),
        (["--ring-label", "store"], "is not KEY=VALUE"),
        (["--channel", "nobody"], "offers no bundle yet"),
    ],
)
def test_bad_input_leaves_nothing_behind(store, arguments, words):
    with pytest.raises(EdgeloopError, match=words):
        started(store, *arguments)
    assert said("rollout", "list", "--store", store) == "no rollouts yet\n"
    assert open_repository(store, now=time.time()).offers("stable") == ()


def test_unknown_bundles_stores_and_numbers(store, tmp_path):
    with pytest.raises(EdgeloopError, match="no bundle"):
        said("rollout", "start", "deadbeefdead", "--store", store)
    with pytest.raises(EdgeloopError, match="is not a store"):
        said("rollout", "list", "--store", tmp_path / "nowhere")
    for command in (("show", 7), ("pause", 7), ("ab", "report", 7)):
        with pytest.raises(EdgeloopError, match="there is no rollout 7"):
            said("rollout", *command, "--store", store)


def test_what_people_do(store):
    rollout = started(store)
    assert "paused" in said("rollout", "pause", 1, "--store", store, "--who", "ada", "--reason", "holidays")
    assert "running" in said("rollout", "resume", 1, "--store", store)
    assert "ring 2 of 4" in said("rollout", "advance", 1, "--store", store)
    shown = said("rollout", "show", 1, "--store", store)
    assert "started" in shown
    assert "limit 2 %" in shown
    assert "next    wait" in shown
    assert json.loads(said("rollout", "show", 1, "--store", store, "--json"))["next"]["action"] == "wait"
    assert "rolled back" in said("rollout", "rollback", 1, "--store", store)
    assert open_repository(store, now=time.time()).offers("stable") == ()  # nobody may take it any more
    with pytest.raises(EdgeloopError, match="is rolled back and cannot advance"):
        said("rollout", "advance", 1, "--store", store)
    with open_store(store) as opened:
        found = opened.audit.about("rollout:1")
    assert [entry.action.removeprefix("rollout.") for entry in found] == [
        "rollback",
        "advance",
        "resume",
        "pause",
        "started",
    ]
    assert found[3].detail["reason"] == "holidays"
    assert found[3].who == "person:ada"
    assert rollout["bundle_digest"][:12] in said("rollout", "list", "--store", store)


def test_finish_promotes_where_the_keys_are(store):
    digest = started(store)["bundle_digest"]
    assert "done" in said("rollout", "finish", 1, "--store", store)
    repository = open_repository(store, now=time.time())
    assert repository.current("stable").bundle_digest == digest
    assert repository.offers("stable") == ()


def test_without_keys_it_waits_for_the_publisher(store):
    digest = started(store)["bundle_digest"]
    (store / "keys").rename(store.parent / "keys")
    assert "done" in said("rollout", "finish", 1, "--store", store)
    shown = said("rollout", "show", 1, "--store", store)
    assert f"done, waiting for the publisher: run `edgeloop publish promote {digest[:12]} --channel stable`" in shown


def test_ab_and_drift_say_something_with_nothing_to_say(store):
    digest = json.loads(said("rollout", "ab", "start", store.parent / "v2", "--store", store, "--json"))[
        "bundle_digest"
    ]
    assert digest[:12] in said("rollout", "ab", "report", 1, "--store", store)
    assert json.loads(said("rollout", "ab", "report", 1, "--store", store, "--json"))["figures"] == []
    assert "over" not in said("rollout", "drift", "--store", store, "--bundle", digest)


def test_a_whole_rollout_through_a_server(store, monkeypatch):
    """Twelve devices obey what they are told; the server itself advances, finishes and promotes."""
    monkeypatch.setattr("cloud_train.fleet.watch.INTERVAL_S", 0.2)
    digest = started(store, "--rings", "40,100", "--min-minutes", 0, "--max-minutes", 0)["bundle_digest"]
    old = open_repository(store, now=time.time()).current("stable").bundle_digest
    runs = {f"k{number}": old for number in range(12)}
    deadline = time.monotonic() + 60
    with running_server(store) as info:
        road = GrpcTransport(info.target, timeout_s=10.0)
        while open_repository(store, now=time.time()).current("stable").bundle_digest != digest:
            assert time.monotonic() < deadline, said("rollout", "show", 1, "--store", store)
            for device, bundle in runs.items():
                hour = BundleHour(
                    bundle_digest=bundle,
                    hour=int(time.time() // 3600),
                    run="0000abcd",
                    frames=200,
                    accepted=160,
                    unknown=40,
                )
                status = replace(make_status(device, bundle_digest=bundle), hours=(hour,))
                runs[device] = road.check_in(status).bundle_digest
        road.close()
    with open_store(store) as opened:
        members = SqlRoster(opened.database).devices("stable", is_default=True)
        actions = [entry.action for entry in opened.audit.about("rollout:1")]
    assert len(members) == 12
    assert actions == ["rollout.finished", "rollout.advanced", "rollout.started"]
