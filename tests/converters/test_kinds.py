"""Every kind of answer goes from a network to a bundle that opens, tests itself and answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from conversion_jobs import LABELS
from kind_jobs import CELL, KINDS, PATTERNS

from converters import recipes
from converters.metrics import tally
from converters.pipeline import convert
from converters.precision import overlap
from converters.records import read_record, read_trained_proof
from edge.backends.select import open_backend
from edge.bundle.manifest import ArtifactFormat, QualityLimits, Task, Verdict
from edge.bundle.reader import Bundle, open_bundle
from edge.engine import open_engine
from edge.errors import EdgeloopError
from edge.preprocess import preprocess
from edge.types import Prediction
from edge.update.selftest import self_test

METRICS = {"attributes": "attributes", "match": "top1", "text": "text", "detect": "ap50"}


@pytest.fixture(scope="session")
def converted(job: Any, cache: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Any, Bundle]]:
    """Job and bundle of a kind; each is made once."""
    made: dict[str, tuple[Any, Bundle]] = {}

    def give(kind: str) -> tuple[Any, Bundle]:
        if kind not in made:
            folder = tmp_path_factory.mktemp(kind)
            asked = KINDS[kind](job, folder / "pictures", folder / kind)
            asked = replace(asked, also=(recipes.ONNX_INT8,))
            made[kind] = asked, open_bundle(convert(asked, cache=cache, progress=False))
        return made[kind]

    return give


def answers(bundle: Bundle, job: Any, file: str) -> list[Prediction]:
    with open_engine(bundle, artifact=file) as engine:
        return [engine.infer(picture.path).prediction for picture in job.validation]


@pytest.mark.parametrize("kind", KINDS)
def test_a_bundle_of_every_kind_opens_tests_itself_and_answers(converted, kind):
    job, bundle = converted(kind)
    assert bundle.manifest.task is Task(kind)
    self_test(bundle)
    proof = read_trained_proof(bundle)
    assert proof is not None
    assert proof.metric == METRICS[kind]
    assert proof.artifacts[0].recipe.startswith("static_wi8_ai8")
    assert proof.artifacts[0].verdict is Verdict.PASS
    scores = {proof.reference: proof.score.value} | {one.file: one.accuracy for one in proof.artifacts}
    assert set(scores) == {spec.file for spec in bundle.manifest.stages[0].artifacts}
    assert len(scores) == 3
    for file, score in scores.items():
        found = tally(proof.metric, answers(bundle, job, file), job.validation)
        assert found.points(np.ones((1, len(job.validation)), dtype=np.int64))[0] == pytest.approx(score, abs=1e-3)
        assert score > 75


def test_two_heads_are_judged_as_two(converted):
    job, bundle = converted("attributes")
    (first, *_) = answers(bundle, job, "attributes.tflite")
    assert [head.name for head in first.heads] == ["shape", "pattern"]
    assert [{score.label for score in head.classification.top} for head in first.heads] == [set(LABELS), set(PATTERNS)]
    errors = read_trained_proof(bundle).artifacts[0].errors
    assert [error.output for error in errors] == ["shape", "pattern"]
    pairs = read_record(bundle).trials[0].answers
    assert {pair.before.count(" / ") for pair in pairs} == {1}


def test_a_gallery_is_what_the_float_network_says_of_the_references(converted):
    from edge.bundle.gallery import read_gallery

    job, bundle = converted("match")
    assert "gallery.bin" in {entry.name for entry in bundle.manifest.files}
    gallery = read_gallery([("gallery.bin", bundle.read("gallery.bin"))])
    assert gallery.labels == LABELS
    assert len(gallery.vectors) == len(job.references)
    backend = open_backend(bundle.path("match.onnx"), ArtifactFormat.ONNX, threads=1)
    row = 0
    for label in LABELS:
        for picture in (one for one in job.references if one.label == label):
            found = backend.run(preprocess(picture.path, job.preprocess).tensor).by_name["embedding"][0]
            np.testing.assert_allclose(gallery.vectors[row], found / np.linalg.norm(found), atol=1e-6)
            row += 1
    backend.close()
    assert read_trained_proof(bundle).artifacts[0].errors[0].cosine >= 0.99


def test_boxes_are_in_pixels_of_the_input_and_come_back_to_the_picture(converted):
    job, bundle = converted("detect")
    for spec in bundle.manifest.stages[0].artifacts:
        backend = open_backend(bundle.path(spec.file), spec.format, threads=1)
        boxes = backend.run(preprocess(job.validation[0].path, job.preprocess).tensor).by_name["boxes"][0]
        backend.close()
        cells = [[CELL * (x + dx) for x, dx in ((column, 0), (column, 1))] for row in range(4) for column in range(4)]
        np.testing.assert_allclose(boxes[:, [0, 2]], cells, atol=1.5)
    for picture, found in zip(job.validation[:20], answers(bundle, job, "detect.tflite"), strict=False):
        assert len(found.items) == len(picture.boxes)
        for item in found.items:
            assert max(overlap(item.box, box.box) for box in picture.boxes if box.index == item.index) > 0.8


def test_decoding_stays_float_in_int8_tflite(converted):
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    _, bundle = converted("detect")
    kind = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(str(bundle.path("detect.tflite")), experimental_op_resolver_type=kind)
    details = {int(one["index"]): one for one in interpreter.get_tensor_details()}
    decoded, others = [], []
    for op in interpreter._get_ops_details():
        written = details[int(op["outputs"][0])]
        inside = "FloatDecode" in written["name"] or written["name"].endswith("_output")
        (decoded if inside else others).append((op["op_name"], written["dtype"].__name__))
    assert {"EXP", "LOGISTIC"} <= {name for name, _ in decoded}
    assert {kind for _, kind in decoded} == {"float32"}
    assert [kind for name, kind in others if name == "CONV_2D"] == ["int8", "int8"]


def test_decoding_stays_float_in_int8_onnx(converted):
    import onnx

    _, bundle = converted("detect")
    graph = onnx.load(str(bundle.path("detect-onnx_qdq_wu8_au8.onnx"))).graph
    decoded = [node for node in graph.node if "FloatDecode" in node.name]
    assert {"Exp", "Sigmoid"} <= {node.op_type for node in decoded}
    written = {output for node in decoded for output in node.output}
    quantized = {node.input[0] for node in graph.node if node.op_type == "QuantizeLinear"}
    assert not written & quantized
    assert sum(node.op_type == "Conv" for node in graph.node) == 2
    assert len(quantized) >= 2


def test_no_decoding_means_no_float_layer(converted):
    _, bundle = converted("text")
    layers = read_record(bundle).layers
    assert [layer.operation for layer in layers].count("CONV_2D") == 2


def test_a_classifier_may_be_judged_by_its_mean_f1(job, cache, tmp_path):
    from sklearn.metrics import f1_score

    limits = QualityLimits(metric="macro_f1", max_drop_points=3, max_drop_upper_points=9)
    bundle = open_bundle(convert(replace(job, limits=limits, out=tmp_path / "f1"), cache=cache, progress=False))
    proof = read_trained_proof(bundle)
    assert proof.metric == "macro_f1"
    truths = [picture.label for picture in job.validation]
    for file, score in ((proof.reference, proof.score.value), ("classify.tflite", proof.artifacts[0].accuracy)):
        said = [found.headline.label for found in answers(bundle, job, file)]
        assert 100 * f1_score(truths, said, average="macro") == pytest.approx(score, abs=1e-3)


def test_an_embedding_that_turns_too_far_is_refused(job, cache, tmp_path):
    asked = KINDS["match"](job, tmp_path / "pictures", tmp_path / "match")
    asked = replace(asked, recipes=(recipes.STATIC_INT8,), limits=QualityLimits(min_cosine=0.9999999))
    with pytest.raises(EdgeloopError, match=r"static_wi8_ai8: output 'embedding' has cosine 0\.9\d+, at least 1\.0000"):
        convert(asked, cache=cache, progress=False)
    assert not any(path.name.startswith((".match", "match")) for path in tmp_path.iterdir())
