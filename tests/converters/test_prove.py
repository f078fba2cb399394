from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from foreign_models import LABELS, colour_model, fixed_model, write_colours, write_labels
from PIL import Image

from converters.cli import bundle as bundle_command
from converters.foreign.imported_proof import read_proof
from converters.foreign.job import ImportJob
from converters.foreign.told import InputRange, Told
from converters.importing import import_model
from converters.proving import ProveJob, prove_bundle
from edge.bundle.golden_reader import load_golden
from edge.bundle.manifest import ChannelOrder, QualityLimits, Task, Verdict
from edge.bundle.reader import open_bundle
from edge.engine import open_engine
from edge.errors import BundleError, EdgeloopError, UsageError
from edge.update.selftest import self_test

BYTES = Told(input_range=InputRange.BYTES)
BGR = Told(input_range=InputRange.BYTES, channels=ChannelOrder.BGR)


def imported(tmp_path: Path, name: str = "out", told: Told = BYTES) -> Path:
    model = colour_model(tmp_path / f"{name}.onnx")
    labels = write_labels(tmp_path / "labels.txt")
    job = ImportJob(model=model, out=tmp_path / name, task=Task.CLASSIFY, labels=labels, told=told)
    return import_model(job).bundle.folder


def test_a_proven_bundle_is_an_ordinary_one(tmp_path):
    folder, data = imported(tmp_path), write_colours(tmp_path / "data", each=40)
    bundle, proof = prove_bundle(ProveJob(bundle=folder, data=data, out=folder, min_points=90))
    assert (proof.verdict, proof.metric, proof.num_pictures) == (Verdict.PASS, "top1", 120)
    assert (proof.score.value, proof.score.upper) == (100.0, 100.0)
    assert proof.score.lower == pytest.approx(100 * 120 / (120 + 1.959964**2), abs=1e-4)
    assert open_bundle(folder).digest == bundle.digest
    assert read_proof(bundle) == proof
    with open_engine(folder) as engine:  # without allow_unproven
        assert engine.infer(data / "red" / "0.png").prediction.headline.label == "red"
    assert len(load_golden(bundle).vectors) == 12
    self_test(bundle)


def test_an_import_does_not_replace_a_proof(tmp_path):
    folder, data = imported(tmp_path), write_colours(tmp_path / "data", each=4)
    imported(tmp_path)  # over an unproven one it may go
    bundle, _ = prove_bundle(ProveJob(bundle=folder, data=data, out=folder, min_points=90))
    with pytest.raises(UsageError, match=r"out is a proven bundle \(undecided\)"):
        imported(tmp_path)
    assert open_bundle(folder).digest == bundle.digest


def test_too_few_pictures_are_undecided(tmp_path):
    folder, data = imported(tmp_path), write_colours(tmp_path / "data", each=4)
    bundle, proof = prove_bundle(ProveJob(bundle=folder, data=data, out=tmp_path / "proven", min_points=90))
    assert proof.verdict is Verdict.UNDECIDED
    assert proof.reason == "gets 100.0 points (75.8 to 100.0), fewer than 90.0 cannot be ruled out"
    assert bundle.manifest.proof.verdict is Verdict.UNDECIDED
    assert open_bundle(folder).manifest.proof.verdict is Verdict.NONE  # what was judged stays as it was


def test_a_model_that_is_not_good_enough_stays_unproven(tmp_path):
    folder, data = imported(tmp_path, told=BGR), write_colours(tmp_path / "data")
    before = (folder / "manifest.json").read_bytes()
    with pytest.raises(BundleError, match=r"not proven: gets 33\.3 points .*, at least 50\.0 are asked"):
        prove_bundle(ProveJob(bundle=folder, data=data, out=folder, min_points=50))
    assert (folder / "manifest.json").read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "out.onnx"]


def test_a_second_proof_replaces_the_first(tmp_path):
    folder, data = imported(tmp_path), write_colours(tmp_path / "data", each=40)
    first = prove_bundle(ProveJob(bundle=folder, data=data, out=folder, min_points=90))[0]
    again = prove_bundle(ProveJob(bundle=folder, data=data, out=folder, min_points=90))[0]
    assert again.digest == first.digest
    shutil.rmtree(data / "blue")
    smaller = prove_bundle(ProveJob(bundle=folder, data=data, out=folder, min_points=50))[0]
    assert smaller.digest != first.digest
    names = {entry.name for entry in smaller.manifest.files}
    assert {vector.input_file for vector in load_golden(smaller).vectors} == {n for n in names if n.endswith(".png")}


def test_a_drop_against_the_float_model(tmp_path):
    data = write_colours(tmp_path / "data", each=60)
    same = ProveJob(bundle=imported(tmp_path), data=data, out=tmp_path / "x", reference=imported(tmp_path, "float"))
    bundle, proof = prove_bundle(same)
    assert (proof.verdict, proof.reference.drop.value, proof.reference.agreement) == (Verdict.PASS, 0.0, 1.0)
    # 180 pictures without one that got worse: the exact bound of an event that was never seen.
    assert proof.reference.drop.upper == pytest.approx(100 * (1 - 0.025 ** (1 / 180)))
    assert bundle.manifest.proof.drop_upper_points == proof.reference.drop.upper
    worse = ProveJob(bundle=imported(tmp_path, "bgr", BGR), data=data, out=tmp_path / "y", reference=same.reference)
    with pytest.raises(BundleError, match=r"loses 66\.67 points, at most 1\.00 are allowed"):
        prove_bundle(worse)


