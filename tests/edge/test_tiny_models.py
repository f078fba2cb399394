from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_bundles import ARTIFACTS, MARK, MODELS

from edge.bundle.reader import open_bundle
from edge.update.selftest import self_test


def test_committed_models_carry_the_mark_once() -> None:
    for artifact in ARTIFACTS:
        assert (MODELS / artifact.file).read_bytes().count(MARK) == 1


@pytest.mark.parametrize("flavour", [0, 1, -3, 20])
def test_every_flavour_is_a_whole_bundle(flavour: int, make_bundle: Callable[..., Path], tmp_path: Path) -> None:
    self_test(open_bundle(make_bundle(tmp_path / "b", flavour=flavour)))


def test_same_arguments_same_bundle(make_bundle: Callable[..., Path], tmp_path: Path) -> None:
    first, second = (open_bundle(make_bundle(tmp_path / name, version=3, flavour=2)) for name in "ab")
    assert first.digest == second.digest


@pytest.mark.slow
def test_models_equal_their_generator(tmp_path: Path, update_goldens: bool) -> None:
    pytest.importorskip("litert_torch")
    target = MODELS if update_goldens else tmp_path
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, str(MODELS / "make_tiny.py"), str(target)], check=True, env=environment)
    for artifact in ARTIFACTS:
        assert (target / artifact.file).read_bytes() == (MODELS / artifact.file).read_bytes(), artifact.file
