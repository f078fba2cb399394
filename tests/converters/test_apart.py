"""Environments apart: made whole or not at all; what runs in them is fenced in; what comes out is checked here."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from foreign_models import COLOURS, LABELS, colour_model, fixed_model, write_labels
from onnx import TensorProto, external_data_helper, load, save

from converters.apart import convert, environment
from converters.apart.environment import ApartEnvironment, ensure_environment, environment_folder
from converters.apart.job import ApartJob, run_job
from converters.apart.job_report import JobReport, Tensor
from converters.apart.pins import KERAS, ONNX2TF
from converters.apart.process import ApartError
from converters.cli import bundle as bundle_command
from edge.backends.select import open_backend
from edge.bundle.manifest import ArtifactFormat
from edge.bundle.reader import open_bundle
from edge.engine import open_engine
from edge.errors import BackendError, EdgeloopError

REPOSITORY = Path(__file__).resolve().parents[2]
TINY = REPOSITORY / "tests" / "models" / "tiny_fp32.tflite"
MAKER = Path(__file__).with_name("make_keras_models.py")
RAW = ("--task", "classify", "--input-range", "0..255")
EMPTY = ApartEnvironment(name="empty", requirements=(), size_mb=20, note="for a test")
ECHO = ApartEnvironment(name="echo", requirements=("edgeloop-echo==1.0",), size_mb=20, note="for a test")
HEAD = "from converters.apart.job_report import *\nimport os, pathlib, sys, time\n"
TAIL = "\nrun_job(convert)\n"
REPORT = 'JobReport(producer="test", input=Tensor(name="image", shape=(1,), dtype="float32"), outputs=())'


def write_wheel(folder: Path) -> Path:
    """A package of one line, so that pip has something real to do and needs no network for it."""
    info = "edgeloop_echo-1.0.dist-info"
    files = {
        "edgeloop_echo.py": "WORD = 'echo'\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: edgeloop-echo\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in (*files, f"{info}/RECORD"))
    with zipfile.ZipFile(folder / "edgeloop_echo-1.0-py3-none-any.whl", "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
    return folder


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Path:
    """Of an environment that holds one package of the test's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_NO_INDEX", "1")
        patch.setenv("PIP_FIND_LINKS", str(write_wheel(tmp_path_factory.mktemp("wheels"))))
        return ensure_environment(ECHO, tmp_path_factory.mktemp("environments"), say=lambda line: None)


