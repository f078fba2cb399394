from __future__ import annotations

import json
import struct
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_bundles import MARK

from edge import jsonvalue
from edge.bundle.golden import pack_values, unpack_values
from edge.bundle.golden_reader import load_golden
from edge.bundle.manifest import ArtifactSpec, StageSpec
from edge.bundle.reader import Bundle, open_bundle
from edge.errors import MissingExtraError, SelfTestError, UsageError
from edge.update import selftest
from edge.update.selftest import hardware_fingerprint, self_test

MODELS = ("tiny_fp32.tflite", "tiny_fp32.onnx")


def with_tolerance(bundle: Bundle, tolerance: float) -> Bundle:
    """The same bundle, as if its manifest stated another tolerance."""

    def changed(stage: StageSpec) -> StageSpec:
        artifacts: tuple[ArtifactSpec, ...] = tuple(replace(item, tolerance=tolerance) for item in stage.artifacts)
        return replace(stage, artifacts=artifacts)

    stages = tuple(changed(stage) for stage in bundle.manifest.stages)
    return replace(bundle, manifest=replace(bundle.manifest, stages=stages))


def edit_golden(bundle: Bundle, edit: Callable[[dict], None]) -> None:
    """Changes the golden index behind the digests' back."""
    path = bundle.folder / "golden.json"
    value = json.loads(path.read_bytes())
    edit(value)
    path.write_bytes(jsonvalue.canonical_bytes(value))


def shift(bundle: Bundle, by: float, *, vector: int = 2) -> None:
    """Moves one golden value of the TFLite model."""

    def edit(golden: dict) -> None:
        values = unpack_values(load_golden(bundle).vectors[vector].outputs[0])
        values[0, 0] += by
        golden["vectors"][vector]["outputs"][0]["values"] = pack_values(values)

    edit_golden(bundle, edit)


@pytest.fixture
def bundle(tiny_bundle: Path) -> Bundle:
    return open_bundle(tiny_bundle)


def test_whole_bundle_passes(bundle: Bundle) -> None:
    self_test(bundle)
    self_test(bundle, artifacts=("tiny_fp32.onnx",))


def test_same_machine_passes_with_tolerance_zero(bundle: Bundle) -> None:
    self_test(with_tolerance(bundle, 0.0))


def test_tolerance_zero_means_equal_to_the_last_bit(bundle: Bundle) -> None:
    exact = with_tolerance(bundle, 0.0)
    shift(bundle, 1e-6)
    self_test(bundle)
    with pytest.raises(SelfTestError, match=r"tiny_fp32\.tflite: golden vector golden-2\.png: output 'logits' must be"):
        self_test(exact)


def test_tolerance_is_a_share_of_the_range(bundle: Bundle) -> None:
    values = [unpack_values(vector.outputs[0]) for vector in load_golden(bundle).vectors]
    value_range = max(v.max() for v in values) - min(v.min() for v in values)
    shift(bundle, 0.9e-4 * value_range)
    self_test(bundle)
    shift(bundle, 0.3e-4 * value_range)
    with pytest.raises(
        SelfTestError, match=r"tiny_fp32\.tflite: golden vector golden-2\.png: output 'logits' differs by"
    ):
        self_test(bundle)
    self_test(bundle, artifacts=("tiny_fp32.onnx",))
    self_test(with_tolerance(bundle, 2e-4))


@pytest.mark.parametrize(("field", "value"), [("label", "blue"), ("outcome", "unknown")])
def test_other_decision_or_label_fails_whatever_the_values(field: str, value: str, bundle: Bundle) -> None:
    def edit(golden: dict) -> None:
        golden["vectors"][0]["outputs"][1][field] = value

    edit_golden(bundle, edit)
    with pytest.raises(
        SelfTestError, match=r"tiny_fp32\.onnx: golden vector golden-0\.png: says 'red', accept; expected"
    ):
        self_test(with_tolerance(bundle, 100.0))


@pytest.mark.parametrize("name", MODELS)
def test_flipped_byte_in_the_weights_is_found_without_the_digests(name: str, bundle: Bundle) -> None:
    """The digest check is bypassed: the bundle was opened before the file was damaged."""
    path = bundle.folder / name
    data = path.read_bytes()
    weight = struct.pack("<f", 7.0)
    for start in (data.index(MARK), data.index(weight)):
        for offset in (2, 3):
            damaged = bytearray(data)
            damaged[start + offset] ^= 0x7F
            path.write_bytes(damaged)
            with pytest.raises(SelfTestError, match=name):
                self_test(bundle)
    path.write_bytes(data)
    self_test(bundle)


@pytest.mark.parametrize("name", MODELS)
def test_exact_tolerance_finds_every_flipped_bit_of_a_weight(name: str, bundle: Bundle) -> None:
    path = bundle.folder / name
    data = path.read_bytes()
    start = data.index(struct.pack("<f", 7.0))
    exact = with_tolerance(bundle, 0.0)
    for bit in range(8, 32):
        damaged = bytearray(data)
        damaged[start + bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(SelfTestError, match=name):
            self_test(exact, artifacts=(name,))


@pytest.mark.parametrize("name", MODELS)
def test_truncated_model_is_a_self_test_error(name: str, bundle: Bundle) -> None:
    path = bundle.folder / name
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(SelfTestError, match=f"^{name}: not a usable"):
        self_test(bundle)


def test_golden_picture_damaged_or_of_another_size(bundle: Bundle, picture_bytes: Callable[..., bytes]) -> None:
    path = bundle.folder / "golden-1.png"
    path.write_bytes(picture_bytes("green", size=(33, 32)))
    with pytest.raises(SelfTestError, match=r"golden-1\.png: is not of the model's size"):
        self_test(bundle)
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(SelfTestError, match=r"golden-1\.png: damaged"):
        self_test(bundle)


def test_only_what_can_run_is_tested(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    (bundle.folder / "tiny_fp32.tflite").write_bytes(b"broken")
    for name in ("ai_edge_litert", "tflite_runtime"):
        monkeypatch.setitem(sys.modules, name, None)
    for name in [name for name in sys.modules if name.startswith("ai_edge_litert.")]:
        monkeypatch.delitem(sys.modules, name)
    self_test(bundle)
    with pytest.raises(MissingExtraError, match="ai-edge-litert"):
        self_test(bundle, artifacts=("tiny_fp32.tflite",))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(SelfTestError, match=r"no runtime for any of tiny_fp32\.tflite, tiny_fp32\.onnx"):
        self_test(bundle)


def test_artifact_that_does_not_exist(bundle: Bundle) -> None:
    with pytest.raises(UsageError, match=r"no artifact gone\.onnx"):
        self_test(bundle, artifacts=("gone.onnx",))
    with pytest.raises(UsageError, match=r"no artifact \(none\)"):
        self_test(bundle, artifacts=())


def test_fingerprint_is_stable_and_names_runtime_and_processor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = hardware_fingerprint()
    assert first == hardware_fingerprint()
    processor, version = selftest._processor, selftest._version
    monkeypatch.setattr(selftest, "_version", lambda name: version(name) + ".post1")
    assert hardware_fingerprint() != first
    monkeypatch.setattr(selftest, "_version", version)
    monkeypatch.setattr(selftest, "_processor", lambda path: ["model name : another"])
    assert hardware_fingerprint() != first
    assert processor(tmp_path / "gone")
    (tmp_path / "cpuinfo").write_text("processor : 0\nmodel name : A\nMHz : 1\n\nprocessor : 1\nmodel name : B\n")
    assert processor(tmp_path / "cpuinfo") == ["model name : A"]
