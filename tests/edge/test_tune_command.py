"""`edgeloop device tune` as a person calls it, and what the agent makes of what it found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from pipeline_bundles import COLOURS, build_pipeline, squares

from edge import jsonvalue
from edge.bundle.manifest import Verdict
from edge.bundle.reader import open_bundle
from edge.cli import device
from edge.engine import open_engine
from edge.errors import EdgeloopError
from edge.settings import AgentSettings
from edge.swap import Engines
from edge.tune.recall import recall
from edge.update.slots import Slots


def tune(*arguments: object) -> str:
    done = CliRunner().invoke(device, ["tune", *map(str, arguments)])
    if done.exception is not None:
        raise done.exception
    return done.output


def test_tunes_every_stage_and_remembers(tmp_path: Path) -> None:
    folder, out = build_pipeline(tmp_path / "bundle"), tmp_path / "tune.json"
    table = tune("--bundle", folder, "--budget", 0.3, "--out", out)
    assert "stage find" in table
    assert "stage name" in table
    assert table.count("chosen") == 2
    bundle = open_bundle(folder)
    choices = recall(out, bundle)
    assert choices is not None
    with open_engine(bundle, choices=choices) as engine:
        found = engine.infer(squares((1, 1, COLOURS["red"]))).prediction
    assert found.by_label == (("red", 1),)


def test_predict_runs_as_it_was_tuned(tiny_bundle: Path, tmp_path: Path) -> None:
    out, picture = tmp_path / "tune.json", tiny_bundle / "golden-0.png"
    tune("--bundle", tiny_bundle, "--budget", 0.2, "--out", out)
    edited(tmp_path, artifact="tiny_fp32.onnx", delegate="cpu")

    def predict(*arguments: object) -> dict[str, object]:
        command = ["predict", str(picture), "--bundle", str(tiny_bundle), "--json", *map(str, arguments)]
        done = CliRunner().invoke(device, command)
        if done.exception is not None:
            raise done.exception
        return json.loads(done.stdout)

    assert predict("--tuned", out)["artifact"] == "tiny_fp32.onnx"
    assert predict("--tuned", out, "--artifact", "tflite")["artifact"] == "tiny_fp32.tflite"
    assert predict()["artifact"] == "tiny_fp32.tflite"
    with pytest.raises(EdgeloopError, match=r"no file .*gone\.json"):
        predict("--tuned", tmp_path / "gone.json")


def test_json_without_a_file(tiny_bundle: Path, tmp_path: Path) -> None:
    result = json.loads(tune("--bundle", tiny_bundle, "--budget", 0.2, "--max-threads", 1, "--json").splitlines()[-1])
    assert result["bundle_digest"] == open_bundle(tiny_bundle).digest
    assert list(tmp_path.glob("tune*")) == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "which bundle?"),
        (("--bundle", "gone"), "no bundle gone"),
        (("--home", "gone"), "there is no bundle in gone"),
        (("--bundle", "{bundle}", "--delegate", "gone.so"), "no delegate library gone.so"),
        (("--bundle", "{unproven}"), "bundle 'tiny' is not proven"),
    ],
)
def test_bad_input(
    arguments: tuple[str, ...],
    expected: str,
    tiny_bundle: Path,
    make_bundle: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unproven = make_bundle(tmp_path / "unproven", verdict=Verdict.NONE)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(EdgeloopError, match=expected.replace("?", r"\?")):
        tune(*(item.format(bundle=tiny_bundle, unproven=unproven) for item in arguments))
    assert list((tmp_path / "here").iterdir()) == []


@pytest.fixture
def home(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A home in which a bundle is installed."""
    from edge.commands import sideload

    folder = tmp_path / "home"
    sideload(AgentSettings(home=folder), tiny_bundle, say=lambda line: None)
    return folder


def engines(home: Path, said: list[str], **settings: object) -> Engines:
    return Engines(AgentSettings(home=home, **settings), Slots(home), can_wait=False, say=said.append)


def edited(home: Path, **changes: object) -> None:
    """Changes the first stage of what the home remembers."""
    path = home / "tune.json"
    value = json.loads(path.read_bytes())
    value["choices"][0]["stages"][0].update(changes)
    path.write_bytes(jsonvalue.pretty_bytes(value))


def test_the_agent_runs_what_was_found(home: Path) -> None:
    tune("--home", home, "--budget", 0.2)
    edited(home, artifact="tiny_fp32.onnx", delegate="cpu")
    engine = engines(home, []).first()
    assert engine is not None
    assert engine.artifact.file == "tiny_fp32.onnx"
    engine.close()
    told = engines(home, [], artifact="tflite").first()
    assert told is not None
    assert told.artifact.file == "tiny_fp32.tflite"
    told.close()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"delegate": "/gone/lib.so", "artifact": "tiny_fp32.tflite"}, "the bundle runs as it would without a trial"),
        ({"artifact": "other.tflite"}, "has no model 'other.tflite'"),
        ({"threads": 0}, "are passed over"),
        ({"threads": 10**12}, "are passed over"),
        ({"delegate": "foo", "artifact": "tiny_fp32.onnx"}, "the bundle runs as it would without a trial"),
    ],
)
def test_what_can_no_longer_run_is_said_and_left(home: Path, changes: dict[str, object], expected: str) -> None:
    tune("--home", home, "--budget", 0.2)
    edited(home, **changes)
    said: list[str] = []
    engine = engines(home, said).first()
    assert engine is not None
    assert engine.artifact.file == "tiny_fp32.tflite"
    engine.close()
    assert any(expected in line for line in said), said
