"""Pipelines of stages: detect, cut, name, count; through the engine, with both runtimes."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pipeline_bundles import COLOURS, DETECT, MATCH, YELLOW, build_pipeline, crop_reader, squares

from edge.backends.base import RuntimeOptions
from edge.bundle.manifest import DecisionPolicy, StageInput, Task
from edge.bundle.reader import open_bundle
from edge.engine import Engine, open_engine
from edge.errors import BackendError, EdgeloopError, FormatError, ImageError, UsageError
from edge.loading import StageChoice
from edge.types import Box, Counts, Detections, Matches, Outcome
from edge.update.selftest import self_test

RED, GREEN, BLUE = COLOURS.values()
SCENE = squares((1, 1, RED), (4, 1, RED), (6, 2, GREEN), (2, 5, BLUE), (5, 6, YELLOW))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_pipeline(tmp_path_factory.mktemp("pipeline") / "bundle")


def counts_of(engine: Engine, picture: object, **options: int) -> Counts:
    prediction = engine.infer(picture, **options).prediction
    assert isinstance(prediction, Counts)
    return prediction


@pytest.mark.parametrize("artifact", ["tflite", "onnx"])
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_finds_names_and_counts(folder: Path, artifact: str, workers: int) -> None:
    with open_engine(folder, artifact=artifact, workers=workers) as engine:
        inference = engine.infer(SCENE)
        counts = inference.prediction
    assert isinstance(counts, Counts)
    assert counts.by_label == (("red", 2), ("", 1), ("blue", 1), ("green", 1))
    assert len(counts.items) == 5
    assert inference.artifact == f"tiny_detector.{artifact}+tiny_embedder.{artifact}"
    unknown = [item for item in counts.items if not item.label]
    assert [item.decision.outcome for item in unknown] == [Outcome.UNKNOWN]
    assert unknown[0].detection.box == Box(left=200, top=240, right=240, bottom=280)
    assert inference.decision.outcome is Outcome.UNKNOWN


def test_boxes_are_in_the_picture_whatever_its_shape(folder: Path) -> None:
    """A wide picture is letterboxed: 8 cells of 64 pixels over its width, 4 of them over its height."""
    from PIL import Image

    wide = Image.new("RGB", (512, 256), (120, 120, 120))
    wide.paste(RED, (64, 64, 128, 128))
    wide.paste(GREEN, (448, 192, 512, 256))
    with open_engine(folder) as engine:
        items = counts_of(engine, np.asarray(wide)).items
    assert {item.label: item.detection.box for item in items} == {
        "red": Box(left=64, top=64, right=128, bottom=128),
        "green": Box(left=448, top=192, right=512, bottom=256),
    }


def test_an_empty_picture_is_an_answer(folder: Path) -> None:
    with open_engine(folder) as engine:
        inference = engine.infer(squares())
    assert isinstance(inference.prediction, Counts)
    assert (inference.prediction.items, inference.prediction.by_label) == ((), ())
    assert inference.decision.outcome is Outcome.ACCEPT


def test_every_worker_and_thread_gives_the_same(folder: Path) -> None:
    with open_engine(folder, workers=1) as one, open_engine(folder, workers=4) as four:
        expected = one.infer(SCENE).prediction
        answers: list[object] = []
        threads = [
            threading.Thread(target=lambda: answers.extend(four.infer(SCENE).prediction for _ in range(5)))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == [expected] * 20


def test_a_detector_alone(tmp_path: Path) -> None:
    folder = build_pipeline(tmp_path / "b", stages=(DETECT,))
    self_test(open_bundle(folder))
    with open_engine(folder) as engine:
        found = engine.infer(SCENE).prediction
    assert isinstance(found, Detections)
    assert len(found.items) == 5
    assert {item.label for item in found.items} == {"thing"}


def test_an_embedder_alone(tmp_path: Path) -> None:
    folder = build_pipeline(tmp_path / "b", stages=(crop_reader(reads=StageInput.PICTURE),))
    self_test(open_bundle(folder))
    with open_engine(folder) as engine:
        matches = engine.infer(squares(*((x, y, GREEN) for x in range(8) for y in range(8)))).prediction
        top = engine.infer(SCENE, top_k=1).prediction
    assert isinstance(matches, Matches)
    assert isinstance(top, Matches)
    assert (matches.known, matches.headline.label, len(matches.top)) == (True, "green", 3)
    assert len(top.top) == 1


def test_two_readers_of_the_same_crops(tmp_path: Path) -> None:
    first, second = (crop_reader(name=name, artifacts=MATCH.artifacts[at : at + 1]) for at, name in enumerate("ab"))
    folder = build_pipeline(tmp_path / "b", stages=(DETECT, first, second))
    with open_engine(folder) as engine:
        items = counts_of(engine, SCENE).items
    assert all(len(item.answers) == 2 for item in items)
    assert all(one.headline.label == other.headline.label for one, other in (item.answers for item in items))


def test_self_test_covers_every_stage(folder: Path) -> None:
    self_test(open_bundle(folder))


def test_models_are_loaded_with_the_first_picture_and_shared(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edge import loading

    opened: list[str] = []
    real = loading.open_backend

    def note(path: Path, *rest: object, **options: object) -> object:
        opened.append(path.name)
        return real(path, *rest, **options)

    monkeypatch.setattr(loading, "open_backend", note)
    with open_engine(folder, workers=1) as first:
        assert opened == []
        first.infer(SCENE)
        loaded = list(opened)
        assert sorted(loaded) == ["tiny_detector.tflite", "tiny_embedder.tflite"]
        with open_engine(folder, workers=1) as second:
            assert second.infer(SCENE).prediction == first.infer(SCENE).prediction
        first.infer(SCENE)
    assert opened == loaded
    with open_engine(folder, workers=1) as third:
        third.infer(SCENE)
    assert len(opened) == 4


def test_batch_and_async_give_the_answers_of_infer(folder: Path) -> None:
    pictures = [squares((number, 3, RED)) for number in range(8)]

    async def ask(engine: Engine) -> list[object]:
        return [answer.prediction for answer in await asyncio.gather(*(engine.ainfer(one) for one in pictures))]

    with open_engine(folder) as engine:
        expected = [engine.infer(picture).prediction for picture in pictures]
        assert [answer.prediction for answer in engine.infer_batch(pictures)] == expected
        assert asyncio.run(ask(engine)) == expected
        with pytest.raises(ImageError, match="not a JPEG"):
            engine.infer_batch([pictures[0], b"no picture", pictures[1]])
        with pytest.raises(ImageError, match="not a JPEG"):
            asyncio.run(engine.ainfer(b"no picture"))
        for wrong in (0, 2.5, "3"):
            with pytest.raises(UsageError, match="top_k must be a whole number of at least 1"):
                engine.infer(pictures[0], top_k=wrong)
        assert engine.infer(pictures[0], top_k=10**9).prediction == expected[0]


def test_a_file_name_chooses_for_its_own_stage(folder: Path) -> None:
    with open_engine(folder, artifact="tiny_embedder.onnx") as engine:
        assert [artifact.file for artifact in engine.artifacts] == ["tiny_detector.tflite", "tiny_embedder.onnx"]
        assert counts_of(engine, squares((1, 1, RED))).by_label == (("red", 1),)
    with pytest.raises(UsageError, match="stage 'find' has no artifact 'gone'"):
        open_engine(folder, artifact="gone")


def test_an_engine_that_nobody_closed_gives_its_models_back(folder: Path) -> None:
    import gc

    from edge import engine as module

    before = len(module._MODELS._users)
    for _ in range(3):
        open_engine(folder, workers=2).infer(SCENE)
    gc.collect()
    assert len(module._MODELS._users) == before


def test_a_copy_of_the_bundle_has_models_of_its_own(folder: Path, tmp_path: Path) -> None:
    import shutil

    first, second = (shutil.copytree(folder, tmp_path / name) for name in "ab")
    with open_engine(first) as one:
        shutil.rmtree(first)
        with pytest.raises(BackendError, match=r"tiny_detector\.tflite"):
            one.infer(SCENE)
        with open_engine(second) as other:
            assert len(counts_of(other, SCENE).items) == 5


def test_closing_from_a_thread_of_its_own_frees_the_models(folder: Path) -> None:
    from edge import engine as module

    before = len(module._MODELS._users)
    engine = open_engine(folder)
    engine._executor().submit(engine.close).result(timeout=10)
    assert len(module._MODELS._users) == before


def test_one_choice_for_each_stage(folder: Path) -> None:
    choice = StageChoice(artifact=DETECT.artifacts[0], options=RuntimeOptions())
    with pytest.raises(UsageError, match="1 choices for 2 stages"):
        open_engine(folder, choices=[choice])


def test_turned_and_cmyk_pictures_go_upright_through_a_pipeline(folder: Path) -> None:
    """The scene stored on its side, with the orientation that says so, in four colours: the same boxes and names."""
    import io

    from PIL import Image

    with Image.open(io.BytesIO(SCENE)) as upright:
        stored = upright.convert("CMYK").transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    stored.save(buffer, "JPEG", quality=95, exif=exif)
    with open_engine(folder) as engine:
        expected, found = (counts_of(engine, picture) for picture in (SCENE, buffer.getvalue()))
    assert {(item.label, item.detection.box) for item in found.items} == {
        (item.label, item.detection.box) for item in expected.items
    }


def test_a_closed_engine_answers_no_more(folder: Path) -> None:
    engine = open_engine(folder)
    engine.infer_batch([SCENE])
    engine.close()
    for ask in (lambda: engine.infer(SCENE), lambda: engine.infer_batch([SCENE]), engine.load):
        with pytest.raises(BackendError, match="the engine is closed"):
            ask()


def test_class_thresholds_of_items(tmp_path: Path) -> None:
    folder = build_pipeline(
        tmp_path / "b", decision=DecisionPolicy(accept_confidence=1.0, confirm_confidence=0.0, accept_margin=0.0)
    )
    with open_engine(folder) as engine:
        items = counts_of(engine, squares((1, 1, RED), (5, 5, YELLOW))).items
    assert sorted((item.label, item.decision.outcome.value) for item in items) == [("", "unknown"), ("red", "confirm")]


@pytest.mark.parametrize(
    ("stages", "changes", "expected"),
    [
        ((MATCH,), {}, "the first stage 'name' must read the picture"),
        ((DETECT, crop_reader(reads=StageInput.PICTURE)), {}, "stage 'name' must read crops and not detect"),
        (
            (DETECT, replace(DETECT, name="more", reads=StageInput.CROPS)),
            {},
            "stage 'more' must read crops and not detect",
        ),
        ((crop_reader(reads=StageInput.PICTURE), crop_reader(name="b")), {}, "stage 'name' must detect"),
        ((DETECT, MATCH), {"task": Task.DETECT}, "task is 'detect', the stages give 'count'"),
        ((DETECT,), {"task": Task.COUNT}, "task is 'count', the stages give 'detect'"),
        ((replace(DETECT, labels=()),), {}, "labels must not be empty"),
        (
            (replace(DETECT, outputs=DETECT.outputs[:1]),),
            {},
            "decoder 'yolo' needs the outputs boxes_scores or boxes, scores",
        ),
        ((DETECT, MATCH, crop_reader(name="b")), {}, "artifact 'tiny_embedder.tflite' appears 2 times"),
        (
            (DETECT, crop_reader(match=replace(MATCH.match, gallery=("gone.egl",)))),
            {},
            "'gone.egl' is not in files",
        ),
    ],
)
def test_stages_that_are_no_pipeline(tmp_path: Path, stages: tuple, changes: dict, expected: str) -> None:
    import json

    from edge import jsonvalue

    folder = build_pipeline(tmp_path / "b")
    value = json.loads((folder / "manifest.json").read_bytes())
    value["stages"] = jsonvalue.to_json(stages)
    value["task"] = "count" if len(stages) > 1 else stages[0].task.value
    value.update(jsonvalue.to_json(changes))
    (folder / "manifest.json").write_bytes(jsonvalue.canonical_bytes(value))
    with pytest.raises(FormatError, match=expected):
        open_bundle(folder)


@pytest.mark.parametrize("damage", ["gallery", "stage", "vector"])
def test_damage_is_named(tmp_path: Path, damage: str) -> None:
    import hashlib
    import json

    from edge import jsonvalue

    folder = build_pipeline(tmp_path / "b")
    name = "gallery.egl" if damage == "gallery" else "golden.json"
    data = (folder / name).read_bytes()
    golden = json.loads(data) if damage != "gallery" else {}
    if damage == "gallery":
        data = data[:-1]
    elif damage == "stage":
        golden["vectors"][0]["stage"] = "elsewhere"
    else:
        del golden["vectors"][1]
    (folder / name).write_bytes(data if damage == "gallery" else jsonvalue.canonical_bytes(golden))
    manifest = json.loads((folder / "manifest.json").read_bytes())
    for entry in manifest["files"]:
        if entry["name"] == name:
            entry["sha256"] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
            entry["size_bytes"] = (folder / name).stat().st_size
    (folder / "manifest.json").write_bytes(jsonvalue.canonical_bytes(manifest))
    expected = {
        "gallery": r"gallery\.egl",
        "stage": "stage 'elsewhere' is not in the manifest",
        "vector": "stage 'name' has no vector",
    }
    with pytest.raises(EdgeloopError, match=expected[damage]):
        self_test(open_bundle(folder))
