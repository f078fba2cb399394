"""Gallery parts of format version 1 open for ever."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge.bundle.gallery import gallery_bytes, read_gallery

FOLDER = Path(__file__).resolve().parent
PARTS = [(name, (FOLDER / name).read_bytes()) for name in ("gallery_v1_float32.bin", "gallery_v1_float16.bin")]


def test_parts_of_version_1_open_as_one() -> None:
    found = read_gallery(PARTS)
    assert found.labels == ("milk 1 l", "crème fraîche", "butter")
    assert found.rows.tolist() == [0, 0, 0, 1, 2]
    expected = [[1, 0, 0, 0], [0.5, 0.5, 0.5, 0.5], [0, 1, 0, 0], [0, 0.6, 0.8, 0], [0, 0, 0, -1]]
    assert np.abs(found.vectors - expected).max() < 1e-7


def test_the_writer_still_writes_version_1() -> None:
    milk, cream = "milk 1 l", "crème fraîche"
    made = gallery_bytes([milk, cream], [0, 0, 1], [[1, 0, 0, 0], [0.5] * 4, [0, 0.6, 0.8, 0]])
    header = PARTS[0][1].index(b"}") + 1
    assert made[:header] == PARTS[0][1][:header]
    assert len(made) == len(PARTS[0][1])
