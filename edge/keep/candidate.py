"""One frame from verdict to what is kept of it: the rules, then its perceptual hash, then privacy, then its payload.

What costs a decode is asked for last, and only of samples that all else would keep.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge.bundle.manifest import KeepPolicy
from edge.image.decode import DEFAULT_LIMITS, DecodeLimits
from edge.keep.context import KeepContext
from edge.keep.duplicates import picture_hash
from edge.keep.ledger import KeepLedger
from edge.keep.payload import lossless
from edge.keep.policy import judge, withheld
from edge.keep.privacy import PrivacyHook, protect
from edge.keep.rules import RULES, Rule
from edge.types import Inference, KeepVerdict

if TYPE_CHECKING:
    from edge.keep.payload import PayloadPolicy
    from edge.types import ByteArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What is to be done with one frame.

    Attributes:
        verdict: Whether it is kept, and why.
        payload: What is kept of it, empty where nothing is; other bytes than the frame's where parts were blurred, or
            where the payload policy makes it smaller.
        digest: SHA-256 of `payload`, hex, empty where nothing is kept.
        picture_hash: Perceptual hash of the frame; None where the policy has no use for it.
        problem: Why privacy could not be ensured, in one line; empty where nothing failed.
    """

    verdict: KeepVerdict
    payload: bytes = b""
    digest: str = ""
    picture_hash: int | None = None
    problem: str = ""


def consider(
    data: bytes | ByteArray,
    inference: Inference,
    policy: KeepPolicy,
    *,
    context: KeepContext,
    ledger: KeepLedger,
    now: float,
    privacy: PrivacyHook | None = None,
    payload: PayloadPolicy | None = None,
    rules: Sequence[Rule] = RULES,
    limits: DecodeLimits = DEFAULT_LIMITS,
) -> Candidate:
    """Judges one frame. The ledger is as it was: call `KeepLedger.after` once the payload is safely kept.

    Args:
        data: The picture that the engine answered for: encoded, or uint8 (height, width, 3) RGB.
        inference: What it said.
        policy: The bundle's rules.
        context: What is known of the bundle (`edge.keep.context.context_of`).
        ledger: What was kept lately.
        now: Seconds since the epoch.
        privacy: Asked before anything is kept.
        payload: Makes the bytes that are kept (`edge.keep.payload`); None keeps encoded bytes as they came.
        rules: As in `judge`.
        limits: What decoding the picture again may cost.

    Raises:
        ImageError: The picture cannot be decoded; the engine would have refused it too.
    """
    ask = functools.partial(judge, inference, policy, context=context, ledger=ledger, now=now, rules=rules)
    known_bytes = len(data) if isinstance(data, bytes) and payload is None else 0
    verdict = ask(size_bytes=known_bytes)
    hashed = None
    if verdict.keep and policy.duplicate_bits >= 0:
        hashed = picture_hash(data, limits=limits)
        verdict = ask(size_bytes=known_bytes, picture_hash=hashed)
    if not verdict.keep:
        return Candidate(verdict=verdict)
    made = make_payload(data, inference, verdict, privacy=privacy, payload=payload, limits=limits)
    if not made.verdict.keep:
        return made
    if len(made.payload) != known_bytes:
        verdict = ask(size_bytes=len(made.payload), picture_hash=hashed)
        if not verdict.keep:
            return Candidate(verdict=verdict)
    return Candidate(verdict=verdict, payload=made.payload, digest=made.digest, picture_hash=hashed)


def make_payload(
    data: bytes | ByteArray,
    inference: Inference,
    verdict: KeepVerdict,
    *,
    privacy: PrivacyHook | None = None,
    payload: PayloadPolicy | None = None,
    limits: DecodeLimits = DEFAULT_LIMITS,
) -> Candidate:
    """What is kept of a picture that is worth keeping: privacy first, then the payload policy.

    Returns:
        The payload under the given verdict; or a verdict that withholds it.

    Raises:
        ImageError: The picture cannot be decoded.
    """
    digest = inference.picture_digest
    if privacy is not None:
        protected = protect(data if isinstance(data, bytes) else lossless(data), inference, privacy, limits=limits)
        if protected.payload is None:
            return Candidate(verdict=withheld(verdict), problem=protected.problem)
        data, digest = protected.payload, protected.digest
    if payload is not None:
        data = payload(data)
        digest = hashlib.sha256(data).hexdigest()
    elif not isinstance(data, bytes):
        data = lossless(data)
        digest = hashlib.sha256(data).hexdigest()
    return Candidate(verdict=verdict, payload=data, digest=digest)
