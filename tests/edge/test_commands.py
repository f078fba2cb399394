"""The commands inside this process: the same functions and words that test_device_cli starts as processes."""

import contextlib
import json
import os
import signal
import threading
import time

import pytest
from click.testing import CliRunner
from device_world import copy_tree, publish, root_file
from sample_values import make_sample

from cloud_train.ingest.server import running_server
from edge import commands
from edge.bundle.archive import pack
from edge.bundle.manifest import KeepPolicy
from edge.bundle.reader import open_bundle
from edge.cli import device
from edge.errors import EdgeloopError, ImageError, UsageError
from edge.outbox.sqlite import SqliteOutbox
from edge.settings import AgentSettings
from edge.update.slots import Slots
from edge.update.types import UpdateOutcome


@pytest.fixture(scope="session")
def signed(tmp_path_factory, make_bundle):
    folder = tmp_path_factory.mktemp("commands")
    for number in (1, 2):
        make_bundle(folder / f"v{number}", version=number, flavour=number, keep=KeepPolicy(random_fraction=0.0))
    publish(folder / "store", folder / "v1", now=time.time())
    return folder


@pytest.fixture
def pictures(tmp_path, picture_bytes):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("red", "green", "grey"):
        (folder / f"{name}.png").write_bytes(picture_bytes(name))
    return folder


@pytest.fixture
def server(tmp_path, signed):
    copy_tree(signed / "store", tmp_path / "store")
    with running_server(tmp_path / "store") as running:
        yield running


@pytest.fixture
def given(tmp_path, server, pictures):
    return AgentSettings(
        home=tmp_path / "home",
        server=server.target,
        root=root_file(tmp_path / "store"),
        source=str(pictures),
        payload="original",
        passes=1,
        link_interval_s=0.02,
        exit_when_drained=True,
    )


def run(settings, *, bundle=None, progress=lambda counts: None):
    said = []
    return commands.run_agent(settings, bundle=bundle, say=said.append, progress=progress), said


def test_run_then_update_then_sync(given, tmp_path, signed):
    shown = []
    counts, said = run(given, progress=shown.append)
    assert (counts.frames_answered, counts.kept) == (3, 1)
    assert shown
    assert any(line.startswith("runs tiny version 1") for line in said)
    publish(tmp_path / "store", signed / "v2", now=time.time())
    steps = []
    result = commands.update_once(given, progress=lambda done, total: steps.append((done, total)))
    assert (result.outcome, result.bundle_digest) == (UpdateOutcome.ACTIVATED, open_bundle(signed / "v2").digest)
    assert steps[-1][0] == steps[-1][1] > 0
    assert commands.sync_once(given).sent == 0


def test_a_release_that_cannot_be_had_is_a_failure(given, tmp_path):
    (tmp_path / "store" / "repository" / "metadata" / "timestamp.json").write_bytes(b"{}")
    with pytest.raises(EdgeloopError, match="the release of channel 'stable' is not valid"):
        commands.update_once(given, progress=lambda done, total: None)


@pytest.mark.parametrize(("number", "raises"), [(signal.SIGTERM, False), (signal.SIGINT, True)])
def test_signals(given, tmp_path, number, raises):
    import dataclasses

    settings = dataclasses.replace(given, passes=0, exit_when_drained=False, fps=100.0)
    usual = signal.getsignal(number)

    def interrupt():
        status = settings.home / "status.json"
        while not (status.exists() and json.loads(status.read_bytes())["frames_answered"]):
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    threading.Thread(target=interrupt, daemon=True).start()
    if raises:
        with pytest.raises(KeyboardInterrupt):
            run(settings)
    else:
        assert run(settings)[0].frames_answered > 0
    assert signal.getsignal(number) is usual


@pytest.mark.parametrize("packed", [False, True])
def test_sideload(tmp_path, signed, pictures, packed):
    bundle = signed / "v2"
    if packed:
        bundle = tmp_path / "two.edgebundle"
        pack(signed / "v2", bundle)
    counts, said = run(AgentSettings(home=tmp_path / "home", source=str(pictures), passes=1), bundle=bundle)
    assert counts.frames_by_version == {"2": 3}
    assert said[0].startswith(f"{bundle} is UNSIGNED and was installed")
    assert Slots(tmp_path / "home").state.trial == ""


