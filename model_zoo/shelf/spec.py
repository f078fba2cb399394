"""What the shelf application decides, keeps and tolerates."""

from __future__ import annotations

from edge.bundle.manifest import DecisionPolicy, KeepPolicy, QualityLimits
from model_zoo.shelf.recipes import shelf_recipe
from model_zoo.types import Application

FIELD_FRACTION = 0.58


def shelf_application() -> Application:
    """Products on a shelf, by name."""
    return Application(
        name="shelf",
        recipe=shelf_recipe(),
        decision=DecisionPolicy(accept_confidence=0.8, confirm_confidence=0.4, accept_margin=0.2),
        keep=KeepPolicy(below_confidence=0.8, below_margin=0.2, random_fraction=0.05),
        limits=QualityLimits(),
    )
