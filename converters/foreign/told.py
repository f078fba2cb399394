"""What a person tells about a foreign model, and where each thing that is believed about it comes from."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from edge.bundle.manifest import (
    Activation,
    BoxFormat,
    ChannelOrder,
    CropPolicy,
    Decoder,
    InputType,
    OutputKind,
    TensorLayout,
)


class InputRange(enum.Enum):
    """Usual ways to feed pixels of 0 to 255 to a network: as they are, scaled, or by ImageNet's mean and deviation."""

    BYTES = "0..255"
    UNIT = "0..1"
    SIGNED = "-1..1"
    IMAGENET = "imagenet"


class Source(enum.Enum):
    """Where a fact about a model comes from."""

    FLAG = "as told"
    FILE = "found in the file"
    RUN = "seen in its outputs"
    ASSUMED = "assumed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One fact about a model, for people.

    Attributes:
        what: For instance `channels`.
        value: For instance `rgb`.
        source: Where it comes from.
    """

    what: str
    value: str
    source: Source

    def line(self) -> str:
        """One line of a table."""
        return f"{self.what:<15} {self.value} ({self.source.value})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a person says; every field that is None or empty is to be found out. What is told wins.

    Attributes:
        layout: Order of the input's axes.
        channels: Colours of the input.
        dtype: Type of the input; must be the file's.
        input_range: How pixels are scaled; not together with `mean` and `std`.
        mean: Subtracted from a pixel, 0 to 255, for one or three channels.
        std: Then divides it.
        input_scale: Quantization of an integer input, where the file does not tell it.
        input_zero_point: The same.
        crop: What to do with other aspect ratios.
        fill: Grey level of letterbox padding, 0 to 255.
        outputs: Name and kind of output tensors.
        decoder: How a detector's outputs become boxes.
        box_format: What the four numbers of a box are.
        normalised: Boxes in 0 to 1 (True) or in pixels of the input (False).
        activation: What is still to be applied to a detector's scores.
        first_class: Number that a detector gives to the first label.
        score_threshold: Least score of a detection that is reported, 0 to 1.
        iou_threshold: Overlap above which the lower of two boxes goes, 0 to 1.
        max_detections: At most so many are reported.
        class_agnostic: Whether boxes of different classes suppress each other.
        match_threshold: Least cosine of a known class, -1 to 1.
        temperature: Logits are divided by it.
        tolerance: Of the golden vectors, as a fraction of an output's range.
        background: Whether the model has a first class for the background that the labels leave out.
    """

    layout: TensorLayout | None = None
    channels: ChannelOrder | None = None
    dtype: InputType | None = None
    input_range: InputRange | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    input_scale: float | None = None
    input_zero_point: int | None = None
    crop: CropPolicy | None = None
    fill: int | None = None
    outputs: tuple[tuple[str, OutputKind], ...] = ()
    decoder: Decoder | None = None
    box_format: BoxFormat | None = None
    normalised: bool | None = None
    activation: Activation | None = None
    first_class: int | None = None
    score_threshold: float | None = None
    iou_threshold: float | None = None
    max_detections: int | None = None
    class_agnostic: bool = False
    match_threshold: float | None = None
    temperature: float | None = None
    tolerance: float | None = None
    background: bool = False
