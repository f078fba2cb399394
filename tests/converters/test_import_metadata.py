from __future__ import annotations

import random
import struct
import zipfile
from pathlib import Path

import flatbuffers
import pytest

from converters.foreign.metadata import Metadata, onnx_metadata, tflite_metadata
from edge.bundle.manifest import ChannelOrder

TINY = Path(__file__).parents[1] / "models" / "tiny_fp32.tflite"


def vector_of_floats(builder: flatbuffers.Builder, values: list[float]) -> int:
    builder.StartVector(4, len(values), 4)
    for value in reversed(values):
        builder.PrependFloat32(value)
    return builder.EndVector()


def vector_of_tables(builder: flatbuffers.Builder, table: int) -> int:
    builder.StartVector(4, 1, 4)
    builder.PrependUOffsetTRelative(table)
    return builder.EndVector()


def table(builder: flatbuffers.Builder, num_fields: int, **fields: tuple[str, int]) -> int:
    """A table with fields `f<number>` that are an offset or a byte."""
    builder.StartObject(num_fields)
    for name, (kind, value) in fields.items():
        slot = int(name[1:])
        if kind == "offset":
            builder.PrependUOffsetTRelativeSlot(slot, value, 0)
        else:
            builder.PrependUint8Slot(slot, value, 0)
    return builder.EndObject()


def metadata_buffer(mean: list[float], std: list[float], *, space: int = 1) -> bytes:
    """What TensorFlow Lite Support writes for a picture's normalisation (metadata_schema.fbs)."""
    builder = flatbuffers.Builder(256)
    means, stds = vector_of_floats(builder, mean), vector_of_floats(builder, std)
    options = table(builder, 2, f0=("offset", means), f1=("offset", stds))
    units = vector_of_tables(builder, table(builder, 2, f0=("byte", 1), f1=("offset", options)))
    image = table(builder, 2, f0=("byte", space))
    content = table(builder, 3, f0=("byte", 2), f1=("offset", image))
    tensor = table(builder, 7, f3=("offset", content), f4=("offset", units))
    subgraph = table(builder, 5, f2=("offset", vector_of_tables(builder, tensor)))
    root = table(builder, 8, f3=("offset", vector_of_tables(builder, subgraph)))
    builder.Finish(root, file_identifier=b"M001")
    return bytes(builder.Output())


def model_with(metadata: bytes) -> bytes:
    """A TFLite file that holds nothing but metadata."""
    builder = flatbuffers.Builder(1024)
    data = builder.CreateByteVector(metadata)
    buffers = vector_of_tables(builder, table(builder, 1, f0=("offset", data)))
    name = builder.CreateString("TFLITE_METADATA")
    entries = vector_of_tables(builder, table(builder, 2, f0=("offset", name)))
    root = table(builder, 8, f4=("offset", buffers), f6=("offset", entries))
    builder.Finish(root, file_identifier=b"TFL3")
    return bytes(builder.Output())


@pytest.mark.parametrize(
    ("mean", "std"),
    [([127.5], [127.5]), ([1.0, 2.0, 3.0], [4.0, 5.0, 6.0])],
)
def test_normalisation_and_colours_are_read(mean, std):
    found = tflite_metadata(model_with(metadata_buffer(mean, std)))
    assert found == Metadata(mean=tuple(mean), std=tuple(std), channels=ChannelOrder.RGB)
    assert tflite_metadata(model_with(metadata_buffer(mean, std, space=2))).channels is ChannelOrder.GREY


@pytest.mark.parametrize(
    ("mean", "std"),
    [([1.0, 2.0], [1.0, 2.0]), ([1.0], [0.0]), ([1.0], [1.0, 1.0, 1.0]), ([], [])],
)
def test_normalisation_that_makes_no_sense_counts_as_none(mean, std):
    assert tflite_metadata(model_with(metadata_buffer(mean, std))).mean == ()


def test_a_model_without_metadata():
    assert tflite_metadata(TINY.read_bytes()) == Metadata()


def test_label_files_that_are_packed_into_the_model(tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(TINY.read_bytes())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("labels.txt", "red\ngreen\nblue\n")
        archive.writestr("metadata.json", '{"author": "Ultralytics", "names": {"0": "red", "1": "green"}}')
        archive.writestr("picture.png", b"not read")
    found = tflite_metadata(path.read_bytes())
    assert found.label_files == (("labels.txt", b"red\ngreen\nblue\n"),)
    assert (found.author, found.labels) == ("Ultralytics", ("red", "green"))


def test_damaged_metadata_counts_as_none_and_never_fails():
    data = model_with(metadata_buffer([127.5], [127.5]))
    rng = random.Random(0)
    for _ in range(2000):
        broken = bytearray(data[: rng.randrange(8, len(data))] if rng.random() < 0.3 else data)
        for _ in range(rng.randrange(1, 6)):
            broken[rng.randrange(len(broken))] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
        assert isinstance(tflite_metadata(bytes(broken)), Metadata)


@pytest.mark.parametrize("offset", [0xFFFFFFFF, 0x7FFFFFFF, 0])
def test_a_root_that_leads_nowhere(offset):
    metadata = struct.pack("<I", offset) + metadata_buffer([127.5], [127.5])[4:]
    assert tflite_metadata(model_with(metadata)).mean == ()


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        ("{0: 'red', 1: 'green'}", ("red", "green")),
        ("['red']", ()),
        ("{1: 'red'}", ()),
        ("{0: 'red'", ()),
        ("__import__('os').getcwd()", ()),
        ("(" * 5000, ()),
    ],
)
def test_names_in_onnx_properties(names, labels):
    assert onnx_metadata({"names": names}).labels == labels
