from __future__ import annotations

import hashlib
import itertools
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge.backends.base import RuntimeOptions
from edge.bundle.manifest import (
    BundleManifest,
    DecisionPolicy,
    Origin,
    OutputKind,
    OutputSpec,
    PreprocessSpec,
    StageSpec,
    Verdict,
)
from edge.bundle.reader import open_bundle
from edge.engine import Engine, open_engine
from edge.errors import BackendError, BundleError, ImageError, UsageError
from edge.image.decode import DecodeLimits
from edge.loading import LoadedModels, StageChoice
from edge.types import Outcome, RawOutputs

Pictures = Callable[..., bytes]


@pytest.mark.parametrize("artifact", ["tflite", "onnx", None])
def test_tells_colours_apart(artifact: str | None, tiny_bundle: Path, picture_bytes: Pictures) -> None:
    with open_engine(tiny_bundle, artifact=artifact) as engine:
        for colour in ("red", "green", "blue"):
            data = picture_bytes(colour)
            inference = engine.infer(data)
            assert inference.prediction.top[0].label == colour
            assert inference.decision.outcome is Outcome.ACCEPT
            assert inference.picture_digest == hashlib.sha256(data).hexdigest()
            assert inference.bundle_digest == engine.bundle.digest
            assert inference.artifact == engine.artifact.file
        assert engine.infer(picture_bytes("grey")).decision.outcome is Outcome.UNKNOWN


def test_opens_a_folder_or_an_open_bundle(tiny_bundle: Path) -> None:
    with open_engine(tiny_bundle) as first, open_engine(open_bundle(tiny_bundle), artifact="tiny_fp32.onnx") as second:
        assert first.bundle == second.bundle
        assert (first.artifact.file, second.artifact.file) == ("tiny_fp32.tflite", "tiny_fp32.onnx")
    with pytest.raises(UsageError, match="no artifact 'gone'"):
        open_engine(tiny_bundle, artifact="gone")


def test_checks_the_files_it_reads(tiny_bundle: Path, picture_bytes: Pictures) -> None:
    """A file that is never read may wait for somebody who reads it; a changed size is seen at once."""
    model = tiny_bundle / "tiny_fp32.tflite"
    data = bytearray(model.read_bytes())
    data[1000] ^= 1
    model.write_bytes(data)
    with open_engine(tiny_bundle, artifact="onnx") as engine:
        engine.infer(picture_bytes("red"))
    with pytest.raises(BundleError, match=r"tiny_fp32\.tflite: its SHA-256 is not the manifest's"):
        open_engine(tiny_bundle, artifact="tflite")
    model.write_bytes(data + b"more")
    with pytest.raises(BundleError, match=r"tiny_fp32\.tflite: \d+ bytes, the manifest says"):
        open_engine(tiny_bundle, artifact="onnx")


def test_bytes_path_and_array_agree(tiny_bundle: Path, picture_bytes: Pictures, tmp_path: Path) -> None:
    from PIL import Image

    data = picture_bytes((200, 90, 40))
    path = tmp_path / "picture.png"
    path.write_bytes(data)
    with Image.open(path) as opened:
        array = np.asarray(opened.convert("RGB"))
    with open_engine(tiny_bundle) as engine:
        inferences = [engine.infer(image) for image in (data, path, array)]
    assert len({inference.prediction for inference in inferences}) == 1
    digests = [inference.picture_digest for inference in inferences]
    assert digests[0] == digests[1]
    assert digests[2] == hashlib.sha256(array.tobytes()).hexdigest()


def test_raw_outputs_are_the_logits(tiny_bundle: Path, picture_bytes: Pictures) -> None:
    with open_engine(tiny_bundle) as engine:
        logits = engine.raw(picture_bytes("blue")).by_name["logits"]
    assert logits.shape == (1, 3)
    assert logits.argmax() == 2


def test_timings_come_from_the_clock(tiny_bundle: Path, picture_bytes: Pictures) -> None:
    ticks = itertools.accumulate([100.0, 0.001, 0.020, 0.3])
    with open_engine(tiny_bundle, clock=lambda: next(ticks)) as engine:
        timings = engine.infer(picture_bytes("red")).timings
    assert (timings.preprocess_ms, timings.infer_ms, timings.postprocess_ms) == pytest.approx((1, 20, 300))
    assert timings.total_ms == pytest.approx(321)


def test_bad_picture_names_the_file_and_the_engine_goes_on(
    tiny_bundle: Path, picture_bytes: Pictures, tmp_path: Path
) -> None:
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"not a picture")
    with open_engine(tiny_bundle, limits=DecodeLimits(max_pixels=5000)) as engine:
        with pytest.raises(ImageError, match=r"broken\.jpg: not a JPEG"):
            engine.infer(path)
        with pytest.raises(ImageError, match=r"gone\.jpg: cannot be read"):
            engine.infer(tmp_path / "gone.jpg")
        with pytest.raises(ImageError, match="found float32"):
            engine.infer(np.zeros((4, 4, 3), np.float32))
        with pytest.raises(ImageError, match="100x100 pixels"):
            engine.infer(picture_bytes("red", size=(100, 100)))
        with pytest.raises(ImageError, match=r"picture\.png: cannot be read"):
            engine.infer("picture.png")
        with pytest.raises(ImageError, match="expected bytes, a path or a uint8 array, found int"):
            engine.infer(7)
        assert engine.infer(picture_bytes("red")).prediction.top[0].label == "red"


