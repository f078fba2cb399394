"""Runs in the environment of mediapipe: its ImageClassifier on a model file of ours.

python -m benchmarks.peer.mediapipe_classify MODEL

mediapipe wants to be told in the file how to normalise: mean 0 and deviation 1, since ours does it inside. Its own
writer of such metadata cannot be imported in the release that is pinned, so the tables are filled here
(TensorFlow Lite metadata schema, identifier M001).
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import flatbuffers
import mediapipe as mp
import numpy as np
from mediapipe.tasks.metadata import metadata_schema_py_generated as metadata
from mediapipe.tasks.metadata import schema_py_generated as tflite
from mediapipe.tasks.python import BaseOptions, vision

from benchmarks.worker import serve


def with_metadata(model: bytes) -> bytes:
    """The model with what mediapipe has to find in it."""
    unpacked = tflite.ModelT.InitFromPackedBuf(model, 0)
    for held in unpacked.buffers:
        if held.offset > 1:  # weights behind the flatbuffer, at places that will not be theirs any more
            held.data = np.frombuffer(model, np.uint8, held.size, held.offset)
            held.offset = held.size = 0
    buffer, entry = tflite.BufferT(), tflite.MetadataT()
    buffer.data = np.frombuffer(_model_metadata(), np.uint8)
    entry.name, entry.buffer = b"TFLITE_METADATA", len(unpacked.buffers)
    unpacked.buffers.append(buffer)
    unpacked.metadata = [*(unpacked.metadata or []), entry]
    return _packed(unpacked, b"TFL3")


def _model_metadata() -> bytes:
    picture, logits, graph, model = (
        metadata.TensorMetadataT(),
        metadata.TensorMetadataT(),
        metadata.SubGraphMetadataT(),
        metadata.ModelMetadataT(),
    )
    picture.name, picture.content, picture.processUnits = "image", metadata.ContentT(), [_normalisation()]
    picture.content.contentPropertiesType = metadata.ContentProperties.ImageProperties
    picture.content.contentProperties = metadata.ImagePropertiesT()
    picture.content.contentProperties.colorSpace = metadata.ColorSpaceType.RGB
    logits.name = "logits"
    graph.inputTensorMetadata, graph.outputTensorMetadata = [picture], [logits]
    model.name, model.minParserVersion, model.subgraphMetadata = "classifier", "1.0.0", [graph]
    return _packed(model, b"M001")


def _normalisation() -> metadata.ProcessUnitT:
    unit = metadata.ProcessUnitT()
    unit.optionsType = metadata.ProcessUnitOptions.NormalizationOptions
    unit.options = metadata.NormalizationOptionsT()
    unit.options.mean, unit.options.std = [0.0], [1.0]
    return unit


def _packed(table: metadata.ModelMetadataT | tflite.ModelT, identifier: bytes) -> bytes:
    builder = flatbuffers.Builder(1024)
    builder.Finish(table.Pack(builder), identifier)
    return bytes(builder.Output())


def main(model: Path) -> None:
    """Answers with the best class."""
    with tempfile.TemporaryDirectory() as folder:
        described = Path(folder) / model.name
        described.write_bytes(with_metadata(model.read_bytes()))
        base = BaseOptions(model_asset_path=str(described))
        classifier = vision.ImageClassifier.create_from_options(
            vision.ImageClassifierOptions(base_options=base, max_results=5)
        )

    def answer(path: Path, _: bytes) -> str:
        result = classifier.classify(mp.Image.create_from_file(str(path)))
        return str(result.classifications[0].categories[0].index)

    serve(answer)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
