from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from converters.bundle_writer import BundleDraft, finished_bundle, working_folder, write_bundle
from edge import durable
from edge.bundle.manifest import ArtifactFormat, Verdict
from edge.bundle.reader import open_bundle
from edge.errors import BundleError, SelfTestError, StorageError, UsageError

KILLED = """
import os, pickle, signal, sys
from pathlib import Path
from converters.bundle_writer import working_folder, write_bundle
from edge import durable

draft, out, point = pickle.loads(Path(sys.argv[1]).read_bytes()), Path(sys.argv[2]), int(sys.argv[3])
count = 0
def die(name):
    global count
    count += 1
    if count == point:
        os.kill(os.getpid(), signal.SIGKILL)
durable.observe(die)
with working_folder(out) as work:
    print(write_bundle(draft, out, work=work, job="7" * 64).digest)
"""


class Stopped(BaseException):
    """As good as a kill for code that must not catch it."""


def write(draft: BundleDraft, out: Path, job: str = "7" * 64) -> str:
    with working_folder(out) as work:
        return write_bundle(draft, out, work=work, job=job).digest


def nothing_but(folder: Path, *names: str) -> bool:
    return sorted(path.name for path in folder.iterdir()) == sorted(names)


def test_a_written_bundle_opens_and_is_known_again(draft, tmp_path):
    out = tmp_path / "new" / "shapes"
    digest = write(draft, out)
    opened = open_bundle(out)
    assert opened.digest == digest
    assert finished_bundle(out, "7" * 64) == opened
    assert finished_bundle(out, "8" * 64) is None
    assert nothing_but(out.parent, "shapes", ".shapes.job.json")
    assert "measurements.json" not in {entry.name for entry in opened.manifest.files}
    assert (out / "measurements.json").is_file()


def test_measurements_lie_outside_the_digest(draft, tmp_path):
    later = replace(draft, measurements=replace(draft.measurements, created_at=1.0, machine="another"))
    assert write(draft, tmp_path / "a") == write(later, tmp_path / "b")


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.NONE])
def test_a_bundle_without_a_proof_that_holds_cannot_be_written(draft, tmp_path, verdict):
    proofs = draft.proof.artifacts
    failed = replace(draft.proof, artifacts=(replace(proofs[0], verdict=verdict, reason="because"), *proofs[1:]))
    with pytest.raises(BundleError, match=r"classify.tflite was not proven: because"):
        write(replace(draft, proof=failed), tmp_path / "out")
    assert nothing_but(tmp_path)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda proof: replace(proof, artifacts=()), "the proof is of nothing, not of the bundle's models"),
        (lambda proof: replace(proof, reference=""), "not of the bundle's models"),
        (lambda proof: replace(proof, reference="another.onnx"), "not of the bundle's models"),
        (
            lambda proof: replace(
                proof, artifacts=(replace(proof.artifacts[0], file="classify.onnx"),), reference="classify.tflite"
            ),
            "the proof is of classify.onnx",
        ),
    ],
    ids=["nothing", "no reference", "another reference", "the other way round"],
)
def test_every_model_is_the_reference_or_was_held_against_it(draft, tmp_path, spoil, words):
    with pytest.raises(BundleError, match=words):
        write(replace(draft, proof=spoil(draft.proof)), tmp_path / "out")
    assert nothing_but(tmp_path)


def test_a_reference_that_was_never_compared_with_torch_is_refused(draft, tmp_path):
    others = tuple(parity for parity in draft.record.parity if parity.format is not ArtifactFormat.ONNX)
    assert len(others) == 1
    with pytest.raises(BundleError, match=r"classify\.onnx was not compared with the trained network"):
        write(replace(draft, record=replace(draft.record, parity=others)), tmp_path / "out")
    assert nothing_but(tmp_path)


def test_an_undecided_proof_is_written_with_that_word(draft, tmp_path):
    first, *others = draft.proof.artifacts
    wide = replace(draft.proof, artifacts=(replace(first, verdict=Verdict.UNDECIDED), *others))
    write(replace(draft, proof=wide), tmp_path / "out")
    assert open_bundle(tmp_path / "out").manifest.proof.verdict is Verdict.UNDECIDED


