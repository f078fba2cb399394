import json
import signal
import subprocess
import sys
import textwrap
import time

import click
import pytest
from device_world import copy_tree, edgeloop, error_line, process_environment, publish, root_file
from PIL import Image

from cloud_train.ingest.server import running_server
from edge import cli
from edge.bundle.archive import pack
from edge.bundle.manifest import KeepPolicy, Verdict
from edge.bundle.reader import open_bundle

KEEP = KeepPolicy(random_fraction=0.0)


@pytest.fixture(scope="session")
def signed(tmp_path_factory, make_bundle):
    folder = tmp_path_factory.mktemp("cli")
    for number in (1, 2):
        make_bundle(folder / f"v{number}", version=number, flavour=number, keep=KEEP)
    publish(folder / "store", folder / "v1", now=time.time())
    return folder


@pytest.fixture(scope="session")
def pictures(tmp_path_factory, picture_bytes):
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(8):
        colour = ("red", "green", "blue", "grey")[number % 4]
        (folder / f"{number}.png").write_bytes(picture_bytes(colour, size=(40 + number, 40)))
    return folder


@pytest.fixture
def server(tmp_path, signed):
    copy_tree(signed / "store", tmp_path / "store")
    with running_server(tmp_path / "store") as running:
        yield running


def run_options(tmp_path, server, pictures):
    return [
        "device", "run", "--home", tmp_path / "home", "--server", server.target, "--device-id", "kiosk-7",
        "--root", root_file(tmp_path / "store"), "--source", pictures,
    ]  # fmt: skip


def test_a_device_from_nothing_to_drained_then_every_other_command(tmp_path, server, pictures, signed):
    home = tmp_path / "home"
    done = edgeloop(*run_options(tmp_path, server, pictures), "--passes", 1)
    assert (done.returncode, done.stdout.count("\n")) == (0, 1), done.stderr
    assert done.stdout.startswith("8 frames answered, 0 unreadable, 0 dropped; 6 accept, 0 confirm, 2 unknown; 2 kept")

    sent = edgeloop("device", "sync", "--home", home, "--server", server.target)
    assert sent.returncode == 0, sent.stderr
    waiting = json.loads((home / "status.json").read_text())["outbox_pending"]
    assert sent.stdout.startswith(f"sent {waiting}, known 0, refused 0, ")

    publish(tmp_path / "store", signed / "v2", now=time.time())
    updated = edgeloop("device", "update", "--home", home, "--server", server.target)
    assert updated.returncode == 0, updated.stderr
    digest = open_bundle(signed / "v2").digest
    assert updated.stdout.startswith(f"activated: bundle {digest[:12]}, ")
    again = edgeloop("device", "update", "--home", home, "--server", server.target)
    assert again.stdout.startswith(f"current: bundle {digest[:12]}, ")

    status = json.loads(edgeloop("device", "status", "--home", home, "--json").stdout)
    assert (status["running"], status["device_id"], status["release"]["bundle_digest"]) == (False, "kiosk-7", digest)
    assert (status["release"]["expired"], status["slots"]["active"], status["slots"]["trial"]) == (False, "b", "b")
    people = edgeloop("device", "status", "--home", home).stdout.splitlines()
    words = ["agent", "bundle", "release", "frames", "kept", "latency", "channel"]
    assert [line.split()[0] for line in people] == words
    assert people[1].endswith("slot b, slot b on trial")

    answered = edgeloop("device", "predict", pictures / "0.png", "--home", home, "--json")
    value = json.loads(answered.stdout)
    assert (value["predicted_class"], value["success"], value["bundle_digest"]) == ("red", True, digest)


def test_predict_a_folder(signed, pictures, tmp_path):
    pack(signed / "v1", tmp_path / "one.edgebundle")
    copy_tree(pictures, tmp_path / "some")
    (tmp_path / "some" / "x.png").write_bytes(b"nonsense")
    for bundle in (signed / "v1", tmp_path / "one.edgebundle"):
        done = edgeloop("device", "predict", tmp_path / "some", "--bundle", bundle, "--artifact", "onnx")
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        assert [line.split(":")[0] for line in lines] == [f"{number}.png" for number in range(8)]
        assert lines[0].startswith("0.png: red 0.99")
        assert "unknown (not_recognised, " in lines[3]
        assert "x.png: not a JPEG, PNG or WebP picture" in done.stderr
        assert "1 of 9 files were skipped" in done.stderr


def test_predict_with_an_unproven_bundle(tmp_path, make_bundle, pictures):
    bundle = make_bundle(tmp_path / "unproven", verdict=Verdict.NONE)
    refused = edgeloop("device", "predict", pictures / "0.png", "--bundle", bundle)
    assert refused.returncode == 1
    assert "is not proven" in error_line(refused)
    allowed = edgeloop("device", "predict", pictures / "0.png", "--bundle", bundle, "--allow-unproven")
    assert allowed.stdout.startswith("0.png: red") or "0.png: red" in allowed.stdout


