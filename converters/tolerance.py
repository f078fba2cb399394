"""How far a model's outputs may be from its golden ones on another machine."""

from __future__ import annotations

from converters.graph import float_parts, read_graph
from converters.recipes import FLOAT_TOLERANCE
from converters.types import Artifact, Scheme
from edge.bundle.manifest import ArtifactFormat

# Float layers before int8 ones differ by last bits between processors, and may tip a value behind them by a step.
MIXED_TOLERANCE = 0.02


def tolerance_of(artifact: Artifact) -> float:
    """The recipe's tolerance, or more where the network itself keeps layers float.

    Args:
        artifact: A model on disk.

    Returns:
        As in `ArtifactSpec.tolerance`; 0 for static int8 whose operations are all integer.
    """
    recipe = artifact.recipe
    if artifact.format is not ArtifactFormat.TFLITE or recipe.scheme is not Scheme.STATIC_INT8:
        return recipe.tolerance
    anywhere, again = float_parts(read_graph(artifact.path.read_bytes()))
    if again:
        return max(recipe.tolerance, MIXED_TOLERANCE)
    return max(recipe.tolerance, FLOAT_TOLERANCE if anywhere else 0.0)
