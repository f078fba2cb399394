"""The device tests must pass here, and must fail on a device that differs."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from device_tests.__main__ import main
from device_tests.checks import (
    VECTORS,
    MismatchError,
    check_bundle,
    check_vector,
    load_vectors,
)
from edge.bundle.manifest import CropPolicy
from edge.errors import UsageError


def test_all_pass_on_this_machine(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--device", "local", "--bundle", str(tiny_bundle)]) == 0
    said = capsys.readouterr().out
    assert f"{len(load_vectors()) + 2} passed, 0 failed" in said
    assert "tiny_fp32.tflite, tiny_fp32.onnx" in said


def test_damaged_bundle_fails_and_the_rest_goes_on(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tiny_bundle / "tiny_fp32.onnx").write_bytes(b"x")
    assert main(["--bundle", str(tiny_bundle), "--bundle", str(tiny_bundle / "gone")]) == 1
    said = capsys.readouterr().out
    assert f"{len(load_vectors()) + 1} passed, 2 failed" in said
    assert "FAIL  bundle gone" in said


def test_only_this_device_is_accepted_yet() -> None:
    for device in ("arm64", "ssh:board"):
        with pytest.raises(SystemExit) as caught:
            main(["--device", device])
        assert caught.value.code == 2


def test_vector_that_differs_is_a_mismatch() -> None:
    vector = load_vectors()[0]
    check_vector(vector)
    with pytest.raises(MismatchError, match="tensor has SHA-256"):
        check_vector(replace(vector, sha256="0" * 64))
    with pytest.raises(MismatchError, match="tensor has SHA-256"):
        check_vector(replace(vector, spec=replace(vector.spec, crop=CropPolicy.LETTERBOX)))
    with pytest.raises(MismatchError, match="geometry is"):
        check_vector(replace(vector, geometry=replace(vector.geometry, offset_x=1.0)))


def test_bundle_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such bundle"):
        check_bundle(tmp_path / "gone")


def test_vectors_cover_every_policy_and_kind() -> None:
    vectors = load_vectors()
    assert {vector.spec.crop for vector in vectors} == set(CropPolicy)
    assert {vector.file.rsplit(".")[-1] for vector in vectors} == {"png", "jpg", "webp"}
    assert len({(vector.file, vector.spec.crop) for vector in vectors}) == len(vectors)


def test_vectors_equal_their_generator(tmp_path: Path, repository: Path, update_goldens: bool) -> None:
    target = VECTORS if update_goldens else tmp_path
    script = str(VECTORS / "make_vectors.py")
    environment = os.environ | {"PYTHONPATH": str(repository)}
    subprocess.run([sys.executable, script, str(target)], check=True, env=environment, cwd=repository)

    def digests(folder: Path) -> dict[str, str]:
        files = (path for path in folder.iterdir() if path.is_file() and path.suffix != ".py")
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    assert digests(target) == digests(VECTORS)


def test_device_environment_passes_without_pytest(
    repository: Path, make_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    python = repository / ".venv-device" / "bin" / "python"
    if not python.exists():
        pytest.skip("the device environment .venv-device is not made")
    folder = make_bundle(tmp_path / "b", flavour=3)
    command = [str(python), "-m", "device_tests", "--device", "local", "--bundle", str(folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=repository)
    assert done.returncode == 0, done.stdout
    assert " 0 failed" in done.stdout
