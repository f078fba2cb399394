"""Hostile pictures, models, galleries, lexicons and golden vectors, and runtimes that are not there.

Each row ends in one line that names the file, in Python and on the command line, and leaves nothing behind.
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from damaged_bundles import Edit, edit_golden, edit_manifest, every, replace_file, setting
from damaged_models import ONNX_MODELS, TFLITE_MODELS, nan_model
from device_world import edgeloop, error_line, process_environment
from pipeline_bundles import GALLERY, build_pipeline
from refusals import Commands, content_of
from test_hostile_pictures import REFUSED, SHOWN
from tiny_bundles import MODELS, build_bundle, picture_bytes

from edge.bundle.archive import pack
from edge.bundle.gallery import gallery_bytes
from edge.bundle.reader import open_bundle
from edge.engine import Engine, open_engine
from edge.errors import BackendError, BundleError, EdgeloopError, FormatError, ImageError, SelfTestError
from edge.update.selftest import self_test
from edge.update.slots import Slots

AGAIN = " (the bundle is damaged: fetch or convert it again)"
Damage = Callable[[Path], None]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("whole")
    return {"classifier": build_bundle(folder / "classifier"), "pipeline": build_pipeline(folder / "pipeline")}


@pytest.fixture
def bundle(whole: dict[str, Path], tmp_path: Path) -> Path:
    shutil.copytree(whole["classifier"], tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.fixture
def pipeline(whole: dict[str, Path], tmp_path: Path) -> Path:
    shutil.copytree(whole["pipeline"], tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "red.png"
    path.write_bytes(picture_bytes("red"))
    return path


@pytest.fixture
def commands(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Commands:
    return Commands(tmp_path_factory.mktemp("scratch"), monkeypatch, capfd)


def assert_refused(commands: Commands, bundle: Path, picture: Path, kind: type, *words: str) -> str:
    """Python and the command say the same one line; the command's exit code is 1; nothing changed, nothing new."""
    before = content_of(picture.parent)
    artifact = words[1] if words else None
    with pytest.raises(EdgeloopError) as caught, open_engine(bundle, artifact=artifact) as engine:
        engine.infer(picture)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    drawn = picture.parent / "drawn.png"
    refusal = commands.refused("predict", picture, "--bundle", bundle, "--annotated", drawn, *words)
    assert (refusal.code, refusal.line) == (1, " ".join(str(caught.value).split()))
    assert content_of(picture.parent) == before
    return str(caught.value)


# Pictures.

HOSTILE = [
    "empty", "text with a wrong suffix", "gif", "truncated jpeg", "truncated png", "truncated webp", "jpeg bomb",
    "png bomb", "webp bomb", "50-megapixel png", "50-megapixel webp", "50-megapixel progressive jpeg",
    "zero-sized jpeg", "zero-sized png", "zero-sized webp", "one by a million", "12-bit jpeg",
]  # fmt: skip
ODD = [
    "png with a wrong suffix", "16-bit grey", "16-bit colour", "cmyk", "ycck", "animated webp", "animated png",
    "one bit", "one pixel", "50-megapixel jpeg", "junk after the picture",
]  # fmt: skip


