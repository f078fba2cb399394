from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
from drawn_pictures import (
    chunk,
    encoded,
    exif_bytes,
    extended,
    noise,
    png,
    riff,
    segment,
    smooth,
    with_segments,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edge.image.decode import DEFAULT_LIMITS, decode, read_header
from edge.image.header import PictureHeader, PictureKind
from edge.image.orientation import orientation_of
from edge.preprocess import open_picture

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="%d"/></x:xmpmeta>'


def header_of(data: bytes) -> PictureHeader:
    return read_header(data, name="picture", limits=DEFAULT_LIMITS)


def by_pillow(data: bytes) -> int:
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return image.getexif().get(0x0112, 1)


def jpeg_with(*segments: bytes) -> bytes:
    return with_segments(encoded(smooth(16, 16), "JPEG"), *segments)


def xmp_segment(turn: int) -> bytes:
    return segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP % turn)


def webp_with(*chunks: tuple[bytes, bytes]) -> bytes:
    plain = encoded(smooth(16, 12), "WEBP", lossless=True)
    return riff(extended(16, 12, 0x0C), (plain[12:16], plain[20:]), *chunks)


def late_png(*chunks: bytes) -> bytes:
    data = png(4, 4)
    return data[:-12] + b"".join(chunks) + data[-12:]


def raw_profile(turn: int) -> bytes:
    digits = (b"Exif\0\0" + exif_bytes(turn)).hex().encode()
    return b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n%8d\n" % len(digits) + digits + b"\n")


@pytest.mark.parametrize("turn", range(10))
def test_orientation_is_found_wherever_pillow_finds_it(turn: int) -> None:
    exif = exif_bytes(turn)
    files = [
        jpeg_with(segment(0xE1, b"Exif\0\0" + exif)),
        jpeg_with(segment(0xE1, b"Exif\0\0" + exif_bytes(turn, order=">"))),
        jpeg_with(segment(0xE1, b"Exif\0\0" + exif_bytes(turn, kind=4))),
        jpeg_with(segment(0xE1, b"Exif\0\0" + exif[:14]), segment(0xE1, b"Exif\0\0" + exif[14:])),
        jpeg_with(xmp_segment(turn)),
        jpeg_with(segment(0xE1, b"Exif\0\0" + exif), xmp_segment(3)),
        png(4, 4, extra=chunk(b"eXIf", exif)),
        late_png(chunk(b"eXIf", exif)),
        png(4, 4, extra=chunk(b"zTXt", raw_profile(turn))),
        png(4, 4, extra=chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP % turn)),
        late_png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0en\0a\0" + zlib.compress(XMP % turn))),
        webp_with((b"EXIF", exif)),
        webp_with((b"EXIF", b"Exif\0\0" + exif)),
        webp_with((b"XMP ", XMP % turn)),
    ]
    for number, data in enumerate(files):
        expected = by_pillow(data)
        assert header_of(data).turn == (expected if 1 <= expected <= 8 else 1), number
    assert header_of(files[0]).turn == (turn if 1 <= turn <= 8 else 1)


def test_first_exif_of_webp_and_first_copy_of_tag_count() -> None:
    assert header_of(webp_with((b"EXIF", exif_bytes(6)), (b"EXIF", exif_bytes(3)))).turn == 6


@given(
    exif=st.binary(max_size=200), head=st.sampled_from([b"", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b"Exif\0\0II*\0"])
)
@settings(max_examples=300, deadline=None)
def test_any_exif_gives_one_of_eight(exif: bytes, head: bytes) -> None:
    assert orientation_of(head + exif, exif) in range(1, 9)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (encoded(smooth(61, 47), "JPEG"), (PictureKind.JPEG, 61, 47, 0, 4)),
        (encoded(smooth(61, 47).convert("L"), "JPEG"), (PictureKind.JPEG, 61, 47, 0, 8)),
        (encoded(smooth(61, 47).convert("CMYK"), "JPEG"), (PictureKind.JPEG, 61, 47, 0, 8)),
        # 4 by 3 units of 16x16 pixels, each with 6 blocks of 64 coefficients of 2 bytes.
        (encoded(smooth(61, 47), "JPEG", progressive=True), (PictureKind.JPEG, 61, 47, 4 * 3 * 6 * 128, 4)),
        (encoded(smooth(61, 47)), (PictureKind.PNG, 61, 47, 0, 4)),
        (encoded(smooth(61, 47).convert("RGBA")), (PictureKind.PNG, 61, 47, 0, 8)),
        (encoded(smooth(61, 47).quantize(8)), (PictureKind.PNG, 61, 47, 0, 8)),
        (png(61, 47, extra=chunk(b"tRNS", bytes(6))), (PictureKind.PNG, 61, 47, 0, 8)),
        (encoded(smooth(61, 47), "WEBP"), (PictureKind.WEBP, 61, 47, 0, 16)),
        (encoded(noise(61, 47).convert("RGBA").rotate(9), "WEBP"), (PictureKind.WEBP, 61, 47, 0, 18)),
        (encoded(noise(61, 47).convert("RGBA").rotate(9), "WEBP", lossless=True), (PictureKind.WEBP, 61, 47, 0, 18)),
        (encoded(smooth(61, 47), "WEBP", lossless=True), (PictureKind.WEBP, 61, 47, 0, 16)),
        (encoded(smooth(61, 47), "WEBP", exif=b"Exif\0\0II*\0"), (PictureKind.WEBP, 61, 47, 0, 16)),
    ],
)
def test_header_says_kind_size_and_cost(data: bytes, expected: tuple[object, ...]) -> None:
    header = header_of(data)
    assert (header.kind, header.width, header.height, header.fixed_bytes, header.pixel_bytes) == expected


