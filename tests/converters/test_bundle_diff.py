from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest
from tiny_bundles import build_bundle, write_manifest

from converters.diff import compare_bundles
from converters.diff_types import BundleDiff, FieldDiff, LabelDiff
from converters.diff_words import diff_lines
from converters.types import Proof
from edge import jsonvalue
from edge.bundle.manifest import ClassDecision, DecisionPolicy, KeepPolicy, ProofSummary, Verdict
from edge.bundle.reader import Bundle, open_bundle


def made(folder: Path, **changes: object) -> Bundle:
    return open_bundle(build_bundle(folder, **changes))


def rewritten(bundle: Bundle, **changes: object) -> Bundle:
    """The same bundle with another manifest over whatever files lie in its folder now."""
    names = [field.name for field in dataclasses.fields(bundle.manifest)]
    fields = {name: getattr(bundle.manifest, name) for name in names}
    return open_bundle(write_manifest(bundle.folder, fields | changes))


def fields_of(diff: BundleDiff) -> dict[str, tuple[object, object]]:
    return {one.field: (one.before, one.after) for one in diff.fields}


def test_a_bundle_does_not_differ_from_itself(tmp_path: Path) -> None:
    diff = compare_bundles(made(tmp_path / "a"), made(tmp_path / "b"))
    assert diff.digests[0] == diff.digests[1]
    assert (diff.fields, diff.labels, diff.artifacts, diff.files, diff.moved_bytes) == ((), (), (), (), 0)
    assert diff.num_golden == (4, 4)
    assert diff_lines(diff) == [f"the same bundle: tiny version 1, digest {diff.digests[0]}"]


def test_another_training_changes_models_proof_and_origin(tmp_path: Path) -> None:
    a, b = made(tmp_path / "a"), made(tmp_path / "b", version=2, flavour=1)
    diff = compare_bundles(a, b)
    assert diff.names == ("tiny version 1", "tiny version 2")
    assert {one.file for one in diff.artifacts} == {"tiny_fp32.tflite", "tiny_fp32.onnx"}
    (tflite,) = (one for one in diff.artifacts if one.file == "tiny_fp32.tflite")
    assert tflite.stage == "classify"
    assert tflite.before.size_bytes == tflite.after.size_bytes
    assert tflite.after.sha256 == hashlib.sha256((b.folder / "tiny_fp32.tflite").read_bytes()).hexdigest()
    assert {"version", "provenance.run", "provenance.snapshot", "provenance.weights"} == set(fields_of(diff))
    changed = {one.name for one in diff.files}
    assert changed == {"tiny_fp32.tflite", "tiny_fp32.onnx", "golden.json"}
    assert diff.moved_bytes == sum((b.folder / name).stat().st_size for name in changed)


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (("red", "green", "cyan"), LabelDiff(stage="", added=("cyan",), removed=("blue",), reordered=False)),
        (("green", "red", "blue"), LabelDiff(stage="", added=(), removed=(), reordered=True)),
        (("blue", "cyan", "red"), LabelDiff(stage="", added=("cyan",), removed=("green",), reordered=True)),
    ],
)
def test_labels(tmp_path: Path, labels: tuple[str, ...], found: LabelDiff) -> None:
    diff = compare_bundles(made(tmp_path / "a"), made(tmp_path / "b", labels=labels))
    assert diff.labels == (found,)
    assert "labels" not in fields_of(diff)


def test_thresholds_are_told_by_field_and_by_class(tmp_path: Path) -> None:
    a = made(tmp_path / "a", decision=_decision(0.8, red=0.9, blue=0.95))
    b = made(tmp_path / "b", decision=_decision(0.7, red=0.85, green=0.9), keep=KeepPolicy(random_fraction=0.1))
    found = fields_of(compare_bundles(a, b))
    assert found["decision.accept_confidence"] == (0.8, 0.7)
    assert found["decision.class_thresholds.red.accept_confidence"] == (0.9, 0.85)
    assert found["decision.class_thresholds.blue"][1] is None
    assert found["decision.class_thresholds.green"][0] is None
    assert found["keep.random_fraction"] == (0.02, 0.1)
    assert len(found) == 5


def _decision(accept: float, **classes: float) -> DecisionPolicy:
    thresholds = (
        ClassDecision(label=name, accept_confidence=one, confirm_confidence=0.2) for name, one in classes.items()
    )
    return DecisionPolicy(accept_confidence=accept, class_thresholds=tuple(thresholds))


