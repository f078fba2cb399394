"""A machine without any network interface still answers, from first start."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pipeline_bundles import COLOURS, build_pipeline, squares

UNSHARE = shutil.which("unshare") or "unshare"
_ASK = """
import asyncio, json, socket, sys
from edge import open_engine
assert [name for _, name in socket.if_nameindex()] in ([], ["lo"]), socket.if_nameindex()
try:
    socket.create_connection(("127.0.0.1", 9), timeout=1)
    raise SystemExit("there is a network")
except OSError as error:
    assert error.errno == 101, error  # the network is unreachable, even this machine's own
with open_engine(sys.argv[1], artifact=sys.argv[3]) as engine:
    one = engine.infer(sys.argv[2])
    many = engine.infer_batch([sys.argv[2]] * 3)
    later = asyncio.run(engine.ainfer(sys.argv[2]))
assert {item.prediction for item in (one, later, *many)} == {one.prediction}
print(json.dumps(one.prediction.by_label))
"""


@pytest.mark.faults
@pytest.mark.parametrize("artifact", ["tflite", "onnx"])
def test_answers_without_a_network_interface(tmp_path: Path, repository: Path, artifact: str) -> None:
    bundle = build_pipeline(tmp_path / "bundle")
    picture = tmp_path / "picture.png"
    picture.write_bytes(squares((1, 1, COLOURS["red"]), (5, 6, COLOURS["blue"])))
    done = subprocess.run(
        [UNSHARE, "--net", sys.executable, "-c", _ASK, str(bundle), str(picture), artifact],
        check=False,
        capture_output=True,
        text=True,
        cwd=repository,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [["blue", 1], ["red", 1]]


@pytest.mark.faults
def test_the_command_line_answers_without_a_network_interface(tmp_path: Path, tiny_bundle: Path) -> None:
    program = Path(sys.executable).parent / "edgeloop"
    picture = tiny_bundle / "golden-0.png"
    done = subprocess.run(
        [UNSHARE, "--net", str(program), "device", "predict", str(picture), "--bundle", str(tiny_bundle), "--json"],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["predicted_class"] == "red"
