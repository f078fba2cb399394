"""The network of the shelf application."""

from __future__ import annotations

from edge.bundle.manifest import PreprocessSpec
from model_zoo.types import ModelDef


def shelf_model() -> ModelDef:
    """MobileNetV2 at half width: its ReLU6 layers keep their accuracy in int8 (Sandler et al., 2018)."""
    return ModelDef(architecture="mobilenetv2_050", preprocess=PreprocessSpec(width=96, height=96))
