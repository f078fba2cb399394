from __future__ import annotations

import pytest
from tiny_bundles import bundle_fields

from edge.bundle.manifest import (
    ArtifactFormat,
    ArtifactSpec,
    BundleManifest,
    Decoder,
    DetectSpec,
    MatchSpec,
    OutputKind,
    OutputSpec,
    PreprocessSpec,
    StageInput,
    StageSpec,
    Task,
    TextSpec,
)
from edge.keep.context import KeepContext, context_of


def stage(name: str, task: Task, **fields: object) -> StageSpec:
    return StageSpec(
        name=name,
        task=task,
        preprocess=PreprocessSpec(width=8, height=8),
        artifacts=(ArtifactSpec(file="m.onnx", format=ArtifactFormat.ONNX, recipe="fp32", tolerance=0.0),),
        **{"outputs": (OutputSpec(name="o", kind=OutputKind.LOGITS, shape=(1, 3)),), **fields},
    )


DETECT = stage("find", Task.DETECT, detect=DetectSpec(decoder=Decoder.YOLO, score_threshold=0.4), labels=("bottle",))
CLASSIFY = stage("sort", Task.CLASSIFY, reads=StageInput.CROPS)
HEADS = stage(
    "heads",
    Task.ATTRIBUTES,
    reads=StageInput.CROPS,
    outputs=tuple(
        OutputSpec(name=name, kind=OutputKind.LOGITS, shape=(1, 2), labels=labels)
        for name, labels in (("shape", ("round", "long")), ("colour", ("red", "white")))
    ),
)
MATCH = stage("match", Task.MATCH, reads=StageInput.CROPS, match=MatchSpec(gallery=("g",)))
TEXT = stage("read", Task.TEXT, reads=StageInput.CROPS, text=TextSpec(charset="abc"))


@pytest.mark.parametrize(
    ("stages", "galleries", "expected"),
    [
        ((stage("sort", Task.CLASSIFY),), {}, KeepContext()),
        ((DETECT,), {}, KeepContext(score_threshold=0.4)),
        (
            (DETECT, CLASSIFY),
            {},
            KeepContext(score_threshold=0.4, known_labels=(frozenset({"bottle"}), frozenset("xy"))),
        ),
        (
            (DETECT, MATCH, TEXT),
            {"match": ("cola", "tea")},
            KeepContext(
                score_threshold=0.4,
                known_labels=(frozenset({"bottle"}), frozenset({"cola", "tea"}), frozenset()),
            ),
        ),
        (
            (DETECT, HEADS, MATCH),
            {},
            KeepContext(
                score_threshold=0.4,
                known_labels=(frozenset({"bottle"}), frozenset({"round", "long", "red", "white"}), frozenset("xy")),
            ),
        ),
    ],
)
def test_context_of_a_bundle(
    stages: tuple[StageSpec, ...], galleries: dict[str, tuple[str, ...]], expected: KeepContext
) -> None:
    fields = {**bundle_fields(labels=("x", "y")), "stages": stages}
    manifest = BundleManifest(golden_file="golden.json", files=(), **fields)
    assert context_of(manifest, gallery_labels=galleries) == expected