@pytest.fixture
def mixed(tmp_path, pictures):
    """A folder with a picture, a sub-folder with a WebP, and a file that is no picture."""
    folder = tmp_path / "mixed"
    (folder / "shelf").mkdir(parents=True)
    (folder / "a.png").write_bytes((pictures / "0.png").read_bytes())
    with Image.open(pictures / "1.png") as picture:
        picture.save(folder / "shelf" / "b.webp")
    (folder / "notes.jpg").write_bytes(b"no picture")
    return folder


def test_predict_draws_a_folder_into_a_folder(tmp_path, signed, mixed):
    words = ["device", "predict", mixed, "--bundle", signed / "v1", "--annotated"]
    done = edgeloop(*words, tmp_path / "drawn")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("a.png: red 0.99")
    drawn = sorted(path.relative_to(tmp_path / "drawn").as_posix() for path in (tmp_path / "drawn").rglob("*.*"))
    assert drawn == ["a.png", "shelf/b.webp.png"]
    with Image.open(tmp_path / "drawn" / "a.png") as canvas:
        assert canvas.width >= 480
    before = (mixed / "a.png").read_bytes()
    refused = edgeloop(*words, mixed)
    assert refused.returncode == 2
    assert "would write over the pictures" in error_line(refused)
    assert (mixed / "a.png").read_bytes() == before


@pytest.mark.parametrize("suffix", ["jpg", "JPEG", "png"])
def test_predict_draws_a_picture_into_a_file(tmp_path, signed, pictures, suffix):
    out = tmp_path / "deep" / f"drawn.{suffix}"
    done = edgeloop("device", "predict", pictures / "0.png", "--bundle", signed / "v1", "--annotated", out)
    assert done.returncode == 0, done.stderr
    with Image.open(out) as canvas:
        assert canvas.format == ("PNG" if suffix == "png" else "JPEG")


@pytest.mark.parametrize(
    ("source", "out", "message"),
    [
        ("0.png", "drawn.gif", "a picture is drawn to a .jpg or .png file"),
        ("0.png", "drawn", "a picture is drawn to a .jpg or .png file"),
        ("0.png", "folder.png", "a picture is drawn to a .jpg or .png file"),
        ("", "file.png", "a folder of pictures is drawn to a folder"),
    ],
)
def test_predict_refuses_places_for_drawings(tmp_path, signed, pictures, source, out, message):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file.png").write_bytes(b"mine")
    words = ["--bundle", signed / "v1", "--annotated", tmp_path / out]
    done = edgeloop("device", "predict", pictures / source if source else pictures, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in error_line(done)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file.png", "folder.png"]
    assert (tmp_path / "file.png").read_bytes() == b"mine"


def test_predict_as_json_says_which_pictures_failed(signed, mixed):
    done = edgeloop("device", "predict", mixed, "--bundle", signed / "v1", "--json", "--top-k", 2, "--threads", 2)
    values = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(value["source"], value["success"]) for value in values] == [
        ("a.png", True),
        ("notes.jpg", False),
        ("shelf/b.webp", True),
    ]
    assert values[0]["model_version"] == values[1]["model_version"] == "tiny 1"
    assert len(values[0]["probabilities"]) == 2
    assert "not a JPEG, PNG or WebP picture" in values[1]["error_message"]


def test_sideload_says_that_nobody_signed(tmp_path, signed, pictures):
    command = ["device", "run", "--home", tmp_path / "home", "--source", pictures, "--passes", 1]
    refused = edgeloop(*command, "--bundle", signed / "v1")
    assert refused.returncode == 2
    assert "is not signed (publish it, or add --allow-unsigned on a bench)" in error_line(refused)
    assert not (tmp_path / "home").exists()
    done = edgeloop(*command, "--bundle", signed / "v1", "--allow-unsigned")
    assert done.returncode == 0, done.stderr
    assert "is UNSIGNED and was installed because of --allow-unsigned" in done.stderr


def test_settings_file_and_environment(tmp_path, signed, pictures):
    config = tmp_path / "device.toml"
    config.write_text(f'[device]\nhome = "{tmp_path / "home"}"\nsource = "{pictures}"\npasses = 9\n')
    done = edgeloop(
        "device", "run", "--config", config, "--bundle", signed / "v1", "--allow-unsigned", EDGELOOP_PASSES="2"
    )
    assert done.stdout.startswith("16 frames answered"), done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_signals_end_it_in_order(tmp_path, server, pictures, number, code):
    command = [*map(str, run_options(tmp_path, server, pictures)), "--passes", "0", "--fps", "50"]
    process = subprocess.Popen(
        [sys.executable, "-m", "device_process", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=process_environment(),
    )
    status = tmp_path / "home" / "status.json"
    deadline = time.monotonic() + 30
    while not (status.exists() and json.loads(status.read_bytes())["frames_answered"] > 10):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    begun = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=10)
    assert time.monotonic() - begun < 3
    assert process.returncode == code, err
    assert "Traceback" not in err
    assert json.loads(status.read_bytes())["phase"] == "stopped"
    assert ("frames answered" in out) == (code == 0)