@pytest.fixture(scope="module")
def engine(whole: dict[str, Path]) -> Iterator[Engine]:
    with open_engine(whole["classifier"]) as opened:
        yield opened


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_picture(
    kind: str, engine: Engine, whole: dict[str, Path], commands: Commands, tmp_path: Path
) -> None:
    make, reason = REFUSED[kind]
    path = tmp_path / "holiday.jpg"
    path.write_bytes(make())
    for image, name in ((path, str(path)), (path.read_bytes(), "picture")):
        with pytest.raises(ImageError) as caught:
            engine.infer(image)
        assert str(caught.value).startswith(f"{name}: {reason.removesuffix('…')}")
    assert assert_refused(commands, whole["classifier"], path, ImageError).startswith(f"{path}: ")
    assert engine.infer(picture_bytes("red")).prediction.headline.label == "red"


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_picture_is_answered(
    kind: str, engine: Engine, whole: dict[str, Path], commands: Commands, tmp_path: Path
) -> None:
    path = tmp_path / "holiday.jpg"
    path.write_bytes(SHOWN[kind][0]())
    label = engine.infer(path).prediction.headline.label
    said = commands.answered("predict", path, "--bundle", whole["classifier"])
    assert said.startswith(f"{path}: ")
    assert label in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("make", "said", "of_command", "code"),
    [
        (os.mkfifo, "{}: not a regular file", "{}: not a regular file", 1),
        (lambda path: path.symlink_to("/dev/zero"), "{}: not a regular file", "{}: not a regular file", 1),
        (
            lambda path: path.symlink_to(path),
            "{}: cannot be read: too many levels of symbolic links",
            "no picture {}",
            2,
        ),
    ],
    ids=["a pipe", "a device", "a link to itself"],
)
def test_a_picture_that_is_no_file(
    make: Callable[[Path], None],
    said: str,
    of_command: str,
    code: int,
    engine: Engine,
    whole: dict[str, Path],
    commands: Commands,
    tmp_path: Path,
) -> None:
    path = tmp_path / "picture.png"
    make(path)
    with pytest.raises(ImageError) as caught:
        engine.infer(path)
    assert str(caught.value) == said.format(path)
    refusal = commands.refused("predict", path, "--bundle", whole["classifier"])
    assert (refusal.code, refusal.line) == (code, of_command.format(path))


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (np.zeros((4, 4, 4), np.uint8), "uint8 (4, 4, 4)"),
        (np.zeros((4, 4, 3), np.float32), "float32 (4, 4, 3)"),
        (np.zeros((0, 4, 3), np.uint8), "4x0 pixels"),
    ],
)
def test_an_array_that_is_no_picture(array: np.ndarray, found: str, engine: Engine) -> None:
    with pytest.raises(ImageError) as caught:
        engine.infer(array)
    assert str(caught.value).startswith("picture: ")
    assert found in str(caught.value)


# Models. Sizes and digests are right, so that only the runtime can find out.

_SAYS = {"tflite": "The model is not a valid Flatbuffer buffer", "onnx": "Protobuf parsing failed."}
NO_MODELS: dict[str, Callable[[bytes], bytes]] = {
    "truncated to a byte": lambda good: good[:1],
    "truncated to its signature": lambda good: good[:8],
    "truncated to the half": lambda good: good[: len(good) // 2],
    "truncated by a byte": lambda good: good[:-1],
    "a page of the web": lambda good: b"<html>404 not found</html>",
    "zeros": lambda good: bytes(len(good)),
    "noise": lambda good: np.random.default_rng(1).bytes(len(good)),
    "a picture": lambda good: picture_bytes("red"),
    "a pickle": lambda good: b"\x80\x04\x95\x1a\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x8c\x06system\x93.",
}


@pytest.mark.parametrize("format_", ["tflite", "onnx"])
@pytest.mark.parametrize("kind", NO_MODELS)
def test_a_file_that_is_no_model(kind: str, format_: str, bundle: Path, picture: Path, commands: Commands) -> None:
    file = f"tiny_fp32.{format_}"
    replace_file(bundle, file, NO_MODELS[kind]((bundle / file).read_bytes()))
    said = assert_refused(commands, bundle, picture, BackendError, "--artifact", format_)
    assert said.startswith(f"{file}: not a usable {'TFLite' if format_ == 'tflite' else 'ONNX'} model: ")
    assert _SAYS[format_] in said
    assert said.endswith(" (fetch or convert it again, or update the runtime)")


@pytest.mark.parametrize("format_", ["tflite", "onnx"])
def test_a_model_of_the_other_format_under_the_suffix(
    format_: str, bundle: Path, picture: Path, commands: Commands
) -> None:
    other = "onnx" if format_ == "tflite" else "tflite"
    replace_file(bundle, f"tiny_fp32.{format_}", (MODELS / f"tiny_fp32.{other}").read_bytes())
    said = assert_refused(commands, bundle, picture, BackendError, "--artifact", format_)
    assert said.startswith(f"tiny_fp32.{format_}: not a usable ")


@pytest.mark.parametrize("format_", ["tflite", "onnx"])
def test_an_empty_model(format_: str, bundle: Path, picture: Path, commands: Commands) -> None:
    replace_file(bundle, f"tiny_fp32.{format_}", b"")
    said = assert_refused(commands, bundle, picture, BackendError, "--artifact", format_)
    assert said.startswith(f"tiny_fp32.{format_}: not a usable ")


@pytest.mark.parametrize("format_", ["tflite", "onnx"])
@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("tiny_detector", "input has shape [1, 64, 64, 3], the manifest says [1, 32, 32, 3]"),
        ("tiny_embedder", "output 'logits' is missing, the model gives embedding"),
    ],
)
def test_another_model_in_its_place(
    model: str, reason: str, format_: str, bundle: Path, picture: Path, commands: Commands
) -> None:
    replace_file(bundle, f"tiny_fp32.{format_}", (MODELS / f"{model}.{format_}").read_bytes())
    said = assert_refused(commands, bundle, picture, BackendError, "--artifact", format_)
    assert said == f"tiny_fp32.{format_}: {reason}"