def test_many_threads_get_the_answers_of_one(tiny_bundle: Path, picture_bytes: Pictures) -> None:
    pictures = [picture_bytes((red, 255 - red, red // 2)) for red in range(0, 256, 8)]
    with open_engine(tiny_bundle) as engine:
        expected = [engine.infer(picture).prediction for picture in pictures]
        answers: dict[tuple[int, int], object] = {}

        def work(worker: int) -> None:
            for number, picture in enumerate(pictures):
                answers[worker, number] = engine.infer(picture).prediction

        threads = [threading.Thread(target=work, args=(worker,)) for worker in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == {(worker, number): answer for worker in range(6) for number, answer in enumerate(expected)}


def test_closed_engine(tiny_bundle: Path, picture_bytes: Pictures) -> None:
    engine = open_engine(tiny_bundle)
    engine.close()
    engine.close()
    with pytest.raises(BackendError, match=r"tiny_fp32\.tflite: the engine is closed"):
        engine.infer(picture_bytes("red"))


@pytest.mark.parametrize(
    ("origin", "verdict", "runs"),
    [
        (Origin.TRAINED, Verdict.PASS, True),
        (Origin.TRAINED, Verdict.UNDECIDED, True),
        (Origin.TRAINED, Verdict.FAIL, False),
        (Origin.TRAINED, Verdict.NONE, False),
        (Origin.IMPORTED, Verdict.NONE, False),
        (Origin.IMPORTED, Verdict.PASS, True),
    ],
)
def test_unproven_bundles_need_a_word(
    origin: Origin, verdict: Verdict, runs: bool, make_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_bundle(tmp_path / "b", origin=origin, verdict=verdict)
    if runs:
        open_engine(folder).close()
        return
    with pytest.raises(BundleError, match=rf"bundle 'tiny' is not proven \(verdict {verdict.value}\)") as caught:
        open_engine(folder)
    assert "--allow-unproven" in caught.value.hint
    open_engine(folder, allow_unproven=True).close()


def other_stage(manifest: BundleManifest, **changes: object) -> StageSpec:
    from dataclasses import replace

    return replace(manifest.stages[0], **changes)


@pytest.mark.parametrize("artifact", ["tflite", "onnx"])
@pytest.mark.parametrize(
    ("changes", "labels", "expected"),
    [
        (
            {"preprocess": PreprocessSpec(width=32, height=31)},
            3,
            r"input has shape \[1, 32, 32, 3\], the manifest says \[1, 31, 32, 3\]",
        ),
        (
            {"outputs": (OutputSpec(name="scores", kind=OutputKind.LOGITS, shape=(1, 3)),)},
            3,
            "output 'scores' is missing, the model gives logits",
        ),
        (
            {"outputs": (OutputSpec(name="logits", kind=OutputKind.LOGITS, shape=(1, 4)),)},
            4,
            r"output 'logits' is float32 \[1, 3\], the manifest says float32 \[1, 4\]",
        ),
        (
            {"outputs": (OutputSpec(name="logits", kind=OutputKind.LOGITS, shape=(3, 1)),)},
            3,
            r"output 'logits' is float32 \[1, 3\], the manifest says float32 \[3, 1\]",
        ),
    ],
)
def test_model_that_is_not_the_manifests(
    artifact: str, changes: dict, labels: int, expected: str, make_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    import json

    from edge import jsonvalue

    folder = make_bundle(tmp_path / "b")
    manifest = open_bundle(folder).manifest
    value = json.loads((folder / "manifest.json").read_bytes())
    value["stages"] = jsonvalue.to_json([other_stage(manifest, **changes)])
    value["labels"] = [f"label-{number}" for number in range(labels)]
    (folder / "manifest.json").write_bytes(jsonvalue.canonical_bytes(value))
    with open_engine(folder, artifact=artifact) as engine:
        for ask in (engine.load, lambda: engine.infer(folder / "golden-0.png")):
            with pytest.raises(BackendError, match=rf"tiny_fp32\.{artifact}: {expected}"):
                ask()


def test_nan_from_the_network_names_file_and_layer(tiny_bundle: Path, picture_bytes: Pictures) -> None:
    class Broken:
        name = "broken"
        input_shape = (1, 32, 32, 3)
        input_dtype = "float32"

        def run(self, tensor: np.ndarray) -> RawOutputs:
            return RawOutputs(by_name={"logits": np.full((1, 3), np.nan, np.float32)})

        def close(self) -> None:
            pass

    bundle = open_bundle(tiny_bundle)
    artifact = bundle.manifest.stages[0].artifacts[0]
    choice = StageChoice(artifact=artifact, options=RuntimeOptions())
    engine = Engine(bundle, LoadedModels(bundle, (choice,), opener=lambda *_: Broken()), (artifact,))
    with pytest.raises(BackendError, match=r"tiny_fp32\.tflite: output 'logits' holds NaN"):
        engine.infer(picture_bytes("red"))


def test_policy_of_the_bundle_decides(
    make_bundle: Callable[..., Path], picture_bytes: Pictures, tmp_path: Path
) -> None:
    strict = make_bundle(tmp_path / "strict", decision=DecisionPolicy(accept_confidence=1.0, confirm_confidence=0.1))
    with open_engine(strict) as engine:
        assert engine.infer(picture_bytes("red")).decision.outcome is Outcome.CONFIRM
        assert engine.infer(picture_bytes("grey")).decision.outcome is Outcome.CONFIRM