def predict(picture, **changes):
    said = []
    defaults = {"bundle": None, "home": None, "artifact": None, "allow_unproven": False}
    return list(commands.predict_pictures(picture, say=said.append, **defaults | changes)), said


def test_predict(tmp_path, signed, pictures):
    (pictures / "bad.png").write_bytes(b"x")
    answers, said = predict(pictures, bundle=signed / "v1")
    assert [(name, inference.prediction.top[0].label) for name, inference in answers][1:] == [
        ("grey.png", answers[1][1].prediction.top[0].label),
        ("red.png", "red"),
    ]
    assert said[-1] == "1 of 4 files were skipped"
    value = commands.prediction_json(*answers[2])
    assert (value["predicted_class"], value["outcome"], value["error_message"]) == ("red", "accept", "")
    assert set(value["probabilities"]) == {"red", "green", "blue"}
    with pytest.raises(ImageError, match="not a JPEG"):
        predict(pictures / "bad.png", bundle=signed / "v1")


def test_predict_with_nothing_usable(tmp_path, signed):
    folder = tmp_path / "none"
    folder.mkdir()
    with pytest.raises(UsageError, match="no pictures in"):
        predict(folder, bundle=signed / "v1")
    (folder / "a").write_bytes(b"x")
    with pytest.raises(ImageError, match="none of the 1 files"):
        predict(folder, bundle=signed / "v1")
    with pytest.raises(UsageError, match="no picture "):
        predict(folder / "b", bundle=signed / "v1")
    with pytest.raises(UsageError, match="no bundle "):
        predict(folder, bundle=tmp_path / "nowhere")
    with pytest.raises(UsageError, match="there is no bundle in"):
        predict(folder, home=tmp_path / "nowhere")


def invoke(*words):
    return CliRunner().invoke(device, [str(word) for word in words], standalone_mode=False)


def test_words_reach_their_functions(given, tmp_path, signed, pictures):
    link = ["--home", given.home, "--server", given.server]
    root = ["--root", given.root]
    done = invoke("run", *link, *root, "--source", pictures, "--passes", 1, "--exit-when-drained")
    assert "3 frames answered" in done.output, done.exception
    assert "sent 0, known 0, refused 0, 0 bytes" in invoke("sync", *link).output
    publish(tmp_path / "store", signed / "v2", now=time.time())
    assert "activated: bundle " in invoke("update", *link).output
    shown = invoke("status", "--home", given.home).output
    assert "slot b on trial" in shown
    assert json.loads(invoke("status", "--home", given.home, "--json").output)["frames_answered"] == 3
    assert "red.png: red 0.99" in invoke("predict", pictures / "red.png", "--home", given.home).output
    lines = invoke("predict", pictures, "--bundle", signed / "v1", "--json").output.splitlines()
    assert [json.loads(line)["source"] for line in lines] == ["green.png", "grey.png", "red.png"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["predict", "x"], "which bundle"),
        (["run", "--home", "x", "--bundle", "y"], "is not signed"),
        (["sync", "--home", "x", "--server", "127.0.0.1:1"], "there is no outbox"),
        (["status", "--home", "x"], "no device lives"),
        (["update", "--home", "x"], "no server named"),
    ],
)
def test_wrong_words(tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    done = invoke(*words)
    assert isinstance(done.exception, UsageError)
    assert message in str(done.exception)


def test_a_command_that_only_sends_or_looks_sheds_nothing(tmp_path, server):
    """Whatever cap the agent was given, and the person at the keyboard was not told of."""
    home = tmp_path / "home"
    home.mkdir()
    with contextlib.closing(SqliteOutbox(home / "outbox.sqlite")) as outbox:
        outbox.put_many([make_sample(number) for number in range(20)], now=1.0)
    small = AgentSettings(home=home, server=server.target, outbox_max_entries=5)
    assert commands.audit_rows(small, limit=10) == ()
    commands.sync_once(small)
    with contextlib.closing(SqliteOutbox(home / "outbox.sqlite")) as outbox:
        stats = outbox.stats()
    assert (stats.shed, stats.sent + stats.parked + stats.pending) == (0, 20)
