from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageFont

from edge.drawing.annotate import annotate
from edge.drawing.lettering import drawable, lettering
from edge.drawing.marks import Mark, draw_marks, ink_on
from edge.errors import ImageError, UsageError
from edge.types import (
    Attribute,
    Attributes,
    Box,
    Classification,
    ClassScore,
    CountedItem,
    Counts,
    Decision,
    DecisionReason,
    Detection,
    Detections,
    Inference,
    Match,
    Matches,
    Outcome,
    Prediction,
    Text,
    Timings,
)

ORANGE = (230, 159, 0)


def inference(prediction: Prediction, outcome: Outcome = Outcome.CONFIRM) -> Inference:
    return Inference(
        prediction=prediction,
        decision=Decision(outcome=outcome, confidence=0.5, reason=DecisionReason.LOW_CONFIDENCE),
        timings=Timings(preprocess_ms=1, infer_ms=2, postprocess_ms=3),
        bundle_digest="a" * 64,
        artifact="m.tflite",
        picture_digest="b" * 64,
    )


def detection(edges: tuple[float, float, float, float], label: str = "cat", score: float = 0.7) -> Detection:
    left, top, right, bottom = edges
    return Detection(box=Box(left=left, top=top, right=right, bottom=bottom), label=label, index=0, score=score)


def classification(*labels: str) -> Classification:
    top = tuple(
        ClassScore(label=label, index=index, probability=0.5 / (index + 1)) for index, label in enumerate(labels)
    )
    return Classification(top=top, margin=0.2, entropy=0.3)


def counts(outcome: Outcome, edges: tuple[float, float, float, float] = (20, 20, 80, 80)) -> Counts:
    match = Matches(top=(Match(label="cola", similarity=0.9),), known=True, confidence=0.8, margin=0.5, novelty=0.1)
    decision = Decision(outcome=outcome, confidence=0.8, reason=DecisionReason.CONFIDENT)
    item = CountedItem(detection=detection(edges, "item"), answers=(match,), decision=decision)
    return Counts(items=(item,), by_label=((item.label, 1),))


def picture(width: int, height: int, level: int = 60) -> np.ndarray:
    return np.full((height, width, 3), level, dtype=np.uint8)


def drawn(image: object, prediction: Prediction, **how: object) -> np.ndarray:
    with Image.open(io.BytesIO(annotate(image, inference(prediction), kind="PNG", **how))) as canvas:
        return np.asarray(canvas.convert("RGB"))


KINDS = [
    classification("red", "green"),
    Attributes(heads=(Attribute(name="colour", classification=classification("red")),), confidence=0.5),
    Detections(items=(detection((5, 5, 20, 20)),)),
    Detections(items=(), nearest_miss=0.1),
    Matches(top=(Match(label="cola", similarity=0.9),), known=False, confidence=0.8, margin=0.5, novelty=0.1),
    Text(text="LOT 4711", confidence=0.9),
    Text(text="", confidence=0.9),
    counts(Outcome.ACCEPT, (2, 2, 20, 20)),
    Counts(items=(), by_label=()),
]


@pytest.mark.parametrize("prediction", KINDS, ids=lambda kind: type(kind).__name__)
@pytest.mark.parametrize("size", [(1, 1), (24, 24), (640, 480), (3000, 40), (30, 2000), (4000, 3000)])
def test_every_kind_on_every_size(prediction, size):
    canvas = drawn(picture(*size), prediction)
    height, width = canvas.shape[:2]
    assert width >= 480
    assert width <= 1600
    scale = min(max(max(size), 640), 1600) / max(size)
    strip = height - max(1, round(size[1] * scale))
    assert 20 <= strip <= 400
    # Something light is written on the dark strip.
    assert (canvas[-strip:].min(axis=2) > 200).sum() > 30


def test_a_box_is_where_it_was_found():
    canvas = drawn(picture(1000, 800), Detections(items=(detection((200, 300, 500, 600)),)))
    orange = np.argwhere((canvas[:800] == ORANGE).all(axis=2))
    for row in (300, 599):
        assert any(abs(y - row) <= 3 and 250 < x < 450 for y, x in orange)
    for column in (200, 499):
        assert any(abs(x - column) <= 3 and 350 < y < 550 for y, x in orange)
    assert not any(230 < x < 470 and 330 < y < 570 for y, x in orange)