def test_decoder_sees_no_metadata_of_a_jpeg() -> None:
    plain = encoded(smooth(40, 30), "JPEG")
    heavy = with_segments(plain, *(segment(marker, b"x" * 60_000) for marker in (0xE1, 0xE2, 0xED, 0xFE) * 3))
    header = header_of(heavy)
    assert sum(end - start for start, end in header.parts) == len(plain)
    assert decode(heavy, header, 1, name="x").tobytes() == decode(plain, header_of(plain), 1, name="x").tobytes()


def test_adobe_segment_is_kept_for_it_tells_the_colour_space() -> None:
    for transform in (0, 2):
        cmyk = encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG")
        at = cmyk.index(b"Adobe")
        data = cmyk[: at + 11] + bytes([transform]) + cmyk[at + 12 :]
        data = with_segments(data, segment(0xE1, b"Exif\0\0junk"))
        with Image.open(io.BytesIO(data)) as image:
            expected = np.asarray(image.convert("RGB"))
        assert (np.asarray(open_picture(data).pixels(1)[0]) == expected).all()


def test_decoder_sees_only_what_makes_the_pixels_of_a_png() -> None:
    image = smooth(300, 200).quantize(16)
    plain = encoded(image, transparency=3)
    text = chunk(b"tEXt", b"Comment\0" + b"x" * 5000)
    heavy = (
        plain[:33] + text + chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(100))) + plain[33:-12] + text + plain[-12:]
    )
    header = header_of(heavy)
    spliced = b"".join(heavy[start:end] for start, end in header.parts)
    assert spliced == plain
    assert decode(heavy, header, 1, name="x").tobytes() == decode(plain, header_of(plain), 1, name="x").tobytes()


def test_of_many_compressed_texts_one_is_inflated(monkeypatch: pytest.MonkeyPatch) -> None:
    inflated: list[bytes] = []
    monkeypatch.setattr("edge.image.png_header._inflated", lambda data: inflated.append(data) or b"")
    texts = chunk(b"zTXt", raw_profile(6)) * 50 + chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0x") * 50
    assert header_of(png(4, 4, extra=texts)).turn == 1
    assert len(inflated) == 2


@given(
    parts=st.lists(st.tuples(st.integers(0, 40), st.integers(1, 9)), min_size=1, max_size=5),
    sizes=st.lists(st.integers(0, 30), min_size=1, max_size=20),
)
def test_spliced_reads_like_the_joined_parts(parts: list[tuple[int, int]], sizes: list[int]) -> None:
    from edge.image.decode import _Spliced

    data, position, ranges = bytes(range(256)), 0, []
    for gap, length in parts:
        ranges.append((position + gap, position + gap + length))
        position += gap + length
    joined = io.BytesIO(b"".join(data[start:end] for start, end in ranges))
    spliced = _Spliced(data, tuple(ranges))
    for size in sizes:
        assert spliced.read(size) == joined.read(size)
        assert spliced.tell() == joined.tell()
        if size % 7 == 0:
            assert spliced.seek(size) == joined.seek(size)


@pytest.mark.parametrize("colour", ["RGBA", "LA", "PA", "I;16"])
def test_large_pictures_are_converted_band_by_band_to_the_same_bits(
    colour: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if colour == "I;16":
        image = Image.fromarray(np.random.default_rng(1).integers(0, 65536, (70, 50), dtype=np.uint16))
        data = encoded(image)
    elif colour == "PA":
        data = encoded(noise(50, 70).quantize(16), transparency=bytes(range(0, 160, 10)))
    else:
        alpha = noise(50, 70, seed=1).getchannel(0)
        image = noise(50, 70).convert(colour[:-1])
        image.putalpha(alpha)
        data = encoded(image)
    whole = open_picture(data).pixels(1)[0].tobytes()
    monkeypatch.setattr("edge.image.colour._BAND_PIXELS", 333)
    assert open_picture(data).pixels(1)[0].tobytes() == whole
