"""One network of a bundle: its input, its outputs, its files. Format page: docs/formats/bundle.md."""

from __future__ import annotations

import enum
import unicodedata
from dataclasses import dataclass

MAX_DIMENSIONS = 8


MAX_TOP_K = 1000


class Task(enum.Enum):
    """The kind of answer a stage gives; COUNT is that of a whole pipeline of a detector and readers of its crops."""

    CLASSIFY = "classify"
    ATTRIBUTES = "attributes"
    DETECT = "detect"
    MATCH = "match"
    TEXT = "text"
    TABULAR = "tabular"
    COUNT = "count"


class StageInput(enum.Enum):
    """What a stage reads: the whole picture, or each box of the detector before it."""

    PICTURE = "picture"
    CROPS = "crops"


class CropPolicy(enum.Enum):
    """How a picture of any shape becomes the model's rectangle.

    STRETCH resizes both sides independently, CENTER cuts the largest centred rectangle of the model's aspect ratio,
    LETTERBOX fits the whole picture and pads with the fill colour.
    """

    STRETCH = "stretch"
    CENTER = "center"
    LETTERBOX = "letterbox"


class TensorLayout(enum.Enum):
    """Order of the input's axes."""

    NHWC = "nhwc"
    NCHW = "nchw"


class ChannelOrder(enum.Enum):
    """Which colours the input's channels hold."""

    RGB = "rgb"
    BGR = "bgr"
    GREY = "grey"


class InputType(enum.Enum):
    """Type of the input's numbers."""

    FLOAT32 = "float32"
    UINT8 = "uint8"
    INT8 = "int8"


class ArtifactFormat(enum.Enum):
    """File format of a model, which decides the runtime."""

    TFLITE = "tflite"
    ONNX = "onnx"


class OutputKind(enum.Enum):
    """What an output tensor holds. N boxes, C classes, T steps, D dimensions; a leading batch of 1 everywhere.

    LOGITS (C) before the softmax. PROBABILITIES (C) after it, or the scores of an ensemble. EMBEDDING (D). STEPS (T, C)
    logits of a text reader. BOXES (N, 4), SCORES (N, C) or (N), CLASSES (N) and COUNT (1) of a detector. BOXES_SCORES
    (4 + C, N) or (N, 4 + C): both in one. DETECTIONS (N, 6): box, score, class, chosen by the model.
    GRID (5 + C, H, W): objectness, box, classes of one grid.
    """

    LOGITS = "logits"
    PROBABILITIES = "probabilities"
    EMBEDDING = "embedding"
    STEPS = "steps"
    BOXES = "boxes"
    SCORES = "scores"
    CLASSES = "classes"
    COUNT = "count"
    BOXES_SCORES = "boxes_scores"
    DETECTIONS = "detections"
    GRID = "grid"


class Activation(enum.Enum):
    """What is still to be applied to the scores of a detector or of an ensemble's members."""

    NONE = "none"
    SIGMOID = "sigmoid"
    SOFTMAX = "softmax"


class Decoder(enum.Enum):
    """How a detector's outputs become boxes.

    YOLO: anchor-free, boxes and class scores for every place, NMS to be done. END_TO_END: a few chosen boxes, no NMS.
    SSD: boxes, classes, scores and count of a model that carries its own post-processing. GRID: one grid with
    objectness, as FastestDet has it.
    """

    YOLO = "yolo"
    END_TO_END = "end_to_end"
    SSD = "ssd"
    GRID = "grid"


class BoxFormat(enum.Enum):
    """What the four numbers of a box are: corners, corners with y first, or centre and size."""

    XYXY = "xyxy"
    YXYX = "yxyx"
    CXCYWH = "cxcywh"