def test_the_reference_may_be_a_model_file(tmp_path):
    data = write_colours(tmp_path / "data", each=60)
    job = ProveJob(
        bundle=imported(tmp_path), data=data, out=tmp_path / "x", reference=colour_model(tmp_path / "float.onnx")
    )
    assert prove_bundle(job)[1].reference.model == "float.onnx"


def test_both_measures_count_and_the_worse_one_decides(tmp_path):
    data = write_colours(tmp_path / "data", each=40, wrong=20)
    job = ProveJob(
        bundle=imported(tmp_path),
        data=data,
        out=tmp_path / "x",
        reference=imported(tmp_path, "float"),
        min_points=90,
        limits=QualityLimits(max_drop_upper_points=5),
    )
    with pytest.raises(BundleError, match=r"gets 85\.7 points"):
        prove_bundle(job)


def test_a_model_that_is_too_large(tmp_path):
    data = write_colours(tmp_path / "data", each=40)
    limits = QualityLimits(max_size_bytes=10)
    with pytest.raises(BundleError, match="bytes, at most 10 are allowed"):
        prove_bundle(ProveJob(bundle=imported(tmp_path), data=data, out=tmp_path / "x", min_points=50, limits=limits))


def detector(tmp_path: Path) -> Path:
    """Always says: one red thing in the upper left quarter, one green thing in the lower right one."""
    rows = np.zeros((1, 30, 6), dtype=np.float32)
    rows[0, :2] = [[0, 0, 8, 8, 0.9, 0], [8, 8, 16, 16, 0.85, 1]]
    model = fixed_model(tmp_path / "d.onnx", {"out": rows})
    labels = write_labels(tmp_path / "labels.txt")
    job = ImportJob(model=model, out=tmp_path / "detector", task=Task.DETECT, labels=labels, told=BYTES)
    return import_model(job).bundle.folder


VOC = "<annotation>{}</annotation>"
THING = (
    "<object><name>{}</name><difficult>{}</difficult><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax>"
    "<ymax>{}</ymax></bndbox></object>"
)


def voc(folder: Path, things: list[list[tuple[object, ...]]]) -> Path:
    (folder / "pictures").mkdir(parents=True)
    (folder / "boxes").mkdir()
    for number, boxes in enumerate(things):
        Image.new("RGB", (32, 32), (number, 0, 0)).save(folder / "pictures" / f"{number}.png")
        (folder / "boxes" / f"{number}.xml").write_text(VOC.format("".join(THING.format(*box) for box in boxes)))
    return folder


RED, GREEN = ("red", 0, 1, 1, 16, 16), ("green", 0, 17, 17, 32, 32)


def test_a_detector_is_judged_by_its_average_precision(tmp_path):
    data = voc(tmp_path / "data", [[RED, GREEN]] * 8)
    bundle, proof = prove_bundle(ProveJob(bundle=detector(tmp_path), data=data, out=tmp_path / "x", min_points=90))
    assert (proof.metric, proof.score.value, proof.verdict) == ("ap50", 100.0, Verdict.PASS)
    with open_engine(bundle) as engine:
        assert len(engine.infer(data / "pictures" / "0.png").prediction.items) == 2


def test_a_detector_that_misses_half(tmp_path):
    data = voc(tmp_path / "data", [[RED], [RED, GREEN]])
    with pytest.raises(BundleError, match=r"gets 75\.0 points"):
        prove_bundle(ProveJob(bundle=detector(tmp_path), data=data, out=tmp_path / "x", min_points=90))


def test_yolo_files_with_names_of_their_own(tmp_path):
    folder = tmp_path / "data"
    for place in ("images", "labels"):
        (folder / place).mkdir(parents=True)
    (folder / "data.yaml").write_text("path: .\nnames:\n- 'blue'\n- green\n- red\nnc: 3\n")
    for number in range(8):
        Image.new("RGB", (32, 32), (number, 0, 0)).save(folder / "images" / f"{number}.png")
        (folder / "labels" / f"{number}.txt").write_text("2 0.25 0.25 0.5 0.5\n1 0.75 0.75 0.5 0.5\n")
    job = ProveJob(bundle=detector(tmp_path), data=folder, out=tmp_path / "x", min_points=90)
    assert prove_bundle(job)[1].score.value == 100.0


def no_measure(tmp_path: Path) -> ProveJob:
    return ProveJob(bundle=imported(tmp_path), data=write_colours(tmp_path / "data"), out=tmp_path / "x")


def no_data(tmp_path: Path) -> ProveJob:
    return ProveJob(bundle=imported(tmp_path), data=tmp_path / "gone", out=tmp_path / "x", min_points=1)


