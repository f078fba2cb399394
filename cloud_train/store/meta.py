"""What the server knows besides the pictures: samples, answers, devices, releases."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from cloud_train.types import DeviceRecord, Label, SampleRecord
from edge.update.types import Release


class MetaStore(Protocol):
    """Rows that survive a power cut once a call has returned. Thread-safe.

    Every call raises `StorageError` when the database fails; nothing is half-written then.
    """

    def add_samples(self, records: tuple[SampleRecord, ...]) -> frozenset[str]:
        """Records samples and their audit in one transaction; a digest that is there keeps its first record.

        Returns:
            Digests that were not recorded, because their device has been shut out.
        """
        ...

    def known(self, digests: Iterable[str]) -> frozenset[str]:
        """Those of `digests` that have a record."""
        ...

    def sample(self, digest: str) -> SampleRecord | None:
        """One record."""
        ...

    def samples(self) -> tuple[SampleRecord, ...]:
        """All records but those in quarantine, oldest first."""
        ...

    def unlabelled(self, *, limit: int) -> tuple[SampleRecord, ...]:
        """Samples without any answer and not in quarantine, highest `metadata.value` first."""
        ...

    def add_label(self, label: Label, *, through: str = "", now: float | None = None) -> None:
        """Appends an answer and its audit in one transaction; answers are never changed.

        The very same answer twice is recorded once.

        Args:
            label: The answer.
            through: Who brought it, as the audit names callers; empty for the person themselves.
            now: When it was brought, for the audit; None for the moment that the answer names.

        Raises:
            UnknownSampleError: No such sample.
        """
        ...

    def labels(self, digest: str | None = None) -> tuple[Label, ...]:
        """All answers, or those about one sample, in the order they came."""
        ...

    def record_device(self, device: DeviceRecord) -> None:
        """Writes the newest word of a device over the one before."""
        ...

    def devices(self) -> tuple[DeviceRecord, ...]:
        """All devices, by name."""
        ...

    def add_release(self, release: Release, *, now: float) -> None:
        """Records that a release was published; the same one twice is recorded once."""
        ...

    def releases(self, channel: str) -> tuple[Release, ...]:
        """Releases of a channel, oldest first."""
        ...

    def close(self) -> None:
        """Closes the store. Calling it twice is harmless."""
        ...