@pytest.mark.parametrize(
    ("format_", "kind"), [("tflite", kind) for kind in TFLITE_MODELS] + [("onnx", kind) for kind in ONNX_MODELS]
)
def test_a_model_that_breaks_the_contract(
    format_: str, kind: str, bundle: Path, picture: Path, commands: Commands
) -> None:
    make, reason = (TFLITE_MODELS if format_ == "tflite" else ONNX_MODELS)[kind]
    replace_file(bundle, f"tiny_fp32.{format_}", make())
    said = assert_refused(commands, bundle, picture, BackendError, "--artifact", format_)
    assert said.startswith(f"tiny_fp32.{format_}: ")
    assert reason in said


def test_a_model_that_gives_no_numbers(bundle: Path, tmp_path: Path, commands: Commands) -> None:
    """Only the picture shows it: the logarithm of a black one."""
    replace_file(bundle, "tiny_fp32.onnx", nan_model())
    path = tmp_path / "black.png"
    path.write_bytes(picture_bytes((0, 0, 0)))
    said = assert_refused(commands, bundle, path, BackendError, "--artifact", "onnx")
    assert said == "tiny_fp32.onnx: output 'logits' holds NaN or infinity"


# Files of the bundle that are not what the manifest says.


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


FILES: dict[str, tuple[Damage, str]] = {
    "missing": (Path.unlink, ": cannot be read: no such file or directory"),
    "a folder": (_folder, ": not a regular file"),
    "a link": (_link, ": not a regular file"),
    "a pipe": (_pipe, ": not a regular file"),
    "longer": (lambda path: path.write_bytes(path.read_bytes() + b"x"), " bytes, the manifest says "),
    "empty": (lambda path: path.write_bytes(b""), ": 0 bytes, the manifest says "),
}


@pytest.mark.parametrize("name", ["tiny_fp32.tflite", "golden.json", "golden-0.png", "proof.json"])
@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_is_not_the_manifests(
    kind: str, name: str, bundle: Path, picture: Path, commands: Commands
) -> None:
    damage, reason = FILES[kind]
    damage(bundle / name)
    said = assert_refused(commands, bundle, picture, BundleError)
    assert said.startswith(f"{bundle / name}: ")
    assert reason in said
    assert said.endswith(AGAIN)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (Path.unlink, "no such file or directory"),
        (_folder, "is a directory"),
        (_pipe, "not a regular file"),
    ],
    ids=["missing", "a folder", "a pipe"],
)
def test_a_manifest_that_is_no_file(
    damage: Damage, reason: str, bundle: Path, picture: Path, commands: Commands
) -> None:
    damage(bundle / "manifest.json")
    said = assert_refused(commands, bundle, picture, BundleError)
    assert said == f"{bundle}: not a bundle: manifest.json: {reason}"


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: b"", ": not a bundle archive: "),
        (lambda data: data[: len(data) // 2], ": not a bundle archive: "),
        (lambda data: b"<html>404</html>", ": not a bundle archive: "),
        (lambda data: data.replace(b"TFL3", b"TFL4", 1), ": 'tiny_fp32.tflite' is damaged: "),
    ],
    ids=["empty", "truncated", "no archive", "a flipped byte"],
)
def test_an_archive_that_is_damaged(
    damage: Callable[[bytes], bytes], reason: str, bundle: Path, picture: Path, commands: Commands, tmp_path: Path
) -> None:
    archive = tmp_path / "a.edgebundle"
    pack(bundle, archive)
    archive.write_bytes(damage(archive.read_bytes()))
    refusal = commands.refused("predict", picture, "--bundle", archive)
    assert refusal.code == 1
    assert refusal.line.startswith(f"{archive}{reason}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.edgebundle", "bundle", "red.png"]


