from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin
from prediction_values import (
    attributes,
    classification,
    counted,
    counts,
    detection,
    detections,
    inference,
    matches,
    text,
)

from edge.errors import EdgeloopError, ImageError
from edge.image.decode import DecodeLimits
from edge.keep.blur import MAX_CELLS, MIN_CELL_PIXELS, blur_regions
from edge.keep.privacy import (
    ALLOW,
    VETO,
    PrivacyAction,
    PrivacyAnswer,
    PrivacyHook,
    Protected,
    blur_labels,
    protect,
    veto_labels,
)
from edge.types import Box, Prediction

SIZE = (160, 120)
PERSON = Box(left=40, top=24, right=104, bottom=88)
SEEN = inference(detections(detection("person", 0.9, PERSON), detection("dog", 0.8)))


def noise(size: tuple[int, int] = SIZE, seed: int = 0) -> np.ndarray:
    """Smooth colours with fine detail on top of them, as a photo has."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    return (np.asarray(coarse, np.int16) + rng.integers(-20, 21, (*size[::-1], 3))).clip(0, 255).astype(np.uint8)


def encoded(pixels: np.ndarray, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def decoded(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture.convert("RGB"), np.int16)


def outside(box: Box, away: int = 0, size: tuple[int, int] = SIZE) -> np.ndarray:
    mask = np.ones(size[::-1], dtype=bool)
    top, left = max(0, int(box.top) - away), max(0, int(box.left) - away)
    mask[top : int(box.bottom) + away, left : int(box.right) + away] = False
    return mask


def detail(pixels: np.ndarray, box: Box) -> float:
    """Mean difference between neighbours inside a box, in grey levels."""
    part = pixels[int(box.top) : int(box.bottom), int(box.left) : int(box.right)]
    return float(np.abs(np.diff(part, axis=1)).mean())


@pytest.mark.parametrize(
    ("kind", "options", "away", "most"),
    [
        ("PNG", {}, 0, 0),
        ("JPEG", {"quality": 90}, 16, 8),
        ("JPEG", {"quality": 60, "subsampling": 0}, 16, 6),
        ("JPEG", {"quality": 30}, 16, 12),
        ("WEBP", {"lossless": True}, 0, 0),
        ("WEBP", {"quality": 80}, 16, 40),
    ],
)
def test_only_the_box_changes_and_nothing_is_left_in_it(
    kind: str, options: dict[str, object], away: int, most: int
) -> None:
    data = encoded(noise(), kind, **options)
    blurred = blur_regions(data, [PERSON])
    before, after = decoded(data), decoded(blurred)
    assert before.shape == after.shape
    difference = np.abs(before - after)[outside(PERSON, away)]
    assert difference.max() <= most
    assert difference.mean() <= most / 8
    inner = Box(left=48, top=32, right=96, bottom=80)  # a JPEG block across the edge holds both
    assert detail(before, inner) > 5
    assert detail(after, inner) < 3
    with Image.open(io.BytesIO(blurred)) as picture:
        assert picture.format == kind


def test_what_differs_only_in_detail_blurs_to_the_same_pixels() -> None:
    """Nothing can be recovered: two pictures whose 4 x 4 means agree cannot be told apart afterwards."""
    pixels = noise()
    other = pixels.copy()
    part = other[24:88, 40:104].reshape(4, 16, 4, 16, 3)
    other[24:88, 40:104] = part[:, ::-1, :, ::-1].reshape(64, 64, 3)
    assert (pixels != other).any()
    assert blur_regions(encoded(pixels, "PNG"), [PERSON]) == blur_regions(encoded(other, "PNG"), [PERSON])


@settings(max_examples=60, deadline=None)
@given(
    left=st.floats(0, 150),
    top=st.floats(0, 110),
    width=st.floats(0, 200),
    height=st.floats(0, 200),
    seed=st.integers(0, 5),
)
def test_any_box_is_blurred_whole(left: float, top: float, width: float, height: float, seed: int) -> None:
    box = Box(left=left, top=top, right=left + width, bottom=top + height)
    pixels = noise(seed=seed)
    after = decoded(blur_regions(encoded(pixels, "PNG"), [box]))
    x0, y0 = min(int(left), SIZE[0] - 1), min(int(top), SIZE[1] - 1)
    x1 = max(x0 + 1, min(SIZE[0], int(np.ceil(left + width))))
    y1 = max(y0 + 1, min(SIZE[1], int(np.ceil(top + height))))
    assert (after == pixels)[outside(Box(left=x0, top=y0, right=x1, bottom=y1))].all()
    inside = after[y0:y1, x0:x1]
    cells = [min(MAX_CELLS, max(1, length // MIN_CELL_PIXELS)) for length in inside.shape[:2]]
    # Between the centres of two cells all is a straight line: no more bends than cells.
    bends = [np.abs(np.diff(inside, 2, axis=axis)) > 3 for axis in (0, 1)]
    assert bends[0].any(axis=(1, 2)).sum() <= 4 * cells[0]
    assert bends[1].any(axis=(0, 2)).sum() <= 4 * cells[1]
    assert len(np.unique(inside.reshape(-1, 3), axis=0)) == 1 or max(cells) > 1


def test_small_things_become_one_colour() -> None:
    box = Box(left=10, top=10, right=22, bottom=22)
    after = decoded(blur_regions(encoded(noise(), "PNG"), [box]))
    assert len(np.unique(after[10:22, 10:22].reshape(-1, 3), axis=0)) == 1


def test_boxes_may_overlap_and_touch_the_edges() -> None:
    boxes = [Box(left=-20, top=-5, right=70, bottom=70), Box(left=50, top=50, right=200, bottom=200)]
    after = decoded(blur_regions(encoded(noise(), "PNG"), boxes))
    assert detail(after, Box(left=0, top=0, right=70, bottom=70)) < 3
    assert detail(after, Box(left=70, top=50, right=160, bottom=120)) < 3


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_the_picture_comes_out_upright_with_the_right_part_blurred(kind: str, turn: int) -> None:
    upright = noise()
    exif = Image.Exif()
    exif[0x0112] = turn
    options = {"JPEG": {"quality": 95, "subsampling": 0}, "PNG": {}, "WEBP": {"lossless": True}}[kind]
    data = encoded(stored_as(upright, turn), kind, exif=exif, **options)
    blurred = blur_regions(data, [PERSON])
    after = decoded(blurred)
    assert after.shape == upright.shape
    assert np.abs(after - upright)[outside(PERSON, 16)].mean() < 6
    assert detail(after, PERSON) < 4
    with Image.open(io.BytesIO(blurred)) as picture:
        assert not picture.getexif()


def stored_as(upright: np.ndarray, turn: int) -> np.ndarray:
    """How a camera stores what it saw when it was held that way."""
    back = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_90",
            7: "TRANSVERSE", 8: "ROTATE_270"}  # fmt: skip
    picture = Image.fromarray(upright)
    return np.asarray(picture.transpose(Image.Transpose[back[turn]]) if turn in back else picture)


SECRET = b"52.5200N 13.4050E"


def with_secrets(kind: str) -> bytes:
    """A picture that tells where it was taken in every place that its format has for that."""
    exif = Image.Exif()
    exif[0x010E] = SECRET.decode()
    options: dict[str, object] = {"exif": exif, "icc_profile": b"profile " + SECRET}
    if kind == "JPEG":
        options["comment"] = SECRET
    if kind == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_text("Location", SECRET.decode())
        options["pnginfo"] = info
    if kind == "WEBP":
        options["xmp"] = SECRET
    return encoded(noise(), kind, **options)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_nothing_but_pixels_survives(kind: str) -> None:
    data = with_secrets(kind)
    assert SECRET in data
    assert SECRET not in blur_regions(data, [PERSON])


@pytest.mark.parametrize(
    ("mode", "kind"), [("L", "JPEG"), ("CMYK", "JPEG"), ("L", "PNG"), ("P", "PNG"), ("RGBA", "PNG"), ("I;16", "PNG")]
)
def test_every_kind_of_pixel(mode: str, kind: str) -> None:
    file = io.BytesIO()
    picture = Image.fromarray(noise())
    picture = picture.convert("L").convert("I").convert("I;16") if mode == "I;16" else picture.convert(mode)
    picture.save(file, kind)
    blurred = blur_regions(file.getvalue(), [PERSON])
    with Image.open(io.BytesIO(blurred)) as after:
        assert (after.mode, after.size, after.format) == ("RGB", SIZE, kind)
    assert detail(decoded(blurred), PERSON) < 4


def test_what_is_hidden_under_transparency_does_not_leave() -> None:
    pixels = np.dstack([noise(), np.zeros(SIZE[::-1], np.uint8)])
    after = decoded(blur_regions(encoded(pixels, "PNG"), [PERSON]))
    assert (after == 255).all()


@pytest.mark.parametrize(
    "box",
    [
        Box(left=170, top=10, right=180, bottom=20),
        Box(left=10, top=130, right=20, bottom=140),
        Box(left=-20, top=10, right=-1, bottom=20),
        Box(left=20, top=10, right=10, bottom=20),
        Box(left=float("nan"), top=10, right=20, bottom=20),
        Box(left=10, top=10, right=float("inf"), bottom=20),
    ],
)
def test_a_box_that_is_not_in_the_picture_is_refused(box: Box) -> None:
    with pytest.raises(ImageError, match=r"the box .* is not in a picture of 160x120 pixels"):
        blur_regions(encoded(noise(), "PNG"), [PERSON, box])


def test_a_picture_too_large_to_decode_whole_is_refused() -> None:
    limits = DecodeLimits(max_decoded_bytes=40_000)
    with pytest.raises(ImageError, match="160x120 pixels"):
        blur_regions(encoded(noise(), "JPEG"), [PERSON], limits=limits)


# Hooks.


@pytest.mark.parametrize(
    ("prediction", "blurs", "vetoes"),
    [
        (detections(), ALLOW, ALLOW),
        (detections(detection("dog", 0.9, PERSON)), ALLOW, ALLOW),
        (detections(detection("person", 0.01, PERSON)), [PERSON], VETO),
        (detections(detection("dog", 0.9), detection("face", 0.5, PERSON)), [PERSON], VETO),
        (counts(counted(detection("person", 0.9, PERSON), text("AB", 0.9))), [PERSON], VETO),
        (counts(counted(detection("thing", 0.9, PERSON), classification("person", 0.1))), [PERSON], VETO),
        (counts(counted(detection("thing", 0.9, PERSON), text("AB", 0.9), matches("face", 0.9))), [PERSON], VETO),
        (counts(counted(detection("thing", 0.9, PERSON), text("AB", 0.9))), ALLOW, ALLOW),
        (classification("person", 0.1), VETO, VETO),
        (classification("dog", 0.9), ALLOW, ALLOW),
        (attributes(classification("dog", 0.9), classification("face", 0.3)), VETO, VETO),
    ],
)
def test_ready_hooks(prediction: Prediction, blurs: PrivacyAnswer | list[Box], vetoes: PrivacyAnswer) -> None:
    blurs = PrivacyAnswer(action=PrivacyAction.BLUR, boxes=tuple(blurs)) if isinstance(blurs, list) else blurs
    private = {"person", "face"}
    assert blur_labels(private, margin=0.0)(b"", inference(prediction)) == blurs
    assert veto_labels(private)(b"", inference(prediction)) == vetoes


def test_boxes_are_widened() -> None:
    answer = blur_labels({"person"}, margin=0.25)(b"", SEEN)
    assert answer.boxes == (Box(left=24, top=8, right=120, bottom=104),)
    with pytest.raises(ValueError, match="margin"):
        blur_labels({"person"}, margin=-0.1)


def test_an_answer_makes_sense_or_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="BLUR needs some"):
        PrivacyAnswer(action=PrivacyAction.BLUR)
    with pytest.raises(ValueError, match="BLUR needs some"):
        PrivacyAnswer(action=PrivacyAction.ALLOW, boxes=(PERSON,))


def test_allowed_pictures_stay_as_they_are() -> None:
    data = with_secrets("JPEG")
    expected = Protected(payload=data, digest=hashlib.sha256(data).hexdigest())
    assert protect(data, SEEN, lambda data, seen: ALLOW) == expected


def test_a_blurred_picture_has_a_digest_of_its_own_and_always_the_same() -> None:
    data = encoded(noise(), "JPEG")
    first, second = (protect(data, SEEN, blur_labels({"person"})) for _ in range(2))
    assert first == second
    assert first.payload not in (None, data)
    assert first.digest == hashlib.sha256(first.payload).hexdigest()


def raising(error: Exception) -> PrivacyHook:
    def hook(data: bytes, seen: object) -> PrivacyAnswer:
        raise error

    return hook


def answering(answer: object) -> PrivacyHook:
    return lambda data, seen: answer


FAR = PrivacyAnswer(action=PrivacyAction.BLUR, boxes=(Box(left=900, top=0, right=950, bottom=50),))


@pytest.mark.parametrize(
    ("hook", "problem"),
    [
        (veto_labels({"person"}), ""),
        (raising(RuntimeError("no model")), "privacy hook failed: RuntimeError: no model"),
        (raising(EdgeloopError("face.tflite is missing")), "privacy: face.tflite is missing"),
        (answering(None), "privacy hook failed: TypeError: expected a PrivacyAnswer, found NoneType"),
        (answering(True), "privacy hook failed: TypeError: expected a PrivacyAnswer, found bool"),
        (answering(FAR), "privacy: picture: the box (900, 0, 950, 50) is not in a picture of 160x120 pixels"),
    ],
)
def test_whatever_goes_wrong_nothing_is_kept(hook: PrivacyHook, problem: str) -> None:
    assert protect(encoded(noise(), "PNG"), SEEN, hook) == Protected(payload=None, problem=problem)


@pytest.mark.parametrize("cut", [0.3, 0.7])
def test_a_damaged_picture_is_not_kept_unblurred(cut: float) -> None:
    data = encoded(noise(), "PNG")
    protected = protect(data[: int(len(data) * cut)], SEEN, blur_labels({"person"}))
    assert protected.payload is None
    assert "damaged" in protected.problem


@pytest.mark.data
def test_real_photos_are_blurred(data_root: Path) -> None:
    paths = sorted((data_root / "models" / "imagenet_samples").glob("*.JPEG"))[:5]
    assert paths
    for path in paths:
        data = path.read_bytes()
        with Image.open(path) as photo:
            width, height = photo.size
        box = Box(left=width * 0.25, top=height * 0.25, right=width * 0.75, bottom=height * 0.75)
        before, after = decoded(data), decoded(blur_regions(data, [box]))
        far = outside(box, 32, (width, height))
        assert np.abs(before - after)[far].mean() < 2
        assert detail(after, box) < max(1.5, detail(before, box) / 4)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@settings(max_examples=60, deadline=None)
@given(place=st.integers(0, 10_000), byte=st.integers(0, 255), cut=st.integers(0, 400))
def test_damage_ends_in_a_blurred_picture_or_in_none(kind: str, place: int, byte: int, cut: int) -> None:
    data = bytearray(encoded(noise((64, 48)), kind))
    data[place % len(data)] = byte
    del data[len(data) - cut :]
    protected = protect(bytes(data), SEEN, answering(PrivacyAnswer(action=PrivacyAction.BLUR, boxes=(SMALL,))))
    assert (protected.payload is None) == bool(protected.problem)
    if protected.payload is None:
        assert protected.problem.startswith("privacy: picture: ")
    else:
        assert detail(decoded(protected.payload), SMALL) < 16  # of noise it is 85; damaged tables add some of their own


SMALL = Box(left=8, top=8, right=40, bottom=40)
