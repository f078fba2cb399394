"""One update attempt: ask, verify, fetch, test, activate. A kill anywhere leaves a verified bundle to run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from edge.bundle.manifest import MANIFEST_NAME, Verdict
from edge.bundle.reader import Bundle, open_bundle
from edge.errors import BundleError, FormatError, MissingExtraError, RoadError, SelfTestError, TrustError, UsageError
from edge.sync.base import SyncTransport
from edge.update.slots import Slots
from edge.update.staging import Progress, StagingPlan, stage
from edge.update.trust import TrustStore, VerifiedRelease
from edge.update.types import UpdateOutcome, UpdateResult

_PROVEN = (Verdict.PASS, Verdict.UNDECIDED)


class Updater:
    """Brings releases into the slots.

    Args:
        slots: Where bundles live.
        trust: Who says what may run.
        transport: The road; None where only `sideload` is used.
        self_test: Raises `SelfTestError` for a bundle that does not give its golden outputs here.
        fingerprint: Names this machine and its runtimes.
    """

    def __init__(
        self,
        slots: Slots,
        trust: TrustStore,
        transport: SyncTransport | None,
        *,
        self_test: Callable[[Bundle], None],
        fingerprint: Callable[[], str],
    ) -> None:
        self._slots = slots
        self._trust = trust
        self._transport = transport
        self._self_test = self_test
        self._fingerprint = fingerprint

    def update(self, now: float, *, progress: Progress | None = None) -> UpdateResult:
        """Asks for the channel's release and, when it is a new one, activates it on trial.

        Args:
            now: Seconds since the epoch, UTC.
            progress: Called with bytes done and bytes in all.

        Raises:
            StorageError: The disk is full or failing; the device stays on what it runs.
            UsageError: The device has no trusted root yet.
        """
        try:
            found = self._trust.refresh(now)
            if found is None:
                return self._result(UpdateOutcome.CURRENT, reason="the channel offers nothing yet")
            return self._consider(found, progress)
        except RoadError as error:
            return self._result(UpdateOutcome.OFFLINE, reason=str(error))
        except (TrustError, BundleError, FormatError) as error:
            return self._result(UpdateOutcome.REJECTED, reason=str(error))

    def sideload(self, folder: Path) -> UpdateResult:
        """Installs a bundle from a folder, without any signature: for a bench, said so by the caller.

        Raises:
            BundleError: Damaged, unproven, or its golden vectors fail here.
            StorageError: The disk is full or failing.
        """
        bundle = open_bundle(folder)
        if bundle.digest == self._slots.active.bundle_digest:
            return self._result(UpdateOutcome.CURRENT)
        plan = StagingPlan(
            folder=self._slots.staging(bundle.digest),
            manifest=bundle.manifest,
            manifest_bytes=(folder / MANIFEST_NAME).read_bytes(),
            sources=(folder,),
        )
        _require_proof(bundle.manifest.proof.verdict, bundle.manifest.name)
        stage(plan, None)
        self._activate(bundle.digest, metadata_version=0)
        return self._result(UpdateOutcome.ACTIVATED)

    def _consider(self, found: VerifiedRelease, progress: Progress | None) -> UpdateResult:
        release, state = found.release, self._slots.state
        fetched = found.fetched_bytes
        if release.metadata_version < state.metadata_version:
            known = state.metadata_version
            raise TrustError(f"the release metadata went back from version {known} to {release.metadata_version}")
        if release.bundle_digest == self._slots.active.bundle_digest:
            self._slots.accept(release.metadata_version)
            return self._result(UpdateOutcome.CURRENT, fetched=fetched)
        if release.bundle_digest in state.rejected:
            reason = f"bundle {release.bundle_digest[:12]} has failed on this device before and is not tried again"
            return self._result(UpdateOutcome.REJECTED, fetched=fetched, reason=reason)
        if state.trial and self._slots.has_fallback:
            return self._result(UpdateOutcome.CURRENT, fetched=fetched, reason="the bundle that runs is still on trial")
        _require_proof(found.manifest.proof.verdict, release.name)
        fetched += self._stage(found, progress)
        self._activate(release.bundle_digest, metadata_version=release.metadata_version)
        return self._result(UpdateOutcome.ACTIVATED, fetched=fetched)

    def _stage(self, found: VerifiedRelease, progress: Progress | None) -> int:
        digest = found.release.bundle_digest
        self._slots.sweep(keep=digest)
        plan = StagingPlan(
            folder=self._slots.staging(digest),
            manifest=found.manifest,
            manifest_bytes=found.manifest_bytes,
            sources=(self._slots.folder("a"), self._slots.folder("b")),
        )
        return stage(plan, self._transport, progress=progress)

    def _activate(self, digest: str, *, metadata_version: int) -> None:
        try:
            bundle = self._slots.install(digest)
        except BundleError:
            shutil.rmtree(self._slots.staging(digest), ignore_errors=True)
            raise
        try:
            self._self_test(bundle)
        except (SelfTestError, FormatError):
            self._slots.reject(digest)
            raise
        except (UsageError, MissingExtraError) as error:
            # Made for other devices: another release may come that is made for this one.
            self._slots.reject(digest)
            raise BundleError(f"bundle {digest[:12]} cannot run here: {error.message}", hint=error.hint) from error
        self._slots.activate(tested_on=self._fingerprint(), metadata_version=metadata_version)

    def _result(self, outcome: UpdateOutcome, *, fetched: int = 0, reason: str = "") -> UpdateResult:
        digest = self._slots.active.bundle_digest
        return UpdateResult(outcome=outcome, bundle_digest=digest, fetched_bytes=fetched, reason=reason)


def _require_proof(verdict: Verdict, name: str) -> None:
    if verdict not in _PROVEN:
        raise BundleError(
            f"bundle {name!r} is not proven (verdict {verdict.value})", hint="prove it before publishing it"
        )