# Galleries and lexicons.


def gallery(**changes: object) -> bytes:
    values = {"labels": ("red", "green", "blue"), "rows": [0, 1, 2], "vectors": np.eye(3)} | changes
    return gallery_bytes(values["labels"], values["rows"], values["vectors"])


GALLERIES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda good: b"", "gallery.egl: not a gallery file"),
    "truncated": (lambda good: good[:-4], "gallery.egl: "),
    "another version": (
        lambda good: good.replace(b"ELGALRY\x01", b"ELGALRY\x02"),
        "gallery.egl: gallery version 2 is unknown (update edgeloop)",
    ),
    "a header beyond the file": (
        lambda good: good[:8] + b"\xff" * 4 + good[12:],
        "gallery.egl: a header of 4294967295",
    ),
    "a header that is none": (lambda good: good.replace(b'{"dimension"', b'["dimension"'), "gallery.egl: header: not"),
    "NaN": (lambda good: good[:-4] + b"\0\0\xc0\x7f", "gallery.egl: row 2 holds NaN or infinity"),
    "a row of no class": (lambda good: good.replace(b"\2\0\0\0", b"\7\0\0\0"), "gallery.egl: row 2 is of class 7"),
    "another dimension": (
        lambda good: gallery(vectors=np.eye(4)[:3]),
        "gallery.egl: the gallery of stage 'name' has 4 dimensions, output 'embedding' has shape [1, 3]",
    ),
    "a picture": (lambda good: picture_bytes("red"), "gallery.egl: not a gallery file"),
}


@pytest.mark.parametrize("kind", GALLERIES)
def test_a_damaged_gallery(kind: str, pipeline: Path, picture: Path, commands: Commands) -> None:
    damage, reason = GALLERIES[kind]
    replace_file(pipeline, GALLERY, damage(gallery()))
    said = assert_refused(commands, pipeline, picture, FormatError)
    assert said.startswith(reason)


LEXICONS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "holds no word"),
    "blank lines": (b"\n\n", "holds no word"),
    "not UTF-8": (b"ab\n\xff\n", "line 2 is not UTF-8"),
    "a byte order mark": (b"\xef\xbb\xbfab\n", "line 1 is no word, found '\\ufeffab'"),
    "spaces": (b"ab\n a\n", "line 2 is no word, found ' a'"),
    "NUL": (b"a\0b\n", "line 1 is no word, found 'a\\x00b'"),
    "a line of a megabyte": (b"a" * 1_000_000, f"line 1 is no word, found '{'a' * 40}'"),
}


@pytest.mark.parametrize("kind", LEXICONS)
def test_a_damaged_lexicon(kind: str, bundle: Path, picture: Path, commands: Commands) -> None:
    data, reason = LEXICONS[kind]
    replace_file(bundle, "words.txt", data)
    edit_manifest(bundle, reader_of_text("words.txt"))
    assert assert_refused(commands, bundle, picture, FormatError) == f"words.txt: {reason}"


def reader_of_text(lexicon: str) -> Edit:
    text = {"charset": "ab", "lexicon": lexicon, "lexicon_only": True, "beam_width": 4}
    return every(
        setting("task", "text"),
        setting("stages.0.task", "text"),
        setting("stages.0.outputs.0.kind", "steps"),
        setting("stages.0.text", text),
    )


# Golden vectors: read where a bundle is to be trusted.


def numbers(*values: float) -> str:
    return base64.b64encode(np.array(values, "<f4").tobytes()).decode()