def test_models_that_changed_after_the_proof_are_refused(draft, tmp_path):
    changed = tmp_path / "classify.tflite"
    changed.write_bytes(draft.artifacts[0].path.read_bytes() + b"!")
    swapped = replace(draft, artifacts=(replace(draft.artifacts[0], path=changed), draft.artifacts[1]))
    with pytest.raises(BundleError, match=r"classify.tflite has changed since it was proven"):
        write(swapped, tmp_path / "out")
    assert nothing_but(tmp_path, "classify.tflite")


def test_golden_vectors_that_do_not_hold_leave_no_bundle(draft, tmp_path):
    first, *others = draft.golden.index.vectors
    wrong = replace(first, outputs=tuple(replace(output, label="square") for output in first.outputs))
    other = replace(first, outputs=tuple(replace(output, label="disc") for output in first.outputs))
    wrong = other if first.outputs[0].label == "square" else wrong
    index = replace(draft.golden.index, vectors=(wrong, *others))
    with pytest.raises(SelfTestError, match=r"golden vector golden-00\.png"):
        write(replace(draft, golden=replace(draft.golden, index=index)), tmp_path / "out")
    assert nothing_but(tmp_path)


def test_a_new_version_replaces_the_old_one(draft, tmp_path):
    first = write(draft, tmp_path / "out")
    second = write(replace(draft, version=2), tmp_path / "out", job="9" * 64)
    assert first != second
    assert open_bundle(tmp_path / "out").manifest.version == 2
    assert finished_bundle(tmp_path / "out", "7" * 64) is None


def test_what_is_no_bundle_is_never_replaced(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "holiday.jpg").write_bytes(b"dear")
    with pytest.raises(UsageError, match="is in the way: it is not a bundle"), working_folder(photos):
        pass
    assert (photos / "holiday.jpg").read_bytes() == b"dear"
    assert nothing_but(tmp_path, "photos")


def test_a_place_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot write"), working_folder(tmp_path / "file" / "bundle"):
        pass


@pytest.mark.slow
def test_stopping_at_any_durable_write_leaves_a_whole_bundle_or_none(draft, tmp_path, durable_points):
    expected = write(draft, tmp_path / "whole")
    points = list(durable_points)
    assert points[-1] == "bundle.publish:after"
    assert len(points) > 40
    out = tmp_path / "out"
    for number in range(len(points)):
        seen: list[str] = []

        def stop(name: str, seen: list[str] = seen, number: int = number) -> None:
            seen.append(name)
            if len(seen) == number + 1:
                raise Stopped(name)

        durable.observe(stop)
        with pytest.raises(Stopped):
            write(draft, out)
        durable.observe(None)
        assert seen == points[: number + 1]
        assert not out.exists() or open_bundle(out).digest == expected
        assert not out.exists() or finished_bundle(out, "7" * 64) is not None
    assert out.exists()  # the last stop came after the rename
    assert write(draft, out) == expected


def killed_at(draft_file: Path, out: Path, point: int) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, "-c", KILLED, str(draft_file), str(out), str(point)]
    return subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("part", [0.0, 0.4, 0.9, 1.0], ids=["first", "files", "manifest", "last"])
def test_a_killed_writer_is_resumed_to_the_same_digest(draft, tmp_path, durable_points, part):
    expected = write(draft, tmp_path / "reference")
    point = 1 + round(part * (len(durable_points) - 1))
    draft_file, out = tmp_path / "draft.pickle", tmp_path / "place" / "out"
    draft_file.write_bytes(pickle.dumps(draft))
    assert killed_at(draft_file, out, point).returncode == -9
    assert not out.exists() or open_bundle(out)
    assert (out.parent / ".out.converting").exists() or point == 1
    assert write(draft, out) == expected
    assert nothing_but(out.parent, "out", ".out.job.json")


@pytest.mark.slow
def test_a_writer_killed_at_every_durable_write_is_resumed(draft, tmp_path):
    draft_file = tmp_path / "draft.pickle"
    draft_file.write_bytes(pickle.dumps(draft))
    expected = write(draft, tmp_path / "reference")
    point, kills = 1, 0
    while killed_at(draft_file, tmp_path / "out", point).returncode == -9:
        point, kills = point + 1, kills + 1
        assert not (tmp_path / "out").exists() or open_bundle(tmp_path / "out").digest == expected
    assert kills > 40
    assert open_bundle(tmp_path / "out").digest == expected
