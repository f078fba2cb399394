"""What the device asks of the road to the server."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from edge.outbox.base import Sample
from edge.sync.types import DeviceStatus, Directive, Enrolment, OfferReply, Receipt, SampleOffer
from edge.types import Feedback


def nothing_at_hand(_most_bytes: int) -> bool:
    """Every sample travels alone."""
    return False


class SyncTransport(Protocol):
    """The road. Every call raises `RoadError` when it fails and `RefusedError` when the other side says no."""

    def offer(self, offers: tuple[SampleOffer, ...]) -> OfferReply:
        """Asks which samples the server wants."""
        ...

    def push(
        self, samples: Iterable[tuple[Sample, int]], *, at_hand: Callable[[int], bool] = nothing_at_hand
    ) -> Iterator[Receipt]:
        """Sends payloads; yields receipts as they come, in any order.

        Args:
            samples: Each sample with the number of its first bytes that the server already has.
            at_hand: Whether the next sample comes without waiting and has at most so many bytes: it may then travel
                in one message with what came before.
        """
        ...

    def annotate(self, digest: str, feedback: Feedback) -> None:
        """Tells a person's answer about a sample that has already gone."""
        ...

    def check_in(self, status: DeviceStatus) -> Directive:
        """Reports health, learns what to run."""
        ...

    def renew(self, csr_pem: bytes) -> Enrolment:
        """Asks for a new certificate under the name that the present one carries."""
        ...

    def fetch(self, path: str, *, offset: int) -> Iterator[bytes]:
        """Reads a published file from `offset` to its end.

        Raises:
            FileNotFoundError: No such file on the server.
        """
        ...

    def close(self) -> None:
        """Hangs up. Calling it twice is harmless."""
        ...