GOLDEN: dict[str, tuple[type, Damage, str]] = {
    "no JSON": (FormatError, lambda folder: replace_file(folder, "golden.json", b"x"), "{golden}: not valid JSON: "),
    "empty": (FormatError, lambda folder: replace_file(folder, "golden.json", b""), "{golden}: not valid JSON: "),
    "deep": (
        FormatError,
        lambda folder: replace_file(folder, "golden.json", b"[" * 99_999),
        "{golden}: not valid JSON: ",
    ),
    "no vectors": (
        FormatError,
        lambda folder: edit_golden(folder, setting("vectors", [])),
        "{golden}: vectors must hold at least one vector",
    ),
    "a missing field": (
        FormatError,
        lambda folder: edit_golden(folder, setting("vectors.0", {"outputs": []})),
        "{golden}.vectors[0]: field 'input_file' is missing",
    ),
    "a picture outside of the bundle": (
        FormatError,
        lambda folder: edit_golden(folder, setting("vectors.0.input_file", "../red.png")),
        "{golden}: vectors[0]: input_file '../red.png' is not in the manifest's files",
    ),
    "an unknown stage": (
        FormatError,
        lambda folder: edit_golden(folder, setting("vectors.0.stage", "x")),
        "{golden}: vectors[0]: stage 'x' is not in the manifest",
    ),
    "another shape": (
        FormatError,
        lambda folder: edit_golden(folder, setting("vectors.1.outputs.0.shape", [-1, 3])),
        "{golden}: vectors[1]: shape or label of 'tiny_fp32.tflite' differs from the manifest's: 'logits' is [-1, 3]",
    ),
    "another label": (
        FormatError,
        lambda folder: edit_golden(folder, setting("vectors.1.outputs.0.label", "pink")),
        "{golden}: vectors[1]: shape or label of 'tiny_fp32.tflite' differs from the manifest's: label 'pink'",
    ),
    "too few numbers": (
        FormatError,
        lambda folder: edit_golden(folder, setting("vectors.1.outputs.0.values", numbers(1, 2))),
        "{golden}: vectors[1]: golden values of 'tiny_fp32.tflite' hold 2 numbers for shape [1, 3]",
    ),
    "no base64": (
        FormatError,
        lambda folder: edit_golden(folder, setting("vectors.1.outputs.0.values", "é")),
        "{golden}: vectors[1]: golden values of 'tiny_fp32.tflite' are not base64",
    ),
    "NaN": (
        FormatError,
        lambda folder: edit_golden(folder, setting("vectors.1.outputs.0.values", numbers(1, 2, float("nan")))),
        "{golden}: vectors[1]: golden values of 'tiny_fp32.tflite' hold NaN or infinity",
    ),
    "other numbers": (
        SelfTestError,
        lambda folder: edit_golden(folder, setting("vectors.1.outputs.0.values", numbers(1, 2, 3))),
        "tiny_fp32.tflite: golden vector golden-1.png: output 'logits' differs by ",
    ),
    "a damaged picture": (
        SelfTestError,
        lambda folder: replace_file(folder, "golden-1.png", picture_bytes("green", size=(32, 32))[:-30]),
        "tiny_fp32.tflite: golden vector golden-1.png: damaged or truncated picture: ",
    ),
    "a picture of another size": (
        SelfTestError,
        lambda folder: replace_file(folder, "golden-1.png", picture_bytes("green", size=(33, 32))),
        "tiny_fp32.tflite: golden vector golden-1.png: is not of the model's size",
    ),
}


@pytest.mark.parametrize("kind", GOLDEN)
def test_damaged_golden_vectors(kind: str, bundle: Path, picture: Path, commands: Commands, tmp_path: Path) -> None:
    error, damage, reason = GOLDEN[kind]
    damage(bundle)
    with pytest.raises(EdgeloopError) as caught:
        self_test(open_bundle(bundle))
    assert type(caught.value) is error
    assert str(caught.value).startswith(reason.format(golden=bundle / "golden.json"))
    assert "\n" not in str(caught.value)
    (tmp_path / "pictures").mkdir()
    picture.rename(tmp_path / "pictures" / "red.png")
    home = tmp_path / "home"
    source = ["--source", tmp_path / "pictures", "--passes", 1]
    refusal = commands.refused("run", "--home", home, *source, "--bundle", bundle, "--allow-unsigned")
    assert refusal.code == 1
    assert refusal.line.partition(": ")[2].startswith(reason.format(golden="").partition(": ")[2])
    assert Slots(home).active.bundle_digest == ""
    assert not list((home / "bundles").glob(".staging-*"))
    assert not (home / "outbox.sqlite").exists()


