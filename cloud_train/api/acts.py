"""What people do to devices and rollouts, for the API and for the pages alike; each leaves an entry in the audit."""

from __future__ import annotations

from cloud_train.api.parts import ConsoleParts
from cloud_train.errors import UnknownDeviceError
from cloud_train.fleet import members
from cloud_train.fleet.acts import Act
from cloud_train.fleet.members import By
from cloud_train.fleet_types import AuditEntry, Member, Person, Rollout
from edge.kiosk.refusals import RequestError


def pin(parts: ConsoleParts, person: Person, device_id: str, bundle_digest: str) -> Member:
    """Pins a device to a bundle, or lets it go where the digest is empty.

    Raises:
        RequestError: 409, no such bundle was ever published.
        UnknownDeviceError: No such member.
    """
    if bundle_digest and not parts.devices.knows_bundle(bundle_digest):
        raise RequestError(409, f"no bundle {bundle_digest[:12]} was published; publish it first")
    return members.pin(parts.fleet, _by(parts, person), device_id, bundle_digest)


def hold(parts: ConsoleParts, person: Person, device_id: str, *, held: bool) -> Member:
    """Keeps a device on what it runs, or lets it go.

    Raises:
        UnknownDeviceError: No such member.
    """
    return members.hold(parts.fleet, _by(parts, person), device_id, held=held)


def label(parts: ConsoleParts, person: Person, device_id: str, labels: dict[str, str]) -> Member:
    """Replaces the labels of a device.

    Raises:
        UnknownDeviceError: No such member.
        UsageError: A label is malformed.
    """
    gone = tuple(key for key in _member(parts, device_id).labels if key not in labels)
    return members.label(parts.fleet, _by(parts, person), device_id, labels, remove=gone)


def revoke(parts: ConsoleParts, person: Person, device_id: str, reason: str) -> Member:
    """Shuts a device out at once.

    Raises:
        UnknownDeviceError: No such member.
    """
    parts.fleet.revoke(device_id, _entry(parts, person, "device.revoked", device_id, reason))
    return _member(parts, device_id)


def readmit(parts: ConsoleParts, person: Person, device_id: str, reason: str) -> Member:
    """Lets a revoked device in again with the certificate that it has.

    Raises:
        UnknownDeviceError: No such member.
    """
    parts.fleet.readmit(device_id, _entry(parts, person, "device.readmitted", device_id, reason))
    return _member(parts, device_id)


def move(parts: ConsoleParts, person: Person, rollout_id: int, act: Act, reason: str) -> Rollout:
    """Advances, pauses, resumes, halts, rolls back or finishes a rollout.

    Raises:
        RequestError: 404, there is none of that number.
        RolloutError: It cannot be done where the rollout stands.
    """
    if parts.rollouts.find(rollout_id) is None:
        raise no_rollout(rollout_id)
    return parts.rollouts.act(rollout_id, act, who=person.name, now=parts.clock(), reason=reason)


def no_rollout(rollout_id: int) -> RequestError:
    """The refusal of a number that no rollout has."""
    return RequestError(404, f"there is no rollout {rollout_id}")


def no_device(device_id: str) -> RequestError:
    """The refusal of a name that no device has."""
    return RequestError(404, f"there is no device {device_id[:80]!r}")


def _member(parts: ConsoleParts, device_id: str) -> Member:
    member = parts.fleet.member(device_id)
    if member is None:
        raise UnknownDeviceError(f"no device {device_id[:80]!r} was let into this fleet")
    return member


def _by(parts: ConsoleParts, person: Person) -> By:
    return By(who=f"person:{person.name}", now=parts.clock())


def _entry(parts: ConsoleParts, person: Person, action: str, device_id: str, reason: str) -> AuditEntry:
    by = _by(parts, person)
    detail = {"reason": reason} if reason else {}
    return AuditEntry(at=by.now, who=by.who, action=action, subject=f"device:{device_id}", detail=detail)
