"""One update attempt: ask, verify, fetch, test, activate. A kill anywhere leaves a verified bundle to run."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path

from edge.bundle.manifest import MANIFEST_NAME, Verdict
from edge.bundle.reader import Bundle, open_bundle
from edge.errors import BundleError, FormatError, MissingExtraError, RoadError, SelfTestError, TrustError, UsageError
from edge.update.choose import Step, choose, went_back
from edge.update.encryption import load_key
from edge.update.published import PublishedFiles
from edge.update.room import check_budget
from edge.update.slots import NAMES, Slots
from edge.update.staging import Progress, StagingPlan, stage
from edge.update.trust import TrustStore, VerifiedRelease
from edge.update.types import Offered, SignedChannel, TrustMark, UpdateOutcome, UpdateResult

_PROVEN = (Verdict.PASS, Verdict.UNDECIDED)


class Updater:
    """Brings releases into the slots.

    Args:
        slots: Where bundles live.
        trust: Who says what may run.
        transport: The road; None where only `sideload` is used.
        self_test: Raises `SelfTestError` for a bundle that does not give its golden outputs here.
        fingerprint: Names this machine and its runtimes.
        max_bytes: What all bundles together may take of the disk, 0 for no limit.
    """

    def __init__(
        self,
        slots: Slots,
        trust: TrustStore,
        transport: PublishedFiles | None,
        *,
        self_test: Callable[[Bundle], None],
        fingerprint: Callable[[], str],
        max_bytes: int = 0,
    ) -> None:
        self._slots = slots
        self._trust = trust
        self._transport = transport
        self._self_test = self_test
        self._fingerprint = fingerprint
        self._max_bytes = max_bytes

    def follow(self, channel: str) -> None:
        """Takes what is signed for another channel from now on; not while an update runs."""
        self._trust.follow(channel)

    def update(self, now: float, *, wanted: str = "", progress: Progress | None = None) -> UpdateResult:
        """Asks what is signed for the channel and, when this device shall run another bundle, activates that.

        Args:
            now: Seconds since the epoch, UTC.
            wanted: Digest that the server's last directive names, empty for the channel's settled bundle.
            progress: Called with bytes done and bytes in all.

        Raises:
            StorageError: The disk is full or failing; the device stays on what it runs.
            UsageError: The device has no trusted root yet.
        """
        try:
            return self._consider(self._trust.look(now), wanted, progress)
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
            sealed=bundle.sealed,
        )
        _require_proof(bundle.manifest.proof.verdict, bundle.manifest.name)
        stage(plan, None)
        self._activate(bundle.digest, mark=None)
        return self._result(UpdateOutcome.ACTIVATED)

    def _consider(self, channel: SignedChannel, wanted: str, progress: Progress | None) -> UpdateResult:
        state, fetched = self._slots.state, channel.fetched_bytes
        if reason := went_back(channel.mark, state):
            raise TrustError(reason, hint="the device stays on the bundle it has")
        choice = choose(channel, state, wanted=wanted)
        if choice.step is Step.REFUSE:
            return self._result(UpdateOutcome.REJECTED, fetched=fetched, reason=choice.reason)
        if choice.step is Step.STAY or choice.offered is None:
            if self._slots.active.bundle_digest:
                self._slots.accept(channel.mark)
            return self._result(UpdateOutcome.CURRENT, fetched=fetched, reason=choice.reason)
        self._require_key(choice.offered)
        if not self._take_other_slot(choice.offered, channel.mark):
            found = self._trust.bring(choice.offered, near=[self._slots.folder(name) / MANIFEST_NAME for name in NAMES])
            fetched += found.fetched_bytes + self._stage(found, choice.offered, progress)
            self._activate(choice.offered.digest, mark=channel.mark)
        return self._result(UpdateOutcome.ACTIVATED, fetched=fetched)

    def _require_key(self, offered: Offered) -> None:
        """Before anything travels that could not be run."""
        if offered.sealed and importlib.util.find_spec("cryptography") is None:
            raise BundleError(f"bundle {offered.digest[:12]} is encrypted", hint='pip install "edgeloop[sealed]"')
        if offered.sealed and load_key(self._slots.home) is None:
            raise BundleError(
                f"bundle {offered.digest[:12]} is encrypted, and this device has no fleet key",
                hint="enrol it again, or copy the key to identity/fleet.key; it stays on the bundle it has",
            )

    def _take_other_slot(self, offered: Offered, mark: TrustMark) -> bool:
        """Goes to the bundle in the other slot, where it is the wanted one and intact; nothing travels."""
        if self._slots.state.slots[self._slots.inactive_name].bundle_digest != offered.digest:
            return False
        bundle = self._slots.open_inactive()
        if bundle is None:
            return False
        _require_proof(bundle.manifest.proof.verdict, offered.name)
        goes_back = offered.version < self._slots.active.version
        self._try_out(bundle, mark=mark, on_trial=not goes_back)
        return True

    def _stage(self, found: VerifiedRelease, offered: Offered, progress: Progress | None) -> int:
        _require_proof(found.manifest.proof.verdict, offered.name)
        self._slots.sweep(keep=offered.digest)
        plan = StagingPlan(
            folder=self._slots.staging(offered.digest),
            manifest=found.manifest,
            manifest_bytes=found.manifest_bytes,
            sources=tuple(self._slots.folder(name) for name in NAMES),
            sealed=offered.sealed,
        )
        self._check_budget(plan)
        return stage(plan, self._transport, progress=progress)

    def _check_budget(self, plan: StagingPlan) -> None:
        if not self._max_bytes:
            return
        other = self._slots.inactive_name
        self._slots.drop_leftover()
        check_budget(
            coming=sum(entry.size_bytes for entry in plan.files) + len(plan.manifest_bytes),
            active=self._slots.bytes_of(self._slots.state.active) if self._slots.state.active else 0,
            fallback=self._slots.bytes_of(other),
            at_most=self._max_bytes,
        )

    def _activate(self, digest: str, *, mark: TrustMark | None) -> None:
        try:
            bundle = self._slots.install(digest)
        except BundleError:
            shutil.rmtree(self._slots.staging(digest), ignore_errors=True)
            raise
        self._try_out(bundle, mark=mark, on_trial=True)

    def _try_out(self, bundle: Bundle, *, mark: TrustMark | None, on_trial: bool) -> None:
        """Runs the golden vectors of the bundle in the inactive slot, and activates it."""
        digest = bundle.digest
        try:
            self._self_test(bundle)
        except (SelfTestError, FormatError):
            self._slots.reject(digest)
            raise
        except (UsageError, MissingExtraError) as error:
            # Made for other devices: another release may come that is made for this one.
            self._slots.reject(digest)
            raise BundleError(f"bundle {digest[:12]} cannot run here: {error.message}", hint=error.hint) from error
        self._slots.activate(tested_on=self._fingerprint(), mark=mark, on_trial=on_trial)

    def _result(self, outcome: UpdateOutcome, *, fetched: int = 0, reason: str = "") -> UpdateResult:
        digest = self._slots.active.bundle_digest
        return UpdateResult(outcome=outcome, bundle_digest=digest, fetched_bytes=fetched, reason=reason)


def _require_proof(verdict: Verdict, name: str) -> None:
    if verdict not in _PROVEN:
        raise BundleError(
            f"bundle {name!r} is not proven (verdict {verdict.value})", hint="prove it before publishing it"
        )
