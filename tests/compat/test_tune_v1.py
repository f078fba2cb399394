"""A tune.json of format version 1 is understood for ever, and written the same way."""

from __future__ import annotations

from pathlib import Path

from edge.tune.choice import load_choice, remember_choice

FILE = Path(__file__).resolve().parent / "tune_v1.json"
FINGERPRINT = "aarch64-0123456789abcdef0123456789abcdef"


def test_a_file_of_version_1_is_read() -> None:
    said: list[str] = []
    choice = load_choice(FILE, "1" * 64, FINGERPRINT, say=said.append)
    assert choice is not None
    assert said == []
    found = [(one.stage, one.artifact, one.delegate, one.threads, one.workers, one.median_ms) for one in choice.stages]
    assert found == [
        ("find", "detector.tflite", "cpu", 2, 1, 41.25),
        ("name", "embedder.onnx", "cuda", 1, 4, 1.5),
    ]
    assert load_choice(FILE, "2" * 64, FINGERPRINT) is None
    assert load_choice(FILE, "1" * 64, "x86_64-0") is None


def test_it_is_written_as_it_was(tmp_path: Path) -> None:
    choice = load_choice(FILE, "1" * 64, FINGERPRINT)
    assert choice is not None
    remember_choice(tmp_path / "tune.json", choice)
    assert (tmp_path / "tune.json").read_bytes() == FILE.read_bytes()
