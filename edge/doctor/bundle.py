"""The bundle that runs: is it whole, proven, and does it give its golden outputs on this device."""

from __future__ import annotations

from edge.bundle.manifest import Verdict
from edge.bundle.reader import Bundle, open_bundle
from edge.doctor.spawn import run_child
from edge.doctor.types import Finding, State, Subject
from edge.errors import BundleError, FormatError
from edge.update.selftest import hardware_fingerprint
from edge.update.slots import Slots

GOLDEN_LIMIT_S = 120.0
_ANEW = "start the agent: it goes back to the bundle before, and fetches this one anew"


def examine_bundle(subject: Subject) -> tuple[Finding, ...]:
    """One finding on the slot, and one on the golden vectors."""
    try:
        slots = Slots(subject.settings.home)
    except FormatError as error:
        return (Finding(name="bundle", state=State.FAIL, detail=error.message, fix=error.hint),)
    digest = slots.active.bundle_digest
    if not digest:
        return (_none_yet(subject),)
    try:
        bundle = open_bundle(slots.folder(slots.state.active))
    except (BundleError, FormatError) as error:
        return (Finding(name="bundle", state=State.FAIL, detail=error.message, fix=_ANEW),)
    if bundle.digest != digest:
        detail = f"slot {slots.state.active} holds {bundle.digest[:12]}, slots.json says {digest[:12]}"
        return (Finding(name="bundle", state=State.FAIL, detail=detail, fix=_ANEW),)
    return (_judged(bundle, slots), _golden(subject, slots))


def _none_yet(subject: Subject) -> Finding:
    if subject.settings.server:
        return Finding(name="bundle", state=State.OK, detail="none yet; the first release brings one")
    fix = "name a server, or start once with --bundle FILE --allow-unsigned"
    return Finding(name="bundle", state=State.FAIL, detail="none, and no server to fetch one from", fix=fix)


def _judged(bundle: Bundle, slots: Slots) -> Finding:
    manifest, state = bundle.manifest, slots.state
    trial = ", on trial" if state.trial == state.active else ""
    detail = f"{manifest.name} version {manifest.version} ({bundle.digest[:12]}), slot {state.active}{trial}, "
    if manifest.proof.verdict in (Verdict.PASS, Verdict.UNDECIDED):
        return Finding(name="bundle", state=State.OK, detail=f"{detail}whole, proof: {manifest.proof.verdict.value}")
    fix = "prove it (`edgeloop bundle prove`) and publish it"
    return Finding(name="bundle", state=State.WARN, detail=f"{detail}whole, but not proven", fix=fix)


def _golden(subject: Subject, slots: Slots) -> Finding:
    name = "golden vectors"
    if subject.is_running:
        same = slots.active.tested_on == hardware_fingerprint()
        detail = "they passed here when it was installed" if same else "the agent tests them at its next start"
        return Finding(name=name, state=State.SKIPPED, detail=f"an agent is at work; {detail}")
    outcome = run_child(
        "bundle", str(subject.settings.home.absolute()), subject.settings.artifact, limit_s=GOLDEN_LIMIT_S
    )
    if outcome.ok:
        return Finding(name=name, state=State.OK, detail=outcome.detail)
    fix = outcome.fix or "roll back: start the agent, or publish a bundle that works on this device"
    return Finding(name=name, state=State.FAIL, detail=outcome.detail, fix=fix)
