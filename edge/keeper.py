"""Puts what is worth a second look into the outbox, within budgets, and never what a privacy rule forbids."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edge.bundle.manifest import BundleManifest
from edge.errors import ImageError, StorageError
from edge.keep.candidate import Candidate, consider
from edge.keep.context import KeepContext, context_of
from edge.keep.ledger import KeepLedger
from edge.keep.privacy import PrivacyHook, blur_labels, veto_labels
from edge.outbox.base import Sample, SampleMetadata, SampleOutbox
from edge.settings import AgentSettings
from edge.telemetry import Telemetry
from edge.types import Frame, Inference, KeepReason, KeepVerdict

GalleryLabels = Callable[[], Mapping[str, tuple[str, ...]]]
_REFUSALS = {
    KeepReason.NEAR_DUPLICATE: "near_duplicates",
    KeepReason.OVER_BUDGET: "over_budget",
    KeepReason.PRIVATE: "private",
}


class Keeper:
    """Decides for each frame whether it is kept, and remembers what that leaves of budgets and quotas.

    What it remembers is lost with the process: after a restart budgets begin anew.

    Args:
        settings: What the device was told.
        outbox: Where samples go.
        telemetry: Told what happened.
        clock: Seconds since the epoch, UTC.
        report: Told in one line what went wrong.
    """

    def __init__(
        self,
        settings: AgentSettings,
        outbox: SampleOutbox,
        telemetry: Telemetry,
        *,
        clock: Callable[[], float],
        report: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._outbox = outbox
        self._telemetry = telemetry
        self._clock = clock
        self._report = report
        self._privacy = privacy_hook(settings)
        self._ledger = KeepLedger()
        self._context: tuple[str, KeepContext] = ("", KeepContext())
        self.last_error = ""

    def keep(
        self,
        frame: Frame,
        data: bytes,
        inference: Inference,
        manifest: BundleManifest,
        *,
        gallery_labels: GalleryLabels = dict,
    ) -> bool:
        """Keeps a frame if it is worth it.

        Args:
            frame: Where and when it was taken.
            data: The encoded picture that was answered for.
            inference: What the engine said.
            manifest: Of the bundle that said it.
            gallery_labels: Gives the classes of the gallery of each stage that has one, by the stage's name; asked once
                for each bundle.

        Returns:
            Whether the sample is in the outbox now, from this frame or an earlier one.
        """
        now = self._clock()
        try:
            candidate = consider(
                data,
                inference,
                manifest.keep,
                context=self._context_of(manifest, inference.bundle_digest, gallery_labels),
                ledger=self._ledger,
                now=now,
                privacy=self._privacy,
            )
        except ImageError as error:
            self._report(f"{frame.source}: not kept: {error.message}")
            return False
        if candidate.problem:
            self._report(f"{frame.source}: not kept: {candidate.problem}")
        if not candidate.verdict.keep:
            self._count_refusal(candidate.verdict.reason)
            return False
        return self._put(frame, inference, candidate, manifest, now)

    def _put(
        self, frame: Frame, inference: Inference, candidate: Candidate, manifest: BundleManifest, now: float
    ) -> bool:
        if len(candidate.payload) > self._settings.max_sample_bytes:
            self._telemetry.add(too_large=1)
            return False
        metadata = sample_metadata(frame, inference, candidate.verdict, device_id=self._settings.device_id)
        sample = Sample(digest=candidate.digest, payload=candidate.payload, metadata=metadata)
        try:
            is_new = self._outbox.put(sample, now=now)
        except StorageError as error:
            self._telemetry.add(keep_failed=1)
            self.last_error = error.message
            self._report(str(error))
            return False
        if is_new:
            self._telemetry.add(kept=1)
            size = len(candidate.payload)
            self._ledger = self._ledger.after(
                inference, manifest.keep, now=now, size_bytes=size, picture_hash=candidate.picture_hash
            )
        return True

    def _count_refusal(self, reason: KeepReason) -> None:
        name = _REFUSALS.get(reason)
        if name is not None:
            self._telemetry.add(**{name: 1})

    def _context_of(self, manifest: BundleManifest, digest: str, gallery_labels: GalleryLabels) -> KeepContext:
        """Facts of the bundle, read once for each."""
        if self._context[0] != digest:
            self._context = (digest, context_of(manifest, gallery_labels=gallery_labels()))
        return self._context[1]


def privacy_hook(settings: AgentSettings) -> PrivacyHook | None:
    """What the settings say about private things; None where nothing is private."""
    labels = frozenset(settings.private_label_names)
    if not labels:
        return None
    return blur_labels(labels) if settings.private_action == "blur" else veto_labels(labels)


def sample_metadata(frame: Frame, inference: Inference, verdict: KeepVerdict, *, device_id: str) -> SampleMetadata:
    """What the device knows about a sample when it keeps it."""
    headline = inference.prediction.headline
    return SampleMetadata(
        device_id=device_id,
        captured_at=frame.captured_at,
        source=frame.source,
        prediction_id=inference.prediction_id,
        bundle_digest=inference.bundle_digest,
        label=headline.label,
        confidence=inference.decision.confidence,
        margin=headline.margin,
        outcome=inference.decision.outcome,
        reason=verdict.reason,
        value=verdict.value,
    )