def test_small_pictures_are_enlarged_with_their_boxes():
    canvas = drawn(picture(64, 32), Detections(items=(detection((32, 8, 56, 24)),)))
    orange = np.argwhere((canvas[:320] == ORANGE).all(axis=2))
    assert orange[:, 1].min() == pytest.approx(320, abs=3)
    assert orange[:, 1].max() == pytest.approx(560, abs=60)


def test_the_picture_is_turned_upright_as_the_boxes_are():
    stored = Image.new("RGB", (200, 100))
    stored.paste((255, 255, 255), (0, 0, 20, 100))
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    stored.save(buffer, "JPEG", exif=exif)
    canvas = drawn(buffer.getvalue(), Detections(items=()))
    assert canvas[10, 240].min() > 200  # the stored left edge is the upright top edge
    assert canvas[600, 240].max() < 60


@pytest.mark.parametrize(
    ("outcome", "least", "most"),
    [(Outcome.ACCEPT, 0.98, 1.0), (Outcome.CONFIRM, 0.5, 0.75), (Outcome.UNKNOWN, 0.25, 0.45)],
)
def test_decisions_are_not_told_by_colour_alone(outcome, least, most):
    canvas = drawn(picture(1000, 800), counts(outcome, (200, 300, 500, 700)))
    side = canvas[350:650, 200:203].reshape(300, 3, 3)
    lit = (side.max(axis=(1, 2)) > 150).mean()
    assert least <= lit <= most


def test_labels_do_not_cover_each_other_if_they_can():
    letters = lettering(16, ["cat 70%"], system_fonts=())
    marks = [
        Mark(area=(100, 100, 180, 160), label="cat", score="70%", colour=ORANGE, outcome=Outcome.ACCEPT),
        Mark(area=(104, 100, 184, 162), label="cat", score="71%", colour=(86, 180, 233), outcome=Outcome.ACCEPT),
    ]

    class Recorder:
        def __init__(self) -> None:
            self.filled: list[tuple[float, ...]] = []

        def rectangle(self, area, fill=None, outline=None, width=1):
            if fill is not None:
                self.filled.append(area)

        def text(self, *args, **kwargs):
            pass

    recorder = Recorder()
    draw_marks(recorder, marks, letters, (400, 300))
    first, second = recorder.filled
    assert first[3] <= second[1] or second[3] <= first[1] or first[2] <= second[0] or second[2] <= first[0]


@pytest.mark.parametrize(
    ("ground", "ink"),
    [((240, 228, 66), (0, 0, 0)), ((0, 114, 178), (255, 255, 255)), ((190, 190, 190), (0, 0, 0))],
)
def test_ink_stands_out(ground, ink):
    assert ink_on(ground) == ink


@pytest.mark.parametrize(
    ("text", "plain"),
    [("cola 90%", "cola 90%"), ("Süßkartoffel", "Susskartoffel"), ("żółw", "zolw"), ("ชา", "??")],
)
def test_letters_that_no_font_has_become_plain_ones(text, plain):
    assert drawable(text, ImageFont.load_default(16)) == plain


def test_a_font_of_the_system_is_used_where_it_has_more_letters():
    try:
        ImageFont.truetype("DejaVuSans.ttf", 16)
    except OSError:
        pytest.skip("no DejaVu font")
    assert lettering(16, ["cola"]).font.getname()[0] == "Aileron"
    found = lettering(16, ["żółw"])
    assert found.font.getname()[0] == "DejaVu Sans"
    assert drawable("żółw", found.font) == "żółw"


def test_long_texts_are_cut_to_the_room():
    letters = lettering(16, ["x"], system_fonts=())
    assert letters.fitted("cola", 500) == "cola"
    cut = letters.fitted("a label that goes on and on", 100)
    assert cut.endswith("...")
    assert letters.width(cut) <= 100
    assert letters.fitted("label", 3) == ""


def test_many_labels_end_with_how_many_more():
    items = tuple(detection((0, 0, 5, 5), f"a thing of kind {number}") for number in range(200))
    canvas = drawn(picture(200, 200), Detections(items=items))
    assert canvas.shape[0] < 1280 + 700


def test_the_same_answer_is_drawn_the_same():
    prediction = Detections(items=(detection((5, 5, 20, 20)),))
    assert annotate(picture(50, 40), inference(prediction)) == annotate(picture(50, 40), inference(prediction))


def test_what_cannot_be_drawn():
    with pytest.raises(UsageError, match="drawings are JPEG or PNG, not GIF"):
        annotate(picture(5, 5), inference(KINDS[0]), kind="GIF")
    with pytest.raises(ImageError, match=r"x\.png: "):
        annotate(b"no picture", inference(KINDS[0]), name="x.png")