def empty_data(tmp_path: Path) -> ProveJob:
    (tmp_path / "data").mkdir()
    return ProveJob(bundle=imported(tmp_path), data=tmp_path / "data", out=tmp_path / "x", min_points=1)


def other_class(tmp_path: Path) -> ProveJob:
    write_colours(tmp_path / "data")
    (tmp_path / "data" / "blue").rename(tmp_path / "data" / "mauve")
    return ProveJob(bundle=imported(tmp_path), data=tmp_path / "data", out=tmp_path / "x", min_points=1)


def damaged_picture(tmp_path: Path) -> ProveJob:
    path = write_colours(tmp_path / "data") / "red" / "0.png"
    path.write_bytes(path.read_bytes()[:60])
    return ProveJob(bundle=imported(tmp_path), data=tmp_path / "data", out=tmp_path / "x", min_points=1)


def no_bundle(tmp_path: Path) -> ProveJob:
    return ProveJob(bundle=tmp_path, data=write_colours(tmp_path / "data"), out=tmp_path / "x", min_points=1)


def no_boxes(tmp_path: Path) -> ProveJob:
    return ProveJob(bundle=detector(tmp_path), data=write_colours(tmp_path / "data"), out=tmp_path / "x", min_points=1)


def damaged_boxes(tmp_path: Path) -> ProveJob:
    data = voc(tmp_path / "data", [[RED]])
    (data / "boxes" / "0.xml").write_text("<annotation><object>")
    return ProveJob(bundle=detector(tmp_path), data=data, out=tmp_path / "x", min_points=1)


def swelling_boxes(tmp_path: Path) -> ProveJob:
    data = voc(tmp_path / "data", [[RED]])
    (data / "boxes" / "0.xml").write_text('<!DOCTYPE a [<!ENTITY b "cc">]><a>&b;</a>')
    return ProveJob(bundle=detector(tmp_path), data=data, out=tmp_path / "x", min_points=1)


def boxes_without_picture(tmp_path: Path) -> ProveJob:
    data = voc(tmp_path / "data", [[RED]])
    (data / "pictures" / "0.png").unlink()
    return ProveJob(bundle=detector(tmp_path), data=data, out=tmp_path / "x", min_points=1)


def unknown_thing(tmp_path: Path) -> ProveJob:
    data = voc(tmp_path / "data", [[("mauve", 0, 1, 1, 5, 5)]])
    return ProveJob(bundle=detector(tmp_path), data=data, out=tmp_path / "x", min_points=1)


def other_labels(tmp_path: Path) -> ProveJob:
    labels = write_labels(tmp_path / "others.txt", ("one", "two", "three"))
    model = colour_model(tmp_path / "others.onnx")
    job = ImportJob(model=model, out=tmp_path / "others", task=Task.CLASSIFY, labels=labels, told=BYTES)
    reference = import_model(job).bundle.folder
    data = write_colours(tmp_path / "data")
    return ProveJob(bundle=imported(tmp_path), data=data, out=tmp_path / "x", reference=reference)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (no_measure, "what is good enough? (give --min-accuracy POINTS, or --reference with the float model)"),
        (no_data, "no folder"),
        (empty_data, "no pictures in"),
        (other_class, "'mauve' is not a label of the bundle"),
        (damaged_picture, "red/0.png: damaged"),
        (no_bundle, "not a bundle: manifest.json"),
        (no_boxes, "it needs Pascal VOC files"),
        (damaged_boxes, "0.xml: not a Pascal VOC annotation"),
        (swelling_boxes, "0.xml: declares entities"),
        (boxes_without_picture, "0.xml: there is no picture '0' beside it"),
        (unknown_thing, "'mauve' is not a label of the bundle"),
        (other_labels, "it has another task or other labels"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, make, message):
    job = make(tmp_path)
    with pytest.raises(EdgeloopError) as caught:
        prove_bundle(job)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not job.out.exists()
    assert not list(tmp_path.glob(".*"))


def test_a_trained_bundle_is_not_judged_again(tmp_path, tiny_bundle):
    data = write_colours(tmp_path / "data")
    with pytest.raises(EdgeloopError, match="its proof was made when it was converted"):
        prove_bundle(ProveJob(bundle=tiny_bundle, data=data, out=tmp_path / "x", min_points=1))


def test_the_command(tmp_path):
    folder, data = imported(tmp_path), write_colours(tmp_path / "data", each=40)
    words = ["prove", folder, "--data", data, "--min-accuracy", "90"]
    done = CliRunner().invoke(bundle_command, [str(word) for word in words])
    assert done.exit_code == 0, done.exception
    lines = done.stdout.splitlines()
    assert lines == ["pass: gets 100.0 points (96.9 to 100.0), at least 90.0 are asked", f"wrote {folder}"]
    assert "proof      pass, gets 100.0 points" in CliRunner().invoke(bundle_command, ["show", str(folder)]).stdout
    again = CliRunner().invoke(bundle_command, [str(word) for word in [*words, "--json"]])
    value = json.loads(again.stdout)
    assert (value["proof"]["kind"], value["proof"]["verdict"]) == ("imported", "pass")
    assert tuple(json.loads((folder / "manifest.json").read_bytes())["labels"]) == LABELS
