from __future__ import annotations

import hashlib
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from prediction_values import detection, detections, inference, with_digest

from edge.bundle.manifest import KeepBudget, KeepPolicy
from edge.errors import ImageError
from edge.keep.candidate import Candidate, consider
from edge.keep.context import KeepContext
from edge.keep.duplicates import picture_hash
from edge.keep.ledger import KeepLedger
from edge.keep.privacy import ALLOW, VETO, PrivacyAnswer, blur_labels
from edge.types import Box, Inference, KeepReason

KEEP_ALL = KeepPolicy(random_fraction=0.0, below_confidence=1.0)
BOX = Box(left=8, top=8, right=56, bottom=56)


def picture(seed: int, kind: str = "PNG") -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC).save(file, kind)
    return file.getvalue()


def seen(data: bytes) -> Inference:
    person = inference(detections(detection("person", 0.7, BOX)))
    return with_digest(person, hashlib.sha256(data).hexdigest())


def run(data: bytes, policy: KeepPolicy = KEEP_ALL, ledger: KeepLedger | None = None, **more: object) -> Candidate:
    return consider(data, seen(data), policy, context=KeepContext(), ledger=ledger or KeepLedger(), now=100.0, **more)


class Asked:
    """A hook that remembers what it was asked."""

    def __init__(self, answer: PrivacyAnswer) -> None:
        self.answer = answer
        self.pictures: list[bytes] = []

    def __call__(self, data: bytes, inference: Inference) -> PrivacyAnswer:
        self.pictures.append(data)
        return self.answer


def test_a_wanted_frame_is_kept_as_it_is() -> None:
    data = picture(1)
    found = run(data, privacy=Asked(ALLOW))
    assert (found.verdict.keep, found.verdict.reason) == (True, KeepReason.LOW_CONFIDENCE)
    assert (found.payload, found.digest, found.problem) == (data, hashlib.sha256(data).hexdigest(), "")
    assert found == run(data)


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (replace(KEEP_ALL, below_confidence=0.0), KeepReason.NOT_NEEDED),
        (replace(KEEP_ALL, budget=KeepBudget(bytes_per_day=10)), KeepReason.OVER_BUDGET),
        (replace(KEEP_ALL, duplicate_bits=6), KeepReason.NEAR_DUPLICATE),
    ],
)
def test_nobody_is_asked_about_a_frame_that_is_not_kept_anyway(policy: KeepPolicy, reason: KeepReason) -> None:
    hook = Asked(VETO)
    ledger = KeepLedger(hashes=(picture_hash(picture(1)),))
    found = run(picture(1, "JPEG"), policy, ledger, privacy=hook)
    assert (found.verdict.reason, found.verdict.keep) == (reason, False)
    assert (found.payload, found.digest, hook.pictures) == (b"", "", [])


@pytest.mark.parametrize(("bits", "hashed"), [(-1, False), (0, True), (6, True)])
def test_the_hash_is_taken_only_where_it_is_used(bits: int, hashed: bool) -> None:
    data = picture(1)
    found = run(data, replace(KEEP_ALL, duplicate_bits=bits))
    assert found.picture_hash == (picture_hash(data) if hashed else None)
    assert run(data, replace(KEEP_ALL, duplicate_bits=bits, below_confidence=0.0)).picture_hash is None


def test_a_blurred_frame_has_its_own_digest_and_the_hash_of_the_frame() -> None:
    data = picture(1)
    found = run(data, replace(KEEP_ALL, duplicate_bits=6), privacy=blur_labels({"person"}))
    assert found.verdict.keep
    assert found.payload not in (b"", data)
    assert found.digest == hashlib.sha256(found.payload).hexdigest() != hashlib.sha256(data).hexdigest()
    assert found.picture_hash == picture_hash(data)


def test_the_budget_counts_the_bytes_that_are_kept() -> None:
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    noise[8:56, 8:56] = 0
    Image.fromarray(noise).quantize(2).save(file, "PNG")  # a palette of two is smaller than what is made of it
    data = file.getvalue()
    size = len(run(data, privacy=blur_labels({"person"})).payload)
    assert size > len(data)
    limit = replace(KEEP_ALL, budget=KeepBudget(bytes_per_day=size - 1))
    assert run(data, limit).verdict.keep
    found = run(data, limit, privacy=blur_labels({"person"}))
    assert (found.verdict.reason, found.payload) == (KeepReason.OVER_BUDGET, b"")


def broken(data: bytes, inference: Inference) -> PrivacyAnswer:
    raise RuntimeError("no model")


@pytest.mark.parametrize(
    ("hook", "problem"), [(Asked(VETO), ""), (broken, "privacy hook failed: RuntimeError: no model")]
)
def test_a_private_frame_leaves_nothing(hook: Asked, problem: str) -> None:
    found = run(picture(1), privacy=hook)
    assert (found.verdict.keep, found.verdict.reason) == (False, KeepReason.PRIVATE)
    assert (found.payload, found.digest, found.picture_hash, found.problem) == (b"", "", None, problem)
    assert found.verdict.value == run(picture(1)).verdict.value


def test_a_picture_that_cannot_be_hashed_is_named() -> None:
    data = picture(1)[:200]
    with pytest.raises(ImageError, match="damaged"):
        run(data, replace(KEEP_ALL, duplicate_bits=6))
