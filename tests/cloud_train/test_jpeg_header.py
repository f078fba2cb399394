"""The quick look at a JPEG's header says what the general reader says, or nothing."""

import io
import random
import struct

import pytest
from PIL import Image

from cloud_train.ingest.jpeg_header import plain_jpeg_size


def jpeg(width=40, height=30, *, mode="RGB", **options):
    file = io.BytesIO()
    Image.effect_noise((width, height), 60).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}, {"quality": 10}, {"comment": b"x"}])
def test_plain_pictures_are_measured(mode, options):
    assert plain_jpeg_size(jpeg(317, 211, mode=mode, **options)) == (317, 211)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xd8",
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xda",
        b"\xff\xd8" + b"\xff\xe0\x00\x02" * 1000,
        b"\xff\xd8" + b"\xff\xe0\x00\x00" * 1000,
        b"\xff\xd8\xff\xda\x00\x02",
        jpeg(mode="CMYK"),
        b"\x89PNG\r\n\x1a\n" + b"\x00" * 2000,
    ],
    ids=["empty", "start", "cut", "scan", "endless", "no length", "scan without a frame", "four colours", "other"],
)
def test_what_is_not_plain_is_left_to_the_general_reader(data):
    assert plain_jpeg_size(data) is None


@pytest.mark.parametrize(
    ("find", "change"),
    [
        (b"\xff\xc0", lambda frame: frame[:4] + b"\x0c" + frame[5:]),  # twelve bits
        (b"\xff\xc0", lambda frame: frame[:5] + struct.pack(">H", 0) + frame[7:]),  # no height
        (b"\xff\xc0", lambda frame: b"\xff\xc9" + frame[2:]),  # arithmetic coding
        (b"\xff\xdb", lambda tables: tables[:4] + b"\x70" + tables[5:]),  # a table of no kind
        (b"\xff\xe0", lambda block: b"\xff\xe2" + block[2:]),  # may hold several pictures
    ],
)
def test_an_unusual_header_is_left_to_the_general_reader(find, change):
    data = jpeg()
    at = data.index(find)
    assert plain_jpeg_size(data[:at] + change(data[at:])) is None


def test_what_is_measured_the_general_reader_measures_alike():
    rng, data = random.Random(7), jpeg(317, 211)
    header = data.index(b"\xff\xda") + 8
    measured = 0
    for _ in range(3_000):
        changed = bytearray(data)
        for _ in range(rng.randint(1, 3)):
            changed[rng.randrange(header)] = rng.randrange(256)
        cut = bytes(changed[: rng.choice((len(data), rng.randrange(header)))])
        if (size := plain_jpeg_size(cut)) is not None and cut.startswith(b"\xff\xd8\xff"):
            measured += 1
            with Image.open(io.BytesIO(cut), formats=("JPEG",)) as picture:
                assert picture.size == size
    assert measured > 100