# Tuning: what no model does right is not remembered.


def _spoil_models(folder: Path) -> None:
    for name in ("tiny_fp32.tflite", "tiny_fp32.onnx"):
        replace_file(folder, name, b"x")


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (lambda folder: replace_file(folder, "golden.json", b"x"), "{bundle}/golden.json: not valid JSON: "),
        (_spoil_models, "stage 'classify': nothing on this device runs it right: tiny_fp32.tflite with cpu"),
        (lambda folder: (folder / "proof.json").unlink(), "{bundle}/proof.json: cannot be read: no such file"),
        (
            lambda folder: edit_manifest(folder, setting("proof.verdict", "fail")),
            "{bundle}: bundle 'tiny' is not proven",
        ),
    ],
    ids=["golden vectors", "both models", "a missing file", "unproven"],
)
def test_tuning_a_damaged_bundle(damage: Damage, line: str, bundle: Path, tmp_path: Path) -> None:
    damage(bundle)
    before = content_of(tmp_path)
    done = edgeloop("device", "tune", "--bundle", bundle, "--budget", 0.2, "--out", tmp_path / "tune.json")
    assert (done.returncode, done.stdout) == (1, "")
    assert error_line(done).startswith(line.format(bundle=bundle))
    assert content_of(tmp_path) == before


# Runtimes that are not there.

_WITHOUT = "import sys; sys.modules.update(dict.fromkeys({blocked})); from cloud_train.cli import main; main()"


@pytest.mark.parametrize(
    ("blocked", "words", "line"),
    [
        (
            ["ai_edge_litert", "tflite_runtime", "onnxruntime"],
            [],
            'ai-edge-litert is not installed (pip install "edgeloop[tflite]")',
        ),
        (
            ["ai_edge_litert", "tflite_runtime"],
            ["--artifact", "tflite"],
            'ai-edge-litert is not installed (pip install "edgeloop[tflite]")',
        ),
        (["onnxruntime"], ["--artifact", "onnx"], 'onnxruntime is not installed (pip install "edgeloop[onnx]")'),
        (["ai_edge_litert", "tflite_runtime"], [], ""),
    ],
    ids=["none", "no litert", "no onnxruntime", "the other one serves"],
)
def test_a_missing_runtime(
    blocked: list[str], words: list[str], line: str, whole: dict[str, Path], picture: Path
) -> None:
    code = _WITHOUT.format(blocked=blocked)
    command = ["device", "predict", str(picture), "--bundle", str(whole["classifier"]), *words]
    done = subprocess.run(
        [sys.executable, "-c", code, *command], capture_output=True, text=True, env=process_environment(), check=False
    )
    if line:
        assert (done.returncode, done.stdout) == (1, "")
        assert error_line(done) == line
    else:
        assert done.returncode == 0, done.stderr
        assert "red" in done.stdout


def test_a_missing_runtime_in_python(whole: dict[str, Path]) -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['ai_edge_litert', 'tflite_runtime', 'onnxruntime']))\n"
        "from edge import open_engine\nfrom edge.errors import MissingExtraError\n"
        f"try: open_engine({str(whole['classifier'])!r})\n"
        "except MissingExtraError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=process_environment(), check=True
    )
    assert done.stdout == 'ai-edge-litert is not installed (pip install "edgeloop[tflite]")\n'


def test_the_process_says_the_same(bundle: Path, picture: Path) -> None:
    """The rows above run the command inside of the test; here it is a process of its own."""
    replace_file(bundle, "tiny_fp32.tflite", b"TFL3")
    done = edgeloop("device", "predict", picture, "--bundle", bundle)
    assert (done.returncode, done.stdout) == (1, "")
    assert error_line(done).startswith("tiny_fp32.tflite: not a usable TFLite model: ")
    assert len(done.stderr.splitlines()) == 1
