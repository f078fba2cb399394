"""What a network and its training look like, as data."""

from __future__ import annotations

from dataclasses import dataclass, field

from edge.bundle.manifest import CapturePolicy, DecisionPolicy, KeepPolicy, PreprocessSpec, QualityLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDef:
    """A network by name.

    Attributes:
        architecture: timm model name, for instance `mobilenetv2_050`.
        preprocess: How its input is made; the normalisation lies inside the graph.
        mean: Per-channel mean on the 0 to 255 scale, RGB.
        std: Per-channel standard deviation on the 0 to 255 scale, RGB.
    """

    architecture: str
    preprocess: PreprocessSpec
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentRecipe:
    """Random changes of training pictures, applied to the preprocessed picture.

    Attributes:
        flip: Mirror half of them left to right.
        rotate_deg: Greatest rotation either way, in degrees.
        shift: Greatest shift as a fraction of the side.
        scale: Greatest zoom either way, as a fraction.
        brightness: Greatest relative change of brightness.
        contrast: Greatest relative change of contrast.
        saturation: Greatest relative change of saturation.
        noise: Standard deviation of added noise, in grey levels.
    """

    flip: bool = False
    rotate_deg: float = 10.0
    shift: float = 0.08
    scale: float = 0.1
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    noise: float = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRecipe:
    """How a network is trained. Frozen data; variants by `dataclasses.replace`.

    Attributes:
        name: Name of the recipe, kept in the bundle's provenance.
        model: The network.
        augment: Random changes.
        epochs: Most passes over the training split.
        patience: Stop after so many epochs without a better validation loss.
        batch_size: Pictures a step.
        learning_rate: Peak of the one-cycle schedule.
        weight_decay: AdamW's.
        label_smoothing: Of the cross entropy, in [0, 1).
        class_weights: Weigh rare classes up, by the inverse square root of their count.
        freeze_norms: Keep the batch statistics that the starting weights bring; without starting weights ignored.
        seed: Of everything random.
        num_threads: torch threads; part of the recipe because results depend on it.
    """

    name: str
    model: ModelDef
    augment: AugmentRecipe = AugmentRecipe()
    epochs: int = 20
    patience: int = 6
    batch_size: int = 32
    learning_rate: float = 3e-3
    weight_decay: float = 0.02
    label_smoothing: float = 0.05
    class_weights: bool = True
    freeze_norms: bool = False
    seed: int = 7
    num_threads: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """One application of the zoo.

    Attributes:
        name: For instance `shelf`.
        recipe: How its model is trained.
        decision: When its device may trust an answer.
        keep: What its device keeps.
        limits: What quantization may cost it.
        capture: Which frames of a source its device answers.
    """

    name: str
    recipe: TrainRecipe
    decision: DecisionPolicy
    keep: KeepPolicy
    limits: QualityLimits
    capture: CapturePolicy = field(default_factory=CapturePolicy)
