from __future__ import annotations

from pathlib import Path

from device_tests.checks import PreprocessVector, check_bundle, check_vector


def test_preprocess_vector(vector: PreprocessVector) -> None:
    check_vector(vector)


def test_bundle(bundle_path: Path) -> None:
    assert check_bundle(bundle_path)
