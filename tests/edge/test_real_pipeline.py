"""Two networks that edgeloop did not make, joined to a pipeline, on photos of a shop's fruit."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pipeline_bundles import COLOURS, build_pipeline, squares
from real_bundles import (
    FULL_HD,
    MOBILENET,
    build_counter,
    grocery_photos,
    import_fastest,
    import_mobilenet,
    import_ssd,
    tile_photos,
)

from edge.bundle.reader import Bundle
from edge.engine import Engine, open_engine
from edge.types import Box, CountedItem, Counts, Inference

# Of the fruit that both label files know: what the detector says, and what ImageNet calls it.
FRUIT = [("Granny-Smith", "apple", "Granny Smith"), ("Banana", "banana", "banana")]
MARGIN = 0.1


@pytest.fixture(scope="module")
def models(data_root: Path) -> Path:
    return data_root / "models"


@pytest.fixture(scope="module")
def counter(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_counter(models, tmp_path_factory.mktemp("real") / "counter")


@pytest.fixture(scope="module")
def shelf(data_root: Path) -> bytes:
    """Full HD: apples at the top left, oranges, bananas at the bottom left, pineapples."""
    kinds = ("Granny-Smith", "Orange", "Banana", "Pineapple")
    return tile_photos([grocery_photos(data_root, kind)[0] for kind in kinds], columns=2)


@pytest.mark.data
@pytest.mark.parametrize(("kind", "found", "named"), FRUIT)
def test_fruit_is_found_and_named(counter: Path, data_root: Path, kind: str, found: str, named: str) -> None:
    items: list[CountedItem] = []
    with open_engine(counter, allow_unproven=True) as engine:
        for photo in grocery_photos(data_root, kind)[:6]:
            items.extend(counts_of(engine.infer(photo)).items)
    assert len(items) >= 12
    assert {item.detection.label for item in items} == {found}
    names = Counter(item.label for item in items)
    assert names.most_common(1)[0][0] == named
    assert names[named] >= 0.6 * len(items), names


@pytest.mark.data
def test_each_thing_is_where_it_lies_on_the_shelf(counter: Path, shelf: bytes) -> None:
    with open_engine(counter, allow_unproven=True) as engine:
        inference = engine.infer(shelf)
    counts = counts_of(inference)
    assert dict(counts.by_label)["Granny Smith"] >= 1
    assert dict(counts.by_label)["banana"] >= 2
    places = {
        cell: {item.detection.label for item in counts.items if cell_of(item.detection.box) == cell}
        for cell in ((0, 0), (1, 0), (0, 1))
    }
    assert places == {(0, 0): {"apple"}, (1, 0): {"orange"}, (0, 1): {"banana"}}
    assert all(item.answers[0].headline.confidence > 0.5 for item in counts.items if item.label == "banana")


@pytest.mark.data
def test_crops_are_those_that_a_person_would_cut(counter: Path, models: Path, data_root: Path) -> None:
    """The same crop by Pillow alone and the same model by the bare runtime: the same probability to the last digit."""
    ask = bare_classifier(models / MOBILENET)
    with open_engine(counter, allow_unproven=True) as engine:
        for kind, _, _ in FRUIT:
            for photo in grocery_photos(data_root, kind)[:3]:
                for item in counts_of(engine.infer(photo)).items:
                    best = item.answers[0].top[0]
                    expected = ask(cut_by_hand(photo, item.detection.box))
                    assert best.index == int(expected.argmax())
                    assert best.probability == pytest.approx(expected[best.index], abs=1e-6)


@pytest.mark.data
def test_every_number_of_workers_gives_the_same(counter: Path, shelf: bytes) -> None:
    answers = []
    for workers in (1, 2, 4):
        with open_engine(counter, allow_unproven=True, workers=workers) as engine:
            answers.append(engine.infer(shelf).prediction)
    assert len(answers[0].items) >= 4
    assert answers[1:] == answers[:1] * 2


@pytest.mark.data
def test_threads_of_the_detector_do_not_matter(counter: Path, shelf: bytes) -> None:
    with (
        open_engine(counter, allow_unproven=True, threads=1) as one,
        open_engine(counter, allow_unproven=True, threads=2) as two,
    ):
        assert one.infer(shelf).prediction == two.infer(shelf).prediction


@pytest.mark.data
def test_batch_and_async_agree_with_one_at_a_time(counter: Path, shelf: bytes, data_root: Path) -> None:
    photos = [shelf, *grocery_photos(data_root, "Banana")[:3]]

    async def ask_all(engine: Engine) -> list[Inference]:
        return await asyncio.gather(*(engine.ainfer(photo) for photo in photos))

    with open_engine(counter, allow_unproven=True) as engine:
        expected = [engine.infer(photo).prediction for photo in photos]
        assert [answer.prediction for answer in engine.infer_batch(photos)] == expected
        assert [answer.prediction for answer in asyncio.run(ask_all(engine))] == expected


@pytest.mark.data
def test_networks_beside_each_other_do_not_disturb_each_other(
    models: Path, counter: Path, data_root: Path, tmp_path: Path
) -> None:
    """A detector and a feature extractor in one process, as people ran them to wrong answers (LiteRT issue 5004)."""
    bundles: list[Bundle | Path] = [
        import_ssd(models, tmp_path / "ssd"),
        import_mobilenet(models, tmp_path / "mobilenet"),
        import_fastest(models, tmp_path / "fastest"),
        counter,
    ]
    photos = [photo for kind, _, _ in FRUIT for photo in grocery_photos(data_root, kind)[:3]]
    alone = []
    for bundle in bundles:
        with open_engine(bundle, allow_unproven=True) as engine:
            alone.append([engine.infer(photo).prediction for photo in photos])
    engines = [open_engine(bundle, allow_unproven=True).load() for bundle in bundles]
    together = ask_side_by_side(engines, photos, rounds=3)
    for engine in engines:
        engine.close()
    assert together == [expected * 3 for expected in alone]


@pytest.mark.data
def test_example_counts_a_real_shelf(counter: Path, shelf: bytes, repository: Path, tmp_path: Path) -> None:
    picture, drawn = tmp_path / "shelf.jpg", tmp_path / "drawn.jpg"
    picture.write_bytes(shelf)
    said = run_example(repository, counter, picture, drawn)
    assert " x banana" in said
    assert drawn.read_bytes()[:3] == b"\xff\xd8\xff"


def test_example_counts_a_drawn_shelf(repository: Path, tmp_path: Path) -> None:
    picture = tmp_path / "shelf.png"
    picture.write_bytes(squares((1, 1, COLOURS["red"]), (4, 2, COLOURS["red"]), (5, 6, COLOURS["blue"])))
    said = run_example(repository, build_pipeline(tmp_path / "bundle"), picture)
    assert said.splitlines()[:2] == ["  2 x red", "  1 x blue"]


def run_example(repository: Path, *arguments: Path) -> str:
    command = [sys.executable, str(repository / "examples" / "count_shelf.py"), *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=repository, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def counts_of(inference: Inference) -> Counts:
    assert isinstance(inference.prediction, Counts)
    return inference.prediction


def cell_of(box: Box) -> tuple[int, int]:
    """Column and row of a box's middle in a shelf of 2 x 2."""
    return int((box.left + box.right) / 2 // (FULL_HD[0] / 2)), int((box.top + box.bottom) / 2 // (FULL_HD[1] / 2))


def cut_by_hand(photo: Path, box: Box) -> np.ndarray:
    """uint8 (224, 224, 3): a box of a small photo, widened, by Pillow alone."""
    from PIL import Image

    with Image.open(photo) as opened:
        image = opened.convert("RGB")
    across, down = (box.right - box.left) * MARGIN, (box.bottom - box.top) * MARGIN
    edges = (
        max(0.0, box.left - across),
        max(0.0, box.top - down),
        min(float(image.width), box.right + across),
        min(float(image.height), box.bottom + down),
    )
    return np.asarray(image.resize((224, 224), Image.Resampling.BILINEAR, box=edges))


def bare_classifier(model: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The runtime's own call around a uint8 model: a picture to its probabilities."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(model))
    interpreter.allocate_tensors()
    given, taken = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    scale, zero_point = taken["quantization"]

    def ask(picture: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(given["index"], picture[np.newaxis])
        interpreter.invoke()
        return (interpreter.get_tensor(taken["index"])[0].astype(np.float64) - zero_point) * scale

    return ask


def ask_side_by_side(engines: list[Engine], photos: list[Path], *, rounds: int) -> list[list[object]]:
    """Every engine is asked by a thread of its own, all at once."""
    answers: list[list[object]] = [[] for _ in engines]
    begin = threading.Barrier(len(engines))

    def work(position: int) -> None:
        begin.wait(timeout=30)
        for _ in range(rounds):
            answers[position].extend(engines[position].infer(photo).prediction for photo in photos)

    threads = [threading.Thread(target=work, args=(position,)) for position in range(len(engines))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    return answers
