"""What the transfer application decides, keeps and tolerates."""

from __future__ import annotations

from edge.bundle.manifest import DecisionPolicy, KeepPolicy, QualityLimits
from model_zoo.transfer.recipes import transfer_recipe
from model_zoo.types import Application

FIELD_FRACTION = 0.5


def transfer_application() -> Application:
    """Any folder of pictures, one folder a class."""
    return Application(
        name="transfer",
        recipe=transfer_recipe(),
        decision=DecisionPolicy(accept_confidence=0.7, confirm_confidence=0.4, accept_margin=0.2),
        keep=KeepPolicy(below_confidence=0.6, below_margin=0.2, random_fraction=0.1),
        limits=QualityLimits(),
    )
