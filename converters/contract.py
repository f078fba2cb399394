"""The names that the model contract fixes."""

from __future__ import annotations

INPUT_NAME = "image"
# Of a network that returns one tensor.
OUTPUT_NAME = "logits"
# Layers of modules of this class stay float in every int8 recipe: decoding mixes pixels with scores, and one scale
# cannot hold both.
FLOAT_SCOPE = "FloatDecode"