@dataclass(frozen=True, slots=True, kw_only=True)
class PreprocessSpec:
    """How pictures become model input. The same spec serves training, calibration, proof and device.

    Attributes:
        width: Model input width in pixels.
        height: Model input height in pixels.
        crop: What to do with other aspect ratios.
        fill: Grey level of letterbox padding, 0 to 255.
        layout: Order of the input's axes. This and all below are for imported models; our own never need them.
        channels: Colours of the input.
        dtype: Type of the input's numbers.
        mean: Subtracted from a pixel (0 to 255), for each channel in the order of `channels`; GREY reads the first.
        std: Then divides it.
        input_scale: With an integer `dtype`, the result is divided by this,
        input_zero_point: and this is added, then rounded (halves up) and limited to the type.
    """

    width: int
    height: int
    crop: CropPolicy = CropPolicy.STRETCH
    fill: int = 114
    layout: TensorLayout = TensorLayout.NHWC
    channels: ChannelOrder = ChannelOrder.RGB
    dtype: InputType = InputType.FLOAT32
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    input_scale: float = 1.0
    input_zero_point: int = 0

    def __post_init__(self) -> None:
        """Refuses sizes and scales that no model has."""
        if not (1 <= self.width <= 4096 and 1 <= self.height <= 4096):
            raise ValueError(f"width and height must be 1 to 4096, found {self.width}x{self.height}")
        if not 0 <= self.fill <= 255:
            raise ValueError(f"fill must be 0 to 255, found {self.fill}")
        for name, values in (("std", self.std), ("input_scale", (self.input_scale,))):
            if not (min(values) >= 1e-9 and max(values) <= 1e9):
                raise ValueError(f"{name} must be above 0 (1e-9 to 1e9), found {', '.join(map(str, values))}")
        if not max(map(abs, self.mean)) <= 1e9:
            raise ValueError(f"mean must be -1e9 to 1e9, found {', '.join(map(str, self.mean))}")
        if not -128 <= self.input_zero_point <= 255:
            raise ValueError(f"input_zero_point must be -128 to 255, found {self.input_zero_point}")

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """Shape of the model's one input, batch of 1 first."""
        num_channels = 1 if self.channels is ChannelOrder.GREY else 3
        if self.layout is TensorLayout.NCHW:
            return (1, num_channels, self.height, self.width)
        return (1, self.height, self.width, num_channels)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSpec:
    """One output tensor of a stage.

    Attributes:
        name: Name in the model's signature.
        kind: What it holds.
        shape: Its shape, batch first.
        temperature: Logits are divided by this before the softmax; fitted on the validation split.
        labels: Class names of this head, for a stage with several; empty for those of the stage.
        activation: What is still to be applied, for SCORES, BOXES_SCORES, GRID and an ensemble's members.
        weight: Share of this member in an ensemble, above 0; shares are divided by their sum.
    """

    name: str
    kind: OutputKind
    shape: tuple[int, ...]
    temperature: float = 1.0
    labels: tuple[str, ...] = ()
    activation: Activation = Activation.NONE
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Refuses shapes and temperatures that cannot be."""
        name = self.name[:100]
        if not 1 <= len(self.shape) <= MAX_DIMENSIONS:
            raise ValueError(f"shape of output {name!r} must have 1 to {MAX_DIMENSIONS} sizes, found {len(self.shape)}")
        if not all(1 <= size < 2**31 for size in self.shape):
            raise ValueError(f"shape of output {name!r} must be positive and below 2^31, found {list(self.shape)}")
        if not 0.01 <= self.temperature <= 100:
            raise ValueError(f"temperature of output {name!r} must be 0.01 to 100, found {self.temperature}")
        if not 1e-9 <= self.weight <= 1e9:
            raise ValueError(f"weight of output {name!r} must be above 0 (1e-9 to 1e9), found {self.weight}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactSpec:
    """One model file of a stage.

    Attributes:
        file: Its name in the bundle.
        format: Which runtime opens it.
        recipe: The quantization recipe that made it, for instance `static_wi8_ai8` or `fp32`.
        tolerance: Greatest difference to the golden outputs allowed on another machine, as a fraction of the output's
            range; 0 means equal to the last bit.
    """

    file: str
    format: ArtifactFormat
    recipe: str
    tolerance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectSpec:
    """How the outputs of a DETECT stage become boxes.

    Attributes:
        decoder: Which head the model has.
        box_format: What the four numbers are; GRID has its own.
        normalised: Boxes in 0 to 1 of the model's input; else in its pixels.
        score_threshold: Boxes with a score at or above this are reported, in [0, 1].
        iou_threshold: Of two boxes of a class that overlap by more than this the lower score goes, in [0, 1].
        max_detections: At most so many are reported.
        class_agnostic: Whether boxes of different classes suppress each other.
        first_class: Number that the model gives to the first label (1 where 0 is the background).
    """

    decoder: Decoder
    box_format: BoxFormat = BoxFormat.XYXY
    normalised: bool = False
    score_threshold: float = 0.25
    iou_threshold: float = 0.5
    max_detections: int = 300
    class_agnostic: bool = False
    first_class: int = 0

    def __post_init__(self) -> None:
        """Refuses thresholds outside 0 to 1 and limits that allow nothing."""
        for name in ("score_threshold", "iou_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be 0 to 1, found {getattr(self, name)}")
        if not 1 <= self.max_detections <= 10_000:
            raise ValueError(f"max_detections must be 1 to 10000, found {self.max_detections}")
        if not 0 <= self.first_class <= 10_000:
            raise ValueError(f"first_class must be 0 to 10000, found {self.first_class}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassThreshold:
    """A threshold of one class.

    Attributes:
        label: The class.
        value: Its threshold.
    """

    label: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchSpec:
    """How an EMBEDDING output is compared with the gallery (docs/formats/gallery.md).

    In a CLASSIFY stage with an EMBEDDING output beside its logits the gallery holds reference embeddings of what the
    training saw, and gives `novelty` only.

    Attributes:
        gallery: Files of the bundle, read as one; a class may be in several.
        threshold: Least cosine for a known class, in [-1, 1].
        class_thresholds: Other thresholds for some classes.
        min_margin: Least distance to the second class for a known one, in [0, 2].
        slope: Of the logistic function from similarity above threshold to confidence, above 0.
        top_k: How many classes are named.
    """

    gallery: tuple[str, ...]
    threshold: float = 0.5
    class_thresholds: tuple[ClassThreshold, ...] = ()
    min_margin: float = 0.0
    slope: float = 20.0
    top_k: int = 5

    def __post_init__(self) -> None:
        """Refuses an empty gallery and thresholds that no cosine has."""
        if not self.gallery:
            raise ValueError("gallery must name at least one file")
        for value in (self.threshold, *(item.value for item in self.class_thresholds)):
            if not -1 <= value <= 1:
                raise ValueError(f"threshold must be -1 to 1, in class_thresholds too, found {value}")
        if not self.slope > 0:
            raise ValueError(f"slope must be above 0, found {self.slope}")
        if not 0 <= self.min_margin <= 2:
            raise ValueError(f"min_margin must be 0 to 2, found {self.min_margin}")
        if not 1 <= self.top_k <= MAX_TOP_K:
            raise ValueError(f"top_k must be 1 to {MAX_TOP_K}, found {self.top_k}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TextSpec:
    """How a STEPS output becomes text (CTC; Graves et al., 2006).

    Attributes:
        charset: One character for each class but the blank, in the order of the logits.
        blank: Class of the blank, 0 to the number of characters.
        beam_width: 1 for greedy, more for a beam search.
        lexicon: File of the bundle with one word a line, UTF-8; empty for none.
        lexicon_only: Whether only words of the lexicon are read; needs a beam.
    """

    charset: str
    blank: int = 0
    beam_width: int = 1
    lexicon: str = ""
    lexicon_only: bool = False

    def __post_init__(self) -> None:
        """Refuses charsets and beams that make no sense."""
        if not self.charset or len(set(self.charset)) != len(self.charset):
            raise ValueError("charset must hold at least one character, none of them twice")
        # A line break or an escape in what was read would break the lines that answers are told in.
        if any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in self.charset):
            raise ValueError("charset must hold no control characters")
        if not 0 <= self.blank <= len(self.charset):
            raise ValueError(f"blank must be 0 to {len(self.charset)}, found {self.blank}")
        if not 1 <= self.beam_width <= 1000:
            raise ValueError(f"beam_width must be 1 to 1000, found {self.beam_width}")
        if self.lexicon_only and (not self.lexicon or self.beam_width < 2):
            raise ValueError("lexicon_only needs a lexicon and a beam_width of at least 2")


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSpec:
    """One network of the pipeline, in every format it comes in.

    Attributes:
        name: Name of the stage, for instance `classify`.
        preprocess: How its input is made.
        outputs: Its output tensors.
        artifacts: Its model files, preferred one first.
        task: The kind of answer it gives; not COUNT.
        reads: The picture, or the crops of the DETECT stage before it.
        labels: Its class names; empty for those of the bundle.
        detect: For DETECT.
        match: For MATCH, and for CLASSIFY with reference embeddings.
        text: For TEXT.
        crop_margin: With CROPS, how much a box is widened on each side, as a share of its own width and height, 0 to 1.
    """

    name: str
    preprocess: PreprocessSpec
    outputs: tuple[OutputSpec, ...]
    artifacts: tuple[ArtifactSpec, ...]
    task: Task = Task.CLASSIFY
    reads: StageInput = StageInput.PICTURE
    labels: tuple[str, ...] = ()
    detect: DetectSpec | None = None
    match: MatchSpec | None = None
    text: TextSpec | None = None
    crop_margin: float = 0.0

    def __post_init__(self) -> None:
        """Refuses stages whose task lacks what it needs."""
        name = self.name[:100]
        if self.task is Task.COUNT:
            raise ValueError(f"stage {name!r}: count is the task of a whole pipeline")
        for task, field in ((Task.DETECT, "detect"), (Task.MATCH, "match"), (Task.TEXT, "text")):
            if self.task is task and getattr(self, field) is None:
                raise ValueError(f"stage {name!r}: task {task.value} needs the field {field!r}")
        if not 0 <= self.crop_margin <= 1:
            raise ValueError(f"stage {name!r}: crop_margin must be 0 to 1, found {self.crop_margin}")

    def find_output(self, *kinds: OutputKind) -> OutputSpec | None:
        """The first output of one of these kinds; None where there is none."""
        return next((output for output in self.outputs if output.kind in kinds), None)