def test_preprocess_outputs_and_stages_are_told_by_name(tmp_path: Path) -> None:
    a, b = made(tmp_path / "a"), made(tmp_path / "b")
    (stage,) = b.manifest.stages
    cooler = dataclasses.replace(stage.outputs[0], temperature=2.0)
    warm = dataclasses.replace(stage, outputs=(cooler,), preprocess=dataclasses.replace(stage.preprocess, fill=0))
    found = fields_of(compare_bundles(a, rewritten(b, stages=(warm,))))
    assert found == {
        "stages.classify.outputs.logits.temperature": (1.0, 2.0),
        "stages.classify.preprocess.fill": (114, 0),
    }
    renamed = compare_bundles(a, rewritten(b, stages=(dataclasses.replace(stage, name="sort"),)))
    assert [(one.field, one.before is None) for one in renamed.fields] == [
        ("stages.classify", False),
        ("stages.sort", True),
    ]
    assert {(one.stage, one.before is None) for one in renamed.artifacts} == {("classify", False), ("sort", True)}


def test_a_model_that_is_gone_a_recipe_that_changed_and_what_the_proof_says(tmp_path: Path) -> None:
    a, b = made(tmp_path / "a"), made(tmp_path / "b")
    (stage,) = b.manifest.stages
    int8 = dataclasses.replace(stage.artifacts[0], recipe="static_wi8_ai8")
    (b.folder / int8.file).write_bytes((b.folder / int8.file).read_bytes()[:1848])
    proof = jsonvalue.load(Proof, b.read("proof.json"), where="proof")
    worse = dataclasses.replace(proof.artifacts[0], drop_points=0.8, verdict=Verdict.UNDECIDED, recipe=int8.recipe)
    (b.folder / "proof.json").write_bytes(jsonvalue.canonical_bytes(dataclasses.replace(proof, artifacts=(worse,))))
    (b.folder / "tiny_fp32.onnx").unlink()
    summary = ProofSummary(verdict=Verdict.UNDECIDED, file="proof.json", drop_points=0.8)
    after = rewritten(b, stages=(dataclasses.replace(stage, artifacts=(int8,)),), proof=summary)
    diff = compare_bundles(a, after)
    lines = diff_lines(diff)
    (told,) = (line for line in lines if "tiny_fp32.tflite: fp32" in line)
    assert "fp32 -> static_wi8_ai8, 3,696 bytes -> 1,848 bytes (-50.0 %)" in told
    assert told.endswith("drop 0.00 -> 0.80 points, pass -> undecided")
    assert "model      classify/tiny_fp32.onnx: gone, fp32, 1,866 bytes, drop 0.00 points" in lines
    assert "field      proof.verdict: pass -> undecided" in lines
    assert "file       tiny_fp32.onnx: removed" in lines
    assert lines[-1] == f"update     {diff.moved_bytes:,} bytes would move"


def test_content_that_is_there_under_another_name_does_not_move(tmp_path: Path) -> None:
    a, b = made(tmp_path / "a"), made(tmp_path / "b")
    (b.folder / "copy.png").write_bytes((b.folder / "golden-0.png").read_bytes())
    (b.folder / "twice-1.bin").write_bytes(b"new content")
    (b.folder / "twice-2.bin").write_bytes(b"new content")
    diff = compare_bundles(a, rewritten(b))
    assert [one.name for one in diff.files] == ["copy.png", "twice-1.bin", "twice-2.bin"]
    assert diff.moved_bytes == len(b"new content")


def test_a_bundle_without_golden_vectors_and_proof_can_be_compared(tmp_path: Path) -> None:
    a, b = made(tmp_path / "a"), made(tmp_path / "b", verdict=Verdict.NONE)
    (b.folder / "golden.json").unlink()
    diff = compare_bundles(a, rewritten(b, golden_file=""))
    assert diff.num_golden == (4, 0)
    assert "golden     4 -> 0 vectors" in diff_lines(diff)
    assert diff.artifacts[0].after.drop_points is None
    assert any("drop 0.00 -> unknown points, pass -> none" in line for line in diff_lines(diff))


def test_what_a_terminal_would_obey_is_not_passed_on_and_long_values_are_cut(tmp_path: Path) -> None:
    diff = compare_bundles(made(tmp_path / "a"), made(tmp_path / "b", version=2))
    nasty = FieldDiff(field="provenance.run", before="\x1b[31mred\n", after="x" * 500)
    many = LabelDiff(stage="", added=tuple(f"l{number}" for number in range(25)), removed=(), reordered=False)
    lines = diff_lines(dataclasses.replace(diff, fields=(nasty,), labels=(many,)))
    assert all(line.isprintable() for line in lines)
    assert max(len(line) for line in lines) < 200
    assert any(line.endswith("l9, and 15 more") for line in lines)


def test_the_values_have_a_json_form(tmp_path: Path) -> None:
    diff = compare_bundles(made(tmp_path / "a"), made(tmp_path / "b", version=2, flavour=3))
    value = json.loads(json.dumps(jsonvalue.to_json(diff)))
    assert value["fields"][0] == {"field": "version", "before": 1, "after": 2}
    assert value["artifacts"][0]["before"]["verdict"] == "pass"