@pytest.fixture
def scratch(tmp_path, monkeypatch) -> Path:
    """Stands for the system's folder of temporary files, which must be empty in the end."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


# environments


def test_an_environment_is_made_once_and_found_again(python):
    root, said = python.parents[2], []
    assert names(root) == [environment_folder(ECHO, root).name]
    assert ensure_environment(ECHO, root, say=said.append) == python
    assert said == []
    done = subprocess.run([python, "-c", "import edgeloop_echo as e; print(e.WORD)"], capture_output=True, text=True)
    assert done.stdout == "echo\n"
    assert subprocess.run([python, "-c", "import numpy"], capture_output=True).returncode == 1


def test_other_pins_are_another_environment(tmp_path):
    folders = {environment_folder(one, tmp_path) for one in (EMPTY, ECHO, KERAS, ONNX2TF)}
    assert len(folders) == 4
    assert all(folder.parent == tmp_path and folder.name[-9] == "-" for folder in folders)


@pytest.mark.parametrize("pins", [KERAS, ONNX2TF], ids=lambda pins: pins.name)
def test_every_pin_is_exact_and_stands_once(pins):
    assert all(line.count("==") == 1 and not set("<>~;*") & set(line) for line in pins.requirements)
    assert len({line.partition("==")[0] for line in pins.requirements}) == len(pins.requirements)


def test_of_two_commands_one_makes_it(tmp_path):
    said: list[str] = []
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: ensure_environment(EMPTY, tmp_path / "deep", say=said.append), range(2)))
    folder = environment_folder(EMPTY, tmp_path / "deep")
    assert found == [folder / "bin" / "python"] * 2
    assert sorted(said) == [
        f"empty: making an environment of its own in {folder}, once, about 20 MB (for a test)",
        f"waiting for another command that works on {folder}",
    ]
    assert names(tmp_path / "deep") == [folder.name]


_ENSURE = """
import sys
from pathlib import Path
from converters.apart.environment import ApartEnvironment, ensure_environment
made = ApartEnvironment(name="empty", requirements=(), size_mb=20, note="for a test")
ensure_environment(made, Path(sys.argv[1]), say=lambda line: print(line, flush=True))
"""


def test_a_killed_installation_is_begun_anew(tmp_path):
    folder = environment_folder(EMPTY, tmp_path)
    killed = subprocess.Popen([sys.executable, "-c", _ENSURE, tmp_path], cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    making = folder.with_name(f".{folder.name}.making")
    while not (making / "pyvenv.cfg").exists() and killed.poll() is None:
        time.sleep(0.005)
    killed.kill()
    killed.wait()
    assert making.is_dir()
    assert not folder.exists()
    assert ensure_environment(EMPTY, tmp_path, say=lambda line: None).is_file()
    assert names(tmp_path) == [folder.name]


def test_one_without_its_last_file_is_made_again(tmp_path):
    folder = environment_folder(EMPTY, tmp_path)
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").touch()
    said = []
    ensure_environment(EMPTY, tmp_path, say=said.append)
    assert len(said) == 1
    assert (folder / environment.MARKER).is_file()


def test_pip_says_what_is_wrong(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(ApartError) as error:
        ensure_environment(ECHO, tmp_path, say=lambda line: None)
    assert error.value.message == (
        "the environment echo cannot be made: No matching distribution found for edgeloop-echo==1.0"
    )
    assert "pip config list" in error.value.hint
    assert names(tmp_path) == []


def test_an_installation_ends_in_time(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "_PIP", ("-c", "import time; time.sleep(60)"))
    with pytest.raises(ApartError, match=r"cannot be made: python was ended after 0.2 s"):
        ensure_environment(ECHO, tmp_path, say=lambda line: None, time_limit_s=0.2)
    assert names(tmp_path) == []


# jobs


def ran(python: Path, folder: Path, body: str, *, time_limit_s: float = 60) -> JobReport:
    """Runs a job whose function `convert(request)` has this body."""
    script = folder / "made_job.py"
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    script.write_text(f"{HEAD}def convert(request):\n{lines}\n    return {REPORT}\n{TAIL}")
    work = folder / "work"
    work.mkdir()
    return run_job(ApartJob(script=script, time_limit_s=time_limit_s), python, folder / "m.keras", work)


def test_a_job_sees_only_its_own(python, tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "secret")
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    body = (
        "import edgeloop_echo, importlib.util\n"
        "hidden = [one for one in ('edge', 'numpy', 'converters.cli') if importlib.util.find_spec(one)]\n"
        "pathlib.Path(request.folder, 'seen').write_text(repr((hidden, sorted(os.environ))))"
    )
    report = ran(python, tmp_path, body)
    assert report == JobReport(producer="test", input=Tensor(name="image", shape=(1,), dtype="float32"), outputs=())
    hidden, variables = eval((tmp_path / "work" / "seen").read_text())  # noqa: S307  (the test's own words)
    assert hidden == []
    assert "SECRET_KEY" not in variables
    assert "PYTHONPATH" not in variables


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        ("raise JobError('is a duck', hint='give a swan')", BackendError, "m.keras: is a duck (give a swan)"),
        ("raise ValueError('first\\nsecond')", BackendError, "m.keras: cannot be converted: first"),
        ("print('what a pity'); sys.stdout.flush(); os._exit(3)", ApartError, "ended with 3: what a pity"),
        ("os.kill(os.getpid(), 9)", ApartError, "was ended by signal 9: it said nothing"),
        ("import socket; socket.create_connection(('localhost', 9))", BackendError, "tried to reach the network"),
        ("import urllib.request; urllib.request.urlopen('http://localhost')", BackendError, "to reach the network"),
    ],
    ids=["refusal", "surprise", "exit", "signal", "socket", "download"],
)
def test_a_job_that_fails_says_one_line(python, tmp_path, body, error, message):
    with pytest.raises(error) as caught:
        ran(python, tmp_path, body)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_job_ends_in_time_with_all_that_it_started(python, tmp_path):
    body = (
        "import subprocess\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "pathlib.Path(request.folder, 'child').write_text(str(child.pid))\n"
        "time.sleep(600)"
    )
    with pytest.raises(ApartError, match=r"m.keras: the conversion did not end: python was ended after 3 s"):
        ran(python, tmp_path, body, time_limit_s=3)
    status = Path("/proc") / (tmp_path / "work" / "child").read_text() / "stat"
    deadline = time.monotonic() + 10
    while status.exists() and ") Z " not in status.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# what comes out


def answered(folder: Path, *, change: Callable[[np.ndarray], np.ndarray] = lambda array: array) -> JobReport:
    """What the tiny network says to noise, changed, as a job would write it down; and the report that goes with it."""
    backend = open_backend(TINY, ArtifactFormat.TFLITE)
    inputs = np.random.default_rng(0).random((2, *backend.input_shape), np.float32) * 255
    answers = [backend.run(one).by_name for one in inputs]
    arrays = {f"input_{number}": one for number, one in enumerate(inputs)}
    for number, answer in enumerate(answers):
        arrays |= {f"answer_{number}_{index}": change(one) for index, one in enumerate(answer.values())}
    np.savez(folder / "answers.npz", **arrays)
    outputs = tuple(Tensor(name=name, shape=one.shape, dtype="float32") for name, one in answers[0].items())
    tensor = Tensor(name="image", shape=tuple(backend.input_shape), dtype=backend.input_dtype)
    backend.close()
    return JobReport(producer="test", input=tensor, outputs=outputs)


def test_a_converted_file_must_answer_as_the_original(tmp_path):
    report = answered(tmp_path)
    assert convert.check_conversion("m.keras", TINY, tmp_path / "answers.npz", report) == 0.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda array: array + 0.01 * np.abs(array).max(), "its TFLite file answers otherwise"),
        (lambda array: array[..., :-1], "it was [1, 2]"),
        (lambda array: array * np.nan, "is not finite on noise"),
    ],
    ids=["other", "shape", "nan"],
)
def test_one_that_answers_otherwise_is_refused(tmp_path, change, message):
    report = answered(tmp_path, change=change)
    with pytest.raises(BackendError) as error:
        convert.check_conversion("m.keras", TINY, tmp_path / "answers.npz", report)
    assert message in str(error.value)


@pytest.mark.parametrize("factor", [1.0, 1.1])
def test_a_file_appears_only_when_it_was_checked(python, tmp_path, scratch, factor):
    given = tmp_path / "given"
    given.mkdir()
    report = answered(given, change=lambda array: array * factor)
    (given / "converted.tflite").write_bytes(TINY.read_bytes())
    script = tmp_path / "copy_job.py"
    script.write_text(
        f"{HEAD}import shutil\ndef convert(request):\n"
        f"    [shutil.copy(one, request.folder) for one in pathlib.Path({str(given)!r}).iterdir()]\n"
        f"    return {report!r}\n{TAIL}"
    )
    (tmp_path / "m.keras").touch()
    out = tmp_path / "out.tflite"
    words = (ECHO, ApartJob(script=script, time_limit_s=60), tmp_path / "m.keras", out)
    if factor == 1.0:
        result = convert._converted(*words, root=python.parents[2], say=print)
        assert (result.path, result.outputs, result.difference) == (out, report.outputs, 0.0)
        assert out.read_bytes() == TINY.read_bytes()
    else:
        with pytest.raises(BackendError, match="off by"):
            convert._converted(*words, root=python.parents[2], say=print)
        assert not out.exists()


# bad input: refused before an environment is made for it


def keras_archive(path: Path, config: object) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", config if isinstance(config, str) else json.dumps(config))
        archive.writestr("model.weights.h5", b"\x89HDF\r\n\x1a\n")
    return path


def layer(**fields: object) -> dict[str, object]:
    inner = {"module": "keras.layers", "class_name": "ReLU", "config": {"name": "one"}, "registered_name": None}
    return {
        "module": "keras.src.models.functional",
        "class_name": "Functional",
        "config": {"name": "model", "layers": [inner | fields]},
        "registered_name": "Functional",
    }


def archived(**fields: object) -> Callable[[Path], Path]:
    return lambda folder: keras_archive(folder / "m.keras", layer(**fields))


def cut_archive(folder: Path) -> Path:
    path = keras_archive(folder / "m.keras", layer())
    path.write_bytes(path.read_bytes()[:-100])
    return path


def plain_zip(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "m.keras", "w") as archive:
        archive.writestr("notes.txt", "hello")
    return folder / "m.keras"


def written(name: str, data: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return write


def cut_onnx(folder: Path) -> Path:
    path = colour_model(folder / "m.onnx")
    path.write_bytes(path.read_bytes()[:100])
    return path


def lost_weights(folder: Path) -> Path:
    model = load(fixed_model(folder / "m.onnx", {"scores": np.zeros((1, 3))}))
    external_data_helper.convert_model_to_external_data(model, location="gone.bin", size_threshold=0)
    save(model, folder / "m.onnx")
    (folder / "gone.bin").unlink()
    return folder / "m.onnx"


ROWS = [
    pytest.param(written("m.keras", b"hello"), "m.keras: not a Keras file (save it again", 1, id="no keras"),
    pytest.param(written("m.h5", b"hello"), "m.h5: not a Keras file", 1, id="no hdf5"),
    pytest.param(written("m.keras", b""), "m.keras: not a Keras file", 1, id="empty"),
    pytest.param(plain_zip, "m.keras: not a Keras file: a zip archive without a model", 1, id="zip"),
    pytest.param(cut_archive, "m.keras: damaged: its archive is not whole", 1, id="truncated keras"),
    pytest.param(
        lambda folder: keras_archive(folder / "m.keras", "{"), "its architecture is not JSON", 1, id="bad config"
    ),
    pytest.param(
        archived(class_name="Lambda"), "m.keras: layer Lambda 'one' is code, which is never run", 1, id="code"
    ),
    pytest.param(
        archived(config={"name": "one", "activation": {"class_name": "__lambda__", "config": {}}}),
        "m.keras: layer __lambda__ is code",
        1,
        id="code in a layer",
    ),
    pytest.param(archived(module="os"), "m.keras: layer ReLU 'one' is not Keras' own", 1, id="other module"),
    pytest.param(
        archived(module=None, registered_name="Mine>ReLU"), "layer ReLU 'one' is not Keras' own", 1, id="custom layer"
    ),
    pytest.param(lambda folder: folder / "gone.keras", "gone.keras: cannot be read", 2, id="no such model"),
    pytest.param(written("m.pt", b"x"), "m.pt: cannot be converted to TFLite (give a .keras", 2, id="other format"),
    pytest.param(cut_onnx, "m.onnx: not a usable ONNX model: Protobuf parsing failed", 1, id="truncated onnx"),
    pytest.param(lost_weights, "m.onnx: its weights lie in 'gone.bin', which is not there", 2, id="external data"),
    pytest.param(
        lambda folder: colour_model(folder / "m.onnx", shape=("n", 3, "h", "w")),
        "must have a fixed shape",
        1,
        id="open",
    ),
    pytest.param(
        lambda folder: colour_model(folder / "m.onnx", dtype=TensorProto.FLOAT16), "exactly one input of", 1, id="half"
    ),
]


def refused(tmp_path: Path, model: Path, *words: object) -> tuple[str, int]:
    """The one line and exit code of an import that must fail, and leave nothing behind."""
    before = sorted(tmp_path.rglob("*"))
    out = tmp_path / "deep" / "out"
    done = CliRunner().invoke(bundle_command, ["import", str(model), *map(str, words), "--out", str(out)])
    assert isinstance(done.exception, EdgeloopError), done.exception
    assert done.stdout == ""
    assert [one for one in sorted(tmp_path.rglob("*")) if one not in before and one != out.parent] == []
    line = str(done.exception)
    assert "\n" not in line
    return line, done.exception.exit_code


@pytest.fixture
def no_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGELOOP_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(("make", "message", "code"), ROWS)
def test_bad_files_are_refused_at_once(tmp_path, scratch, no_environment, make, message, code):
    labels = write_labels(tmp_path / "labels.txt")
    line, exit_code = refused(tmp_path, make(tmp_path), "--to", "tflite", "--labels", labels, *RAW)
    assert message in line
    assert exit_code == code


@pytest.mark.parametrize(
    ("lines", "message"),
    [((), "gone.txt: cannot be read"), (("",), "gone.txt: holds no labels")],
    ids=["gone", "empty"],
)
def test_bad_labels_are_said_before_a_conversion(tmp_path, scratch, no_environment, lines, message):
    if lines:
        write_labels(tmp_path / "gone.txt", lines)
    model = keras_archive(tmp_path / "m.keras", layer())
    assert message in refused(tmp_path, model, "--labels", tmp_path / "gone.txt", *RAW)[0]


def test_pip_without_an_index_is_one_line(tmp_path, scratch, no_environment, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    (tmp_path / "cache" / "environments").mkdir(parents=True)
    name = environment_folder(KERAS, tmp_path).name
    (tmp_path / "cache" / "environments" / f".{name}.lock").touch()  # which stays, empty
    model = keras_archive(tmp_path / "m.keras", layer())
    line, code = refused(tmp_path, model, "--labels", write_labels(tmp_path / "labels.txt"), *RAW)
    assert line.startswith("the environment keras cannot be made: ")
    assert code == 1


# the real thing


def made_environment(pins: ApartEnvironment) -> Path:
    """Kept under work/, so that a second run is quick."""
    try:
        return ensure_environment(pins, REPOSITORY / "work" / "environments", say=print)
    except ApartError as error:
        pytest.skip(f"slow: pip cannot make the environment {pins.name}: {error.message}")


@pytest.fixture(scope="session")
def keras_models(tmp_path_factory) -> Path:
    """A folder of Keras files that Keras itself wrote."""
    folder = tmp_path_factory.mktemp("keras")
    subprocess.run([made_environment(KERAS), MAKER, folder], check=True, capture_output=True, timeout=300)
    return folder


@pytest.fixture
def kept(monkeypatch):
    monkeypatch.setenv("EDGELOOP_CACHE", str(REPOSITORY / "work"))


def imported(model: Path, out: Path, *words: object) -> Path:
    done = CliRunner().invoke(bundle_command, ["import", str(model), "--out", str(out), *map(str, words)])
    assert (done.exit_code, done.exception) == (0, None), done.output
    assert "converted to TFLite by " in done.stderr
    return out


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_keras_file_becomes_a_bundle_that_names_colours(keras_models, tmp_path, scratch, kept, suffix):
    labels = write_labels(tmp_path / "labels.txt")
    out = imported(keras_models / f"colours{suffix}", tmp_path / "bundle", "--labels", labels, *RAW)
    manifest = open_bundle(out).manifest
    assert manifest.name == "colours"
    assert manifest.provenance.producer.endswith(", Keras 3.15.1, TensorFlow 2.21.0")
    assert [one.name for one in manifest.stages[0].outputs] == ["scores"]
    with open_engine(open_bundle(out), allow_unproven=True) as engine:
        for label, colour in COLOURS.items():
            picture = np.full((48, 64, 3), colour, np.uint8)
            assert engine.infer(picture).prediction.headline.label == label


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("file", "labels", "message"),
    [
        ("truncated.h5", LABELS, "truncated.h5: damaged: Unable to synchronously open file (truncated file"),
        ("lambda.h5", LABELS, "lambda.h5: layer Lambda 'lambda_1' is code, which is never run from a file"),
        ("lambda.keras", LABELS, "lambda.keras: layer Lambda 'lambda' is code, which is never run from a file"),
        ("dynamic.keras", LABELS, "must have a fixed height and width, found (any, any, any, 3)"),
        ("bicubic.keras", LABELS, "bicubic.keras: TFLite has no operator for ResizeBicubic"),
        ("only.weights.h5", LABELS, "only.weights.h5: holds weights without a model"),
        ("colours.keras", LABELS[:2], "labels.txt: 2 labels for the 3 classes of the model"),
    ],
)
def test_keras_files_that_cannot_be_converted(keras_models, tmp_path, scratch, kept, file, labels, message):
    words = ("--labels", write_labels(tmp_path / "labels.txt", labels), *RAW)
    line, code = refused(tmp_path, keras_models / file, *words)
    assert message in line
    assert code == 1


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.timeout(1200)
def test_a_foreign_onnx_file_answers_alike_as_tflite(data_root, tmp_path, scratch, kept):
    made_environment(ONNX2TF)
    models = data_root / "models"
    words = ("--task", "detect", "--labels", models / "coco_labels.txt", "--input-range", "0..1", "--channels", "bgr")
    tflite = imported(models / "fastestdet_coco_352.onnx", tmp_path / "tflite", *words, "--to", "tflite")
    command = ["import", str(models / "fastestdet_coco_352.onnx"), "--out", str(tmp_path / "onnx"), *map(str, words)]
    assert CliRunner().invoke(bundle_command, command).exit_code == 0
    pictures = sorted((models / "imagenet_samples").iterdir())[:6]
    found = []
    for folder in (tflite, tmp_path / "onnx"):
        with open_engine(open_bundle(folder), allow_unproven=True) as engine:
            found.append([engine.infer(path).prediction.items for path in pictures])
    assert sum(map(len, found[0])) > 0
    for ours, theirs in zip(*found, strict=True):
        assert [one.label for one in ours] == [one.label for one in theirs]
        assert [one.score for one in ours] == pytest.approx([one.score for one in theirs], abs=1e-3)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_an_onnx_file_of_either_layout_names_colours(tmp_path, scratch, kept, layout):
    made_environment(ONNX2TF)
    model = colour_model(tmp_path / "m.onnx", layout=layout, end="Softmax")
    labels = write_labels(tmp_path / "labels.txt")
    out = imported(model, tmp_path / "bundle", "--labels", labels, "--to", "tflite", *RAW)
    with open_engine(open_bundle(out), allow_unproven=True) as engine:
        for label, colour in COLOURS.items():
            picture = np.full((20, 20, 3), colour, np.uint8)
            assert engine.infer(picture).prediction.headline.label == label
