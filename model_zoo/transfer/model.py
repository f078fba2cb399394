"""The network of the transfer application."""

from __future__ import annotations

from edge.bundle.manifest import CropPolicy, PreprocessSpec
from model_zoo.types import ModelDef


def transfer_model() -> ModelDef:
    """MobileNetV2, whose ImageNet weights fit in 14 MB and whose ReLU6 layers keep their accuracy in int8."""
    spec = PreprocessSpec(width=112, height=112, crop=CropPolicy.STRETCH)
    return ModelDef(architecture="mobilenetv2_100", preprocess=spec)
