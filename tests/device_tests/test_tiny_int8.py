"""The committed int8 bundle is what its generator writes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from device_tests.plan import TINY_INT8_BUNDLE, opened
from edge.bundle.golden import unpack_values
from edge.bundle.golden_reader import load_golden

SCRIPT = Path(__file__).resolve().parent / "make_tiny_int8.py"


def test_its_golden_vectors_tell_pictures_apart_and_must_be_equal() -> None:
    with opened(TINY_INT8_BUNDLE) as bundle:
        (artifact,) = bundle.manifest.stages[0].artifacts
        golden = load_golden(bundle)
    assert (artifact.recipe, artifact.tolerance) == ("static_wi8_ai8", 0.0)
    assert len({unpack_values(vector.outputs[0]).tobytes() for vector in golden.vectors}) == len(golden.vectors) == 8


@pytest.mark.slow
def test_model_and_golden_values_equal_their_generator(tmp_path: Path, repository: Path, update_goldens: bool) -> None:
    """The manifest may gain fields with defaults; what the model says may not change."""
    pytest.importorskip("litert_torch")
    target = TINY_INT8_BUNDLE if update_goldens else tmp_path / "tiny_int8.edgebundle"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(repository)}
    subprocess.run([sys.executable, str(SCRIPT), str(target)], check=True, env=environment, cwd=repository)
    with opened(target) as made, opened(TINY_INT8_BUNDLE) as committed:
        assert made.read("tiny_int8.tflite") == committed.read("tiny_int8.tflite")
        assert load_golden(made) == load_golden(committed)
