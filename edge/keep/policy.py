"""Is this sample worth a second look: a pure function of the inference, the bundle's policy and what was kept lately.

The random floor is drawn from the picture's digest before anything is looked at. The pictures drawn are therefore a
fair sample of all pictures, whatever the other rules do: a drawn picture is kept with the reason of the first rule
that asks for it too, or else RANDOM_FLOOR, near-duplicates do not suppress it, and a tenth of every budget is open to
drawn pictures only. An estimate over the drawn ones (`is_drawn` tells them by digest and `random_fraction`) is unbiased
as long as none of them met the budget's limit or a privacy veto; a device counts those.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from edge.bundle.manifest import KeepPolicy
from edge.keep.budget import has_room
from edge.keep.context import KeepContext
from edge.keep.duplicates import is_near
from edge.keep.ledger import KeepLedger
from edge.keep.rules import RULES, Question, Rule
from edge.keep.scores import is_drawn, value
from edge.types import Inference, KeepReason, KeepVerdict

NO_CONTEXT = KeepContext()
EMPTY_LEDGER = KeepLedger()
_REFUSALS = frozenset({KeepReason.NOT_NEEDED, KeepReason.NEAR_DUPLICATE, KeepReason.OVER_BUDGET, KeepReason.PRIVATE})


def judge(
    inference: Inference,
    policy: KeepPolicy,
    *,
    context: KeepContext = NO_CONTEXT,
    ledger: KeepLedger = EMPTY_LEDGER,
    now: float = 0.0,
    size_bytes: int = 0,
    picture_hash: int | None = None,
    rules: Sequence[Rule] = RULES,
) -> KeepVerdict:
    """Whether to keep a sample, and how much a label for it would teach.

    First the rules: the first that asks for the sample is the reason. Then what may speak against it: a near-duplicate
    of a sample kept lately, and the budget.

    Args:
        inference: What the engine said.
        policy: The bundle's rules.
        context: What is known of the bundle; without it, rules that need it ask for nothing.
        ledger: What was kept lately; by default nothing.
        now: Seconds since the epoch.
        size_bytes: Size of the encoded picture.
        picture_hash: Its perceptual hash; without one it is taken for new.
        rules: In their order; more of them or others than `RULES`, for what a policy's fields cannot say.
    """
    question = Question(inference=inference, policy=policy, context=context, ledger=ledger, now=now)
    drawn = is_drawn(inference.picture_digest, policy.random_fraction)
    reason = _wanted(question, rules, drawn=drawn)
    if reason is not KeepReason.NOT_NEEDED:
        reason = _objection(question, drawn=drawn, size_bytes=size_bytes, picture_hash=picture_hash) or reason
    return KeepVerdict(keep=reason not in _REFUSALS, reason=reason, value=value(inference, context))


def withheld(verdict: KeepVerdict) -> KeepVerdict:
    """The verdict on a sample that a privacy hook does not let go."""
    return dataclasses.replace(verdict, keep=False, reason=KeepReason.PRIVATE)


def _wanted(question: Question, rules: Sequence[Rule], *, drawn: bool) -> KeepReason:
    """The first rule that asks for the sample."""
    reason = next((reason for reason, asks in rules if asks(question)), KeepReason.NOT_NEEDED)
    return KeepReason.RANDOM_FLOOR if drawn and reason is KeepReason.NOT_NEEDED else reason


def _objection(question: Question, *, drawn: bool, size_bytes: int, picture_hash: int | None) -> KeepReason | None:
    """What speaks against a sample that is wanted."""
    policy, ledger = question.policy, question.ledger
    if not drawn and picture_hash is not None and is_near(picture_hash, ledger.hashes, max_bits=policy.duplicate_bits):
        return KeepReason.NEAR_DUPLICATE
    reserve = policy.random_fraction > 0 and not drawn
    if has_room(ledger.spending, policy.budget, now=question.now, size_bytes=size_bytes, reserve=reserve):
        return None
    return KeepReason.OVER_BUDGET
