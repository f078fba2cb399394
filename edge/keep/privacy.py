"""What a person does not want to see leave the device: blurred, or not kept at all, before anything is kept.

A hook sees the encoded picture and what the engine said, and answers ALLOW, VETO, or BLUR with boxes. Whatever goes
wrong on the way, in the hook or in the blurring, the picture is not kept: it is never kept unblurred by accident.
A hook knows no more than the model does: a person that the detector misses is a person that stays in the picture.
"""

from __future__ import annotations

import enum
import hashlib
import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from edge.errors import EdgeloopError
from edge.image.decode import DEFAULT_LIMITS, DecodeLimits
from edge.keep.blur import blur_regions
from edge.keep.scores import named_by
from edge.types import Box, Counts, Detections, Inference

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edge.types import CountedItem


class PrivacyAction(enum.Enum):
    """What a hook says about a picture."""

    ALLOW = "allow"
    BLUR = "blur"
    VETO = "veto"


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyAnswer:
    """The answer of a hook.

    Attributes:
        action: Keep it as it is, blur parts of it, or do not keep it.
        boxes: What to blur, in pixels of the upright picture; at least one with BLUR, none otherwise.
    """

    action: PrivacyAction
    boxes: tuple[Box, ...] = ()

    def __post_init__(self) -> None:
        """Refuses a BLUR of nothing, which would let the picture go as it is."""
        if (self.action is PrivacyAction.BLUR) != bool(self.boxes):
            raise ValueError(f"{self.action.value} with {len(self.boxes)} boxes: BLUR needs some, the others none")


ALLOW = PrivacyAnswer(action=PrivacyAction.ALLOW)
VETO = PrivacyAnswer(action=PrivacyAction.VETO)


class PrivacyHook(Protocol):
    """Called with every picture that is about to be kept, and with no other."""

    def __call__(self, data: bytes, inference: Inference) -> PrivacyAnswer:
        """Says what may be kept.

        Args:
            data: The encoded picture.
            inference: What the engine said of it.

        Raises:
            Exception: Anything; the picture is not kept then.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Protected:
    """What a hook lets go.

    Attributes:
        payload: The encoded picture to keep; None for nothing.
        digest: SHA-256 of `payload`, hex: of a blurred picture not that of the captured one; empty for nothing.
        problem: Why it could not be protected and is therefore not kept, in one line; empty where all went well.
    """

    payload: bytes | None
    digest: str = ""
    problem: str = ""


def protect(
    data: bytes, inference: Inference, hook: PrivacyHook, *, limits: DecodeLimits = DEFAULT_LIMITS
) -> Protected:
    """Asks a hook, and does what it says.

    Args:
        data: The encoded picture.
        inference: What the engine said of it.
        hook: Says what may be kept.
        limits: What decoding it for a blur may cost.
    """
    try:
        answer = hook(data, inference)
        payload = _obey(data, answer, limits)
    except EdgeloopError as error:
        return Protected(payload=None, problem=f"privacy: {error.message}")
    except Exception as error:  # a hook is foreign code, and no mistake of it may leak a picture
        reason = " ".join(str(error).split())
        return Protected(payload=None, problem=f"privacy hook failed: {type(error).__name__}: {reason}")
    return Protected(payload=payload, digest="" if payload is None else hashlib.sha256(payload).hexdigest())


def _obey(data: bytes, answer: PrivacyAnswer, limits: DecodeLimits) -> bytes | None:
    match answer:
        case PrivacyAnswer(action=PrivacyAction.ALLOW):
            return data
        case PrivacyAnswer(action=PrivacyAction.VETO):
            return None
        case PrivacyAnswer(boxes=boxes):
            return blur_regions(data, boxes, limits=limits)
        case _:
            raise TypeError(f"expected a PrivacyAnswer, found {type(answer).__name__}")


def blur_labels(labels: Collection[str], *, margin: float = 0.1) -> PrivacyHook:
    """A hook that blurs every detection of some classes.

    An answer about the whole picture that names one of them is a veto, for there is no box to blur.

    Args:
        labels: The classes, for instance `{"person"}`.
        margin: How much a box is widened on each side, as a share of its width and height, at least 0.

    Raises:
        ValueError: The margin is negative or no number.
    """
    if not (math.isfinite(margin) and margin >= 0):
        raise ValueError(f"margin must not be negative, found {margin}")
    private = frozenset(labels)

    def hook(data: bytes, inference: Inference) -> PrivacyAnswer:
        boxes = tuple(_widened(box, margin) for box, names in _things(inference) if private & names)
        if boxes:
            return PrivacyAnswer(action=PrivacyAction.BLUR, boxes=boxes)
        return VETO if private & _picture_names(inference) else ALLOW

    return hook


def veto_labels(labels: Collection[str]) -> PrivacyHook:
    """A hook that lets no picture go in which something of these classes was found, however unsure.

    Args:
        labels: The classes, for instance `{"person"}`.
    """
    private = frozenset(labels)

    def hook(data: bytes, inference: Inference) -> PrivacyAnswer:
        found = any(private & names for _, names in _things(inference))
        return VETO if found or private & _picture_names(inference) else ALLOW

    return hook


def _things(inference: Inference) -> Iterable[tuple[Box, frozenset[str]]]:
    """Every box, and all that any stage takes it for."""
    match inference.prediction:
        case Detections(items=items):
            return ((item.box, frozenset({item.label})) for item in items)
        case Counts(items=counted):
            return ((item.detection.box, _item_names(item)) for item in counted)
        case _:
            return ()


def _item_names(item: CountedItem) -> frozenset[str]:
    return frozenset({item.detection.label, *(name for answer in item.answers for name in named_by(answer))})


def _picture_names(inference: Inference) -> frozenset[str]:
    """What an answer about the whole picture names, sure or not."""
    prediction = inference.prediction
    return frozenset() if isinstance(prediction, (Detections, Counts)) else frozenset(named_by(prediction))


def _widened(box: Box, margin: float) -> Box:
    aside, above = margin * (box.right - box.left), margin * (box.bottom - box.top)
    return Box(left=box.left - aside, top=box.top - above, right=box.right + aside, bottom=box.bottom + above)
