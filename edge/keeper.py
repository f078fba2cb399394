"""Puts what is worth a second look into the outbox, within budgets, and never what a privacy rule forbids."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from edge.bundle.manifest import BundleManifest
from edge.errors import ImageError, RefusedError, StorageError
from edge.image.decode import DEFAULT_LIMITS, DecodeLimits
from edge.keep.candidate import Candidate, consider, make_payload
from edge.keep.context import KeepContext, context_of
from edge.keep.ledger import KeepLedger
from edge.keep.payload import PayloadOptions, payload_policy
from edge.keep.privacy import PrivacyHook, blur_labels, veto_labels
from edge.outbox.base import OutboxLimits, PutOutcome, Sample, SampleMetadata, SampleOutbox
from edge.settings import AgentSettings
from edge.telemetry import Telemetry, Topic
from edge.types import Frame, Inference, KeepReason, KeepVerdict
from edge.writer import GroupWriter

GalleryLabels = Callable[[], Mapping[str, tuple[str, ...]]]
_REFUSALS = {
    KeepReason.NEAR_DUPLICATE: "near_duplicates",
    KeepReason.OVER_BUDGET: "over_budget",
    KeepReason.PRIVATE: "private",
}


class Keeper:
    """Decides for each frame whether it is kept, and remembers what that leaves of budgets and quotas. Thread-safe.

    What it remembers is lost with the process: after a restart budgets begin anew. Frames of a live source are kept in
    the background (`edge.writer`) and spend their budget as soon as they are handed over; all others are durable when
    `keep` returns.

    Args:
        settings: What the device was told.
        outbox: Where samples go.
        telemetry: Told what happened.
        clock: Seconds since the epoch, UTC.
        report: Told in one line what went wrong, once for each kind.
        in_background: Whether `keep` may return before the sample is durable.

    Raises:
        UsageError: The settings ask for a payload that there is not.
    """

    def __init__(
        self,
        settings: AgentSettings,
        outbox: SampleOutbox,
        telemetry: Telemetry,
        *,
        clock: Callable[[], float],
        report: Callable[[str], None],
        in_background: bool = False,
    ) -> None:
        self._settings = settings
        self._outbox = outbox
        self._telemetry = telemetry
        self._clock = clock
        self._report = report
        self._privacy = privacy_hook(settings)
        self._limits = DecodeLimits(max_bytes=settings.max_picture_bytes, max_pixels=DEFAULT_LIMITS.max_pixels)
        options = PayloadOptions(
            quality=settings.payload_quality, max_side=settings.payload_max_side, limits=self._limits
        )
        self._payload = payload_policy(settings.payload, options)
        self._lock = threading.Lock()
        self._ledger = KeepLedger()
        self._context: tuple[str, KeepContext] = ("", KeepContext())
        self.last_error = ""
        self._writer: GroupWriter | None = None
        if in_background:
            self._writer = GroupWriter(
                outbox, clock=clock, settled=self._settled, failed=self._failed, dropped=self._given_up
            )
            self._writer.start()

    def keep(
        self,
        frame: Frame,
        inference: Inference,
        manifest: BundleManifest,
        *,
        gallery_labels: GalleryLabels = dict,
    ) -> str:
        """Keeps a frame if it is worth it.

        Args:
            frame: The picture that was answered for.
            inference: What the engine said.
            manifest: Of the bundle that said it.
            gallery_labels: Gives the classes of the gallery of each stage that has one, by the stage's name; asked once
                for each bundle.

        Returns:
            Digest of the sample in the outbox, put there by this frame or an earlier one; empty where it is not kept.
        """
        now = self._clock()
        with self._lock:
            try:
                candidate = consider(
                    frame.data,
                    inference,
                    manifest.keep,
                    context=self._context_of(manifest, inference.bundle_digest, gallery_labels),
                    ledger=self._ledger,
                    now=now,
                    privacy=self._privacy,
                    payload=self._payload,
                    limits=self._limits,
                )
            except ImageError as error:
                self._say_of(frame, error.message)
                return ""
            if candidate.problem:
                self._say_of(frame, candidate.problem)
            if not candidate.verdict.keep:
                self._count_refusal(candidate.verdict.reason)
                return ""
            outcome = self._put(self._sample(frame, inference, candidate), now)
            if outcome is PutOutcome.KEPT:
                self._ledger = self._ledger.after(
                    inference,
                    manifest.keep,
                    now=now,
                    size_bytes=len(candidate.payload),
                    picture_hash=candidate.picture_hash,
                )
        return candidate.digest if outcome in (PutOutcome.KEPT, PutOutcome.KNOWN) else ""

    def keep_for_answer(self, frame: Frame, inference: Inference) -> str:
        """Keeps a frame that a person has said something about, whatever the bundle's rules and budgets say.

        Returns:
            Digest of the sample, which is durable now.

        Raises:
            RefusedError: A privacy rule forbids it, or it is too large.
            StorageError: The disk is full or failing, or the outbox is full of samples that people answered.
            ImageError: The picture cannot be decoded any more.
        """
        verdict = KeepVerdict(keep=True, reason=KeepReason.FEEDBACK, value=1.0)
        made = make_payload(
            frame.data, inference, verdict, privacy=self._privacy, payload=self._payload, limits=self._limits
        )
        if not made.verdict.keep:
            raise RefusedError(f"{frame.source}: the picture may not be kept: it shows what is private")
        if len(made.payload) > self._settings.max_sample_bytes:
            raise RefusedError(f"{frame.source}: the picture is too large to be kept: {len(made.payload)} bytes")
        outcome = self._outbox.put_many((self._sample(frame, inference, made),), now=self._clock())[0]
        if outcome is PutOutcome.SHED:
            raise StorageError("the outbox is full of samples that people answered", hint="let it send what it has")
        self._telemetry.add(kept=int(outcome is PutOutcome.KEPT))
        return made.digest

    def stop(self, *, timeout_s: float) -> None:
        """Writes what still waits to be kept."""
        if self._writer is not None:
            left = self._writer.stop(timeout_s=timeout_s)
            self._telemetry.add(keep_failed=left)

    def _say_of(self, frame: Frame, problem: str) -> None:
        line = f"{frame.source}: not kept: {problem}"
        self._telemetry.trouble(Topic.FRAME, line)
        self._report(line)

    def _sample(self, frame: Frame, inference: Inference, candidate: Candidate) -> Sample:
        metadata = sample_metadata(frame, inference, candidate.verdict, device_id=self._settings.device_id)
        return Sample(digest=candidate.digest, payload=candidate.payload, metadata=metadata)

    def _put(self, sample: Sample, now: float) -> PutOutcome | None:
        """What became of a sample; None where it is not kept for its size or for the disk."""
        if len(sample.payload) > self._settings.max_sample_bytes:
            self._telemetry.add(too_large=1)
            return None
        if self._writer is not None:
            return PutOutcome.KEPT if self._writer.hand_over(sample) else None
        try:
            outcome = self._outbox.put_many((sample,), now=now)[0]
        except StorageError as error:
            self._given_up(1)
            self._failed(str(error), message=error.message)
            return None
        self._settled((outcome,))
        return outcome

    def _settled(self, outcomes: Sequence[PutOutcome]) -> None:
        self._telemetry.trouble(Topic.OUTBOX, "")
        self._telemetry.add(kept=sum(outcome is PutOutcome.KEPT for outcome in outcomes))

    def _failed(self, line: str, *, message: str = "") -> None:
        self.last_error = message or line
        self._telemetry.trouble(Topic.OUTBOX, line)
        self._report(line)

    def _given_up(self, number: int) -> None:
        self._telemetry.add(keep_failed=number)

    def _count_refusal(self, reason: KeepReason) -> None:
        name = _REFUSALS.get(reason)
        if name is not None:
            self._telemetry.add(**{name: 1})

    def _context_of(self, manifest: BundleManifest, digest: str, gallery_labels: GalleryLabels) -> KeepContext:
        """Facts of the bundle, read once for each."""
        if self._context[0] != digest:
            self._context = (digest, context_of(manifest, gallery_labels=gallery_labels()))
        return self._context[1]


def limits_of(settings: AgentSettings) -> OutboxLimits:
    """What the settings allow the outbox to hold."""
    return OutboxLimits(max_bytes=settings.outbox_max_bytes, max_entries=settings.outbox_max_entries)


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
