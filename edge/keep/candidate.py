"""One frame from verdict to what may be kept of it: the rules, then its perceptual hash, then privacy.

What costs a decode is asked for last, and only of samples that all else would keep.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from edge.bundle.manifest import KeepPolicy
from edge.image.decode import DEFAULT_LIMITS, DecodeLimits
from edge.keep.context import KeepContext
from edge.keep.duplicates import picture_hash
from edge.keep.ledger import KeepLedger
from edge.keep.policy import judge, withheld
from edge.keep.privacy import PrivacyHook, protect
from edge.keep.rules import RULES, Rule
from edge.types import Inference, KeepVerdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What is to be done with one frame.

    Attributes:
        verdict: Whether it is kept, and why.
        payload: What is kept of it, empty where nothing is; other bytes than the frame's where parts were blurred.
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
    data: bytes,
    inference: Inference,
    policy: KeepPolicy,
    *,
    context: KeepContext,
    ledger: KeepLedger,
    now: float,
    privacy: PrivacyHook | None = None,
    rules: Sequence[Rule] = RULES,
    limits: DecodeLimits = DEFAULT_LIMITS,
) -> Candidate:
    """Judges one frame. The ledger is as it was: call `KeepLedger.after` once the payload is safely kept.

    Args:
        data: The encoded picture that the engine answered for.
        inference: What it said.
        policy: The bundle's rules.
        context: What is known of the bundle (`edge.keep.context.context_of`).
        ledger: What was kept lately.
        now: Seconds since the epoch.
        privacy: Asked before anything is kept.
        rules: As in `judge`.
        limits: What decoding the picture again may cost.

    Raises:
        ImageError: The picture cannot be decoded for its hash; the engine would have refused it too.
    """
    ask = functools.partial(judge, inference, policy, context=context, ledger=ledger, now=now, rules=rules)
    verdict = ask(size_bytes=len(data))
    hashed = None
    if verdict.keep and policy.duplicate_bits >= 0:
        hashed = picture_hash(data, limits=limits)
        verdict = ask(size_bytes=len(data), picture_hash=hashed)
    if not verdict.keep:
        return Candidate(verdict=verdict)
    if privacy is None:
        return Candidate(verdict=verdict, payload=data, digest=inference.picture_digest, picture_hash=hashed)
    protected = protect(data, inference, privacy, limits=limits)
    if protected.payload is None:
        return Candidate(verdict=withheld(verdict), problem=protected.problem)
    verdict = ask(size_bytes=len(protected.payload), picture_hash=hashed)  # a blurred picture has another size
    if not verdict.keep:
        return Candidate(verdict=verdict)
    return Candidate(verdict=verdict, payload=protected.payload, digest=protected.digest, picture_hash=hashed)
