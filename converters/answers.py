"""What a model says about pictures, through the pipeline that the device runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edge.backends.select import open_backend
from edge.bundle.manifest import ArtifactFormat, ArtifactSpec, StageSpec
from edge.errors import BackendError
from edge.loading import check_model
from edge.postprocess.select import StageFiles, postprocess
from edge.preprocess import preprocess_pixels, to_input
from edge.types import Geometry, Prediction, RawOutputs

if TYPE_CHECKING:
    from edge.bundle.manifest import PreprocessSpec
    from edge.types import ByteArray, FloatArray

# Raw outputs are kept of so many pictures, for the errors of each output; predictions of all.
RAW_PICTURES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenPicture:
    """A picture as the device feeds it.

    Attributes:
        pixels: uint8 (height, width, 3), of the model's size.
        geometry: The way back to the picture.
    """

    pixels: ByteArray
    geometry: Geometry


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How raw outputs become predictions.

    Attributes:
        stage: Says what they mean.
        labels: Class names of the stage.
        files: What its postprocessing reads.
    """

    stage: StageSpec
    labels: tuple[str, ...]
    files: StageFiles = field(default_factory=StageFiles)

    def read(self, outputs: Mapping[str, FloatArray], geometry: Geometry) -> Prediction:
        """The device's own postprocessing.

        Raises:
            BackendError: An output is missing or malformed.
        """
        raw = RawOutputs(by_name=outputs)
        return postprocess(raw, self.stage, self.labels, geometry, files=self.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What one model says.

    Attributes:
        predictions: About each picture; empty where the model is broken.
        raw: Outputs by name for the first pictures, (pictures, …) without the batch.
        broken: Why it gives no answers; empty where it does.
    """

    predictions: tuple[Prediction, ...]
    raw: Mapping[str, FloatArray]
    broken: str = ""


def see(paths: Sequence[Path], spec: PreprocessSpec, *, tick: Callable[[], None] = lambda: None) -> list[SeenPicture]:
    """Decodes and resizes pictures the way the device does.

    Raises:
        ImageError: A picture cannot be read; names the file.
    """
    seen = []
    for path in paths:
        pixels, geometry = preprocess_pixels(path, spec)
        seen.append(SeenPicture(pixels=pixels, geometry=geometry))
        tick()
    return seen


def ask_file(
    path: Path,
    form: ArtifactFormat,
    pictures: Sequence[SeenPicture],
    reading: Reading,
    *,
    tick: Callable[[], None] = lambda: None,
) -> Answers:
    """Runs a model file over pictures, in the runtime that the device uses, on one thread.

    Args:
        path: The model file.
        form: Its format.
        pictures: What it is shown.
        reading: What its outputs mean.
        tick: Called after each picture.

    Raises:
        BackendError: The runtime refuses the file, or its inputs and outputs are not those of the stage.
    """
    backend = open_backend(path, form, threads=1)
    try:
        check_model(backend, reading.stage, ArtifactSpec(file=path.name, format=form, recipe="", tolerance=0.0))
        return ask(lambda picture: backend.run(to_input(picture)).by_name, pictures, reading, tick=tick)
    finally:
        backend.close()


def ask(
    run: Callable[[ByteArray], Mapping[str, FloatArray]],
    pictures: Sequence[SeenPicture],
    reading: Reading,
    *,
    tick: Callable[[], None] = lambda: None,
) -> Answers:
    """Shows pictures to whatever gives raw outputs.

    Args:
        run: uint8 (height, width, 3) to outputs by name, batch of 1 in front.
        pictures: What it is shown; at least one.
        reading: What its outputs mean.
        tick: Called after each picture.
    """
    import numpy as np

    predictions: list[Prediction] = []
    raw: list[dict[str, FloatArray]] = []
    for picture in pictures:
        outputs = run(picture.pixels)
        if not all(bool(np.isfinite(outputs[output.name]).all()) for output in reading.stage.outputs):
            return Answers(predictions=(), raw={}, broken="some outputs are not finite numbers")
        try:
            predictions.append(reading.read(outputs, picture.geometry))
        except BackendError as cause:
            return Answers(predictions=(), raw={}, broken=cause.message)
        if len(raw) < RAW_PICTURES:
            raw.append({output.name: outputs[output.name] for output in reading.stage.outputs})
        tick()
    stacked = {output.name: np.concatenate([row[output.name] for row in raw]) for output in reading.stage.outputs}
    return Answers(predictions=tuple(predictions), raw=stacked)
