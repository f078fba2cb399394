"""Which sample goes first when the outbox is full. Pure, and without a clock: those of devices jump by years.

In this order, the least valuable first:

1. samples without a person's answer, before those with one: somebody's time is in them;
2. parked before waiting: the server has refused them for good;
3. lower `value` before higher;
4. among equals, those that came in first.

A sample that is being sent is not shed. A new one stands behind its equals, being the youngest: it is turned away only
when all the others are worth more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Worth:
    """What a sample is worth to the outbox; a lower one is shed first, equals in the order they came.

    Attributes:
        rank: From `rank_of`.
        value: As in `SampleMetadata`.
    """

    rank: int
    value: float


def rank_of(*, answered: bool, parked: bool) -> int:
    """The classes of worth: 0 parked, 1 waiting, 2 parked with an answer, 3 waiting with an answer."""
    return 2 * answered + (not parked)


WAITING_RANKS = (rank_of(answered=False, parked=False), rank_of(answered=True, parked=False))
ANSWERED_BIT = 2
"""Added to a rank when an answer comes."""
HIGHEST = Worth(rank=rank_of(answered=True, parked=False), value=math.inf)
"""No sample is worth more."""
