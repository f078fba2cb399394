"""The network of the shelf application."""

from __future__ import annotations

from edge.bundle.manifest import PreprocessSpec
from model_zoo.types import ModelDef


def shelf_model() -> ModelDef:
    """The smallest plain residual network of timm: 0.37 million weights, no depthwise layer, ReLU.

    Networks of depthwise layers (MobileNetV2, MobileNetV4, MnasNet) of the same cost were still near chance after as
    many passes over a few hundred pictures as this one needs to get nineteen of twenty right.
    """
    return ModelDef(architecture="test_resnet", preprocess=PreprocessSpec(width=96, height=96))
