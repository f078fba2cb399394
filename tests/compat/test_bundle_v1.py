"""A bundle of format version 1 opens for ever, under the digest it was published with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edge.bundle.archive import pack, unpack
from edge.bundle.golden_reader import load_golden
from edge.engine import open_engine
from edge.update.selftest import self_test

ARCHIVE = Path(__file__).resolve().parent / "bundle_v1.edgebundle"
DIGEST = "471fd3ed5f2c745a9b09c6dd7c1ff502d50018f7de62b3306b9eadef9397d41c"


def test_a_bundle_of_version_1_opens_passes_and_answers(tmp_path: Path, picture_bytes: Callable[..., bytes]) -> None:
    bundle = unpack(ARCHIVE, tmp_path / "bundle")
    assert bundle.digest == DIGEST
    assert bundle.manifest.format_version == 1
    assert bundle.manifest.labels == ("red", "green", "blue")
    assert len(load_golden(bundle).vectors) == 4
    self_test(bundle)
    for artifact in ("tflite", "onnx"):
        with open_engine(bundle, artifact=artifact) as engine:
            assert engine.infer(picture_bytes("green")).prediction.top[0].label == "green"


def test_packing_it_again_gives_the_same_archive(tmp_path: Path) -> None:
    unpack(ARCHIVE, tmp_path / "bundle")
    pack(tmp_path / "bundle", tmp_path / "again.edgebundle")
    assert (tmp_path / "again.edgebundle").read_bytes() == ARCHIVE.read_bytes()
