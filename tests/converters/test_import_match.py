from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from foreign_models import LABELS, colour_model, fixed_model, write_colours

from converters.foreign.job import ImportJob
from converters.foreign.told import InputRange, Told
from converters.importing import import_model
from converters.proving import ProveJob, prove_bundle
from edge.bundle.manifest import OutputKind, Task, Verdict
from edge.engine import open_engine
from edge.errors import EdgeloopError
from edge.types import Matches


def embedder(tmp_path: Path, **changes: object) -> ImportJob:
    """The means of three channels are an embedding as good as any."""
    fields: dict[str, object] = {
        "model": colour_model(tmp_path / "m.onnx"),
        "gallery": write_colours(tmp_path / "gallery", each=2),
        "told": Told(input_range=InputRange.BYTES, match_threshold=0.99),
    }
    return ImportJob(out=tmp_path / "out", task=Task.MATCH, **(fields | changes))


def test_an_embedder_with_reference_pictures_names_them(tmp_path):
    bundle = import_model(embedder(tmp_path)).bundle
    stage = bundle.manifest.stages[0]
    assert (stage.outputs[0].kind, stage.match.threshold) == (OutputKind.EMBEDDING, 0.99)
    assert bundle.manifest.labels == tuple(sorted(LABELS))
    with open_engine(bundle, allow_unproven=True) as engine:
        red = engine.infer(np.full((9, 9, 3), (225, 25, 35), dtype=np.uint8)).prediction
        grey = engine.infer(np.full((9, 9, 3), 128, dtype=np.uint8)).prediction
    assert isinstance(red, Matches)
    assert (red.top[0].label, red.known, grey.known) == ("red", True, False)


def test_an_embedder_can_be_proven(tmp_path):
    told = Told(input_range=InputRange.BYTES, match_threshold=0.8)
    bundle = import_model(embedder(tmp_path, told=told)).bundle
    data = write_colours(tmp_path / "data", each=30)
    proven, proof = prove_bundle(ProveJob(bundle=bundle.folder, data=data, out=tmp_path / "x", min_points=80))
    assert (proof.verdict, proof.metric) == (Verdict.PASS, "top1")
    with open_engine(proven) as engine:
        assert engine.infer(data / "blue" / "0.png").prediction.headline.label == "blue"


def test_what_is_not_known_is_not_right(tmp_path):
    told = Told(input_range=InputRange.BYTES, match_threshold=1.0)
    bundle = import_model(embedder(tmp_path, told=told)).bundle
    data = write_colours(tmp_path / "data", each=30)
    with pytest.raises(EdgeloopError, match="not proven: gets"):
        prove_bundle(ProveJob(bundle=bundle.folder, data=data, out=tmp_path / "x", min_points=80))


def without_class(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


def class_without_pictures(folder: Path) -> Path:
    (folder / "some" / "red").mkdir(parents=True)
    return folder / "some"


def broken_picture(folder: Path) -> Path:
    (folder / "some" / "red").mkdir(parents=True)
    (folder / "some" / "red" / "x.png").write_bytes(b"x")
    return folder / "some"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "m.onnx: what shall its embeddings be compared with? (add --gallery FOLDER)"),
        (lambda folder: folder / "gone", "gone (--gallery needs a folder of reference pictures for each class)"),
        (without_class, "no folders in"),
        (class_without_pictures, "no pictures in"),
        (broken_picture, "x.png: not a JPEG, PNG or WebP picture"),
    ],
)
def test_bad_galleries_are_one_line_and_leave_nothing(tmp_path, make, message):
    with pytest.raises(EdgeloopError) as caught:
        import_model(embedder(tmp_path, gallery=make(tmp_path)))
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_an_embedding_that_is_zero_or_not_told_apart(tmp_path):
    zero = fixed_model(tmp_path / "zero.onnx", {"e": np.zeros((1, 4))})
    with pytest.raises(EdgeloopError, match="zero"):
        import_model(embedder(tmp_path, model=zero))
    two = fixed_model(tmp_path / "two.onnx", {"a": np.ones((1, 4)), "b": np.ones((1, 4))})
    with pytest.raises(EdgeloopError, match="which output holds the embedding"):
        import_model(embedder(tmp_path, model=two))
