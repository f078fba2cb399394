"""The golden vectors of detectors: the edge, the slow definition and the committed files agree."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from make_detect_vectors import vector_files

from device_tests.detections import DETECT_VECTORS, check_detect, detect_paths, load_detect
from device_tests.plan import MismatchError
from edge.bundle.manifest import Decoder
from edge.types import Detections


@pytest.mark.parametrize("path", detect_paths(), ids=lambda path: path.stem)
def test_edge_finds_what_the_definition_finds(path: Path) -> None:
    check_detect(path.stem, load_detect(path))


def test_files_are_what_the_generator_makes(update_goldens: bool) -> None:
    made = vector_files()
    if update_goldens:
        for name, content in made.items():
            (DETECT_VECTORS / name).write_bytes(content)
    assert {path.name: path.read_bytes() for path in detect_paths()} == made, "run tests/edge/make_detect_vectors.py"


def test_every_decoder_is_there_answered() -> None:
    answered = [vector.stage.detect for vector in map(load_detect, detect_paths()) if vector.detections is not None]
    assert {spec.decoder for spec in answered if spec is not None} == set(Decoder)


def test_a_vector_can_fail() -> None:
    vector = load_detect(DETECT_VECTORS / "detect-yolo-corners.json")
    first, *others = vector.detections.items
    near = dataclasses.replace(first, score=first.score - 1e-5)
    far = dataclasses.replace(first, box=dataclasses.replace(first.box, top=first.box.top + 0.01))
    for items in ((near, *others), (far, *others), tuple(others), (dataclasses.replace(first, index=9), *others)):
        changed = dataclasses.replace(vector, detections=dataclasses.replace(vector.detections, items=items))
        with pytest.raises(MismatchError, match="changed: "):
            check_detect("changed", changed)
    missed = dataclasses.replace(vector, detections=dataclasses.replace(vector.detections, nearest_miss=0.1))
    with pytest.raises(MismatchError, match="nearest miss is"):
        check_detect("missed", missed)
    refused = dataclasses.replace(vector, detections=None, refused="no")
    with pytest.raises(MismatchError, match="answered, must be refused with 'no'"):
        check_detect("refused", refused)
    misshapen = load_detect(DETECT_VECTORS / "detect-refused-places.json")
    for change in ({"detections": Detections(items=())}, {"refused": "something else"}):
        with pytest.raises(MismatchError, match="refused with \"output 'scores' must be"):
            check_detect("other", dataclasses.replace(misshapen, **change))