@pytest.mark.parametrize("unbuffered", ["1", ""])
def test_a_reader_that_leaves_is_no_error(signed, pictures, unbuffered):
    process = subprocess.Popen(
        [sys.executable, "-m", "device_process", "device", "predict", str(pictures), "--bundle", str(signed / "v1")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=process_environment(PYTHONUNBUFFERED=unbuffered),
    )
    process.stdout.close()
    err = process.stderr.read().decode()
    assert process.wait(30) == cli.EXIT_BROKEN_PIPE
    assert "Traceback" not in err
    assert "Error" not in err


@pytest.mark.parametrize("name", ["run", "predict", "sync", "update", "status"])
def test_every_command_explains_itself(name):
    done = edgeloop("device", name, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: edgeloop device {name} [OPTIONS]")
    options = [parameter for parameter in cli.device.commands[name].params if isinstance(parameter, click.Option)]
    assert [option.name for option in options if not option.help] == []


def test_the_device_commands_load_nothing_heavy():
    code = """
        import sys
        from cloud_train.cli import edgeloop
        for words in (["device", "--help"], ["device", "run", "--help"], ["device", "predict", "--help"]):
            edgeloop.main(words, standalone_mode=False)
        heavy = {"numpy", "PIL", "grpc", "tuf", "torch", "ai_edge_litert", "onnxruntime", "sqlite3"} & set(sys.modules)
        assert not heavy, heavy
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, env=process_environment()
    )
    assert done.returncode == 0, done.stderr


def run_body(body, **environment):
    code = f"""
        import click, sys
        from edge.cli import run_cli
        from edge.errors import *
        @click.command()
        @click.option("--number", type=int)
        def command(number):
            {body}
        run_cli(command)
    """
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *environment.pop("words", "").split()],
        capture_output=True,
        text=True,
        env=process_environment(**environment),
    )


@pytest.mark.parametrize(
    ("body", "code", "stderr"),
    [
        ("pass", 0, ""),
        ("raise StorageError('disk full', hint='free some')", 1, "edgeloop: error: disk full (free some)\n"),
        ("raise UsageError('no such thing')", 2, "edgeloop: error: no such thing\n"),
        ("raise EdgeloopError('two\\n  lines')", 1, "edgeloop: error: two lines\n"),
        ("raise click.ClickException('odd')", 1, "edgeloop: error: odd\n"),
        ("sys.exit(7)", 7, ""),
        ("click.get_current_context().exit(5)", 5, ""),
    ],
)
def test_the_one_wrapper(body, code, stderr):
    done = run_body(body)
    assert (done.returncode, done.stderr) == (code, stderr)


def test_the_wrapper_on_ctrl_c():
    done = run_body("raise KeyboardInterrupt")
    assert (done.returncode, done.stderr.strip()) == (130, "")


def test_the_wrapper_on_wrong_words():
    done = run_body("pass", words="--number x")
    assert done.returncode == 2
    assert done.stderr.startswith("edgeloop: error: Invalid value for '--number': 'x' is not a valid integer. (see '")
    assert done.stderr.count("\n") == 1


def test_a_mistake_of_ours_still_shows_where():
    done = run_body("1 / 0")
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


@pytest.mark.parametrize(
    ("words", "level", "shown"),
    [("", "", False), ("-v", "", True), ("", "INFO", True), ("", "ERROR", False)],
)
def test_log_lines(words, level, shown):
    code = """
        import logging, sys
        from cloud_train.cli import edgeloop
        import click
        @edgeloop.command()
        def noise():
            logging.getLogger("edge.x").info("hello %s", "there")
        edgeloop.get_command = lambda context, name: noise
        edgeloop.main([*sys.argv[1:], "noise"], standalone_mode=False)
    """
    environment = process_environment(**({"LOG_LEVEL": level} if level else {}))
    command = [sys.executable, "-c", textwrap.dedent(code), *words.split(), "--log-format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [(line["level"], line["logger"], line["message"]) for line in lines] == (
        [("INFO", "edge.x", "hello there")] if shown else []
    )


def test_log_level_that_is_none(tmp_path):
    done = edgeloop("device", "status", "--home", tmp_path, LOG_LEVEL="loud")
    assert done.returncode == 2
    assert "LOG_LEVEL is 'LOUD'" in error_line(done)
