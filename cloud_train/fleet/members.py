"""What people do to devices: let in, name, steer, shut out. Each is one transaction that holds its audit entry too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from cloud_train.fleet.codes import hash_of_code, new_code
from cloud_train.fleet.names import check_channel, check_device_name, check_labels, check_windows
from cloud_train.fleet.requests import hash_of_certificate, read_certificate
from cloud_train.fleet_types import AuditEntry, CertificateRecord, EnrolmentCode, Member
from cloud_train.store.members import FleetStore, MemberChange
from edge.errors import UsageError
from edge.wire import limits

MAX_CODES = 10_000
MAX_HOURS = 24.0 * 90
_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class By:
    """Who does something, and when.

    Attributes:
        who: As the audit names it, `person:<name>`.
        now: Seconds since the epoch, UTC.
    """

    who: str
    now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCode:
    """A code that was just made; the only time that it can be read.

    Attributes:
        code: For whoever sets up the device.
        record: What the fleet keeps of it.
    """

    code: str = field(repr=False)
    record: EnrolmentCode


def make_codes(
    fleet: FleetStore,
    by: By,
    *,
    random_bytes: Callable[[int], bytes],
    device_id: str = "",
    labels: dict[str, str] | None = None,
    channel: str = "",
    hours: float = 24.0,
    count: int = 1,
) -> tuple[NewCode, ...]:
    """Makes one-time codes that let devices in.

    Args:
        fleet: Where they are recorded.
        by: Who makes them.
        random_bytes: `secrets.token_bytes`.
        device_id: The name that the device gets; with `count` its beginning, as `shop-1`, `shop-2`; empty lets each
            device choose.
        labels: What each device gets.
        channel: What each device gets; empty for the server's own.
        hours: How long they last, at most 90 days.
        count: How many.

    Raises:
        UsageError: A value makes no sense.
        FormatError: The name is none.
    """
    labels = check_labels(dict(labels or {}))
    check_channel(channel, empty=True)
    if not 0 < hours <= MAX_HOURS:
        raise UsageError(f"codes cannot last {hours:g} hours", hint=f"give more than 0 and at most {MAX_HOURS:g}")
    if not 0 < count <= MAX_CODES:
        raise UsageError(f"cannot make {count} codes", hint=f"give 1 to {MAX_CODES}")
    names = [device_id] if count == 1 else [device_id and f"{device_id}-{number + 1}" for number in range(count)]
    plain = EnrolmentCode(
        code_hash="",
        labels=labels,
        channel=channel,
        made_by=by.who,
        made_at=by.now,
        expires_at=by.now + hours * _HOUR_S,
    )
    made = []
    for name in names:
        code = new_code(random_bytes)
        given = check_device_name(name) if name else ""
        made.append(NewCode(code=code, record=replace(plain, code_hash=hash_of_code(code), device_id=given)))
    subject = f"device:{device_id}" if device_id and count == 1 else "fleet"
    entry = _entry(by, "enrol.code_made", subject, count=str(count), expires_h=f"{hours:g}")
    fleet.add_codes(tuple(one.record for one in made), entry)
    return tuple(made)


def register(
    fleet: FleetStore, by: By, device_id: str, *, certificate_pem: bytes | None = None, labels: dict[str, str]
) -> Member:
    """Takes in a device without a code: with a certificate that it brought, or on a plaintext port with none.

    Raises:
        FormatError: The name or the certificate is none.
        UsageError: The certificate has expired, or speaks for another device.
    """
    check_device_name(device_id)
    record = None if certificate_pem is None else _brought(certificate_pem, device_id, by.now)
    member = Member(device_id=device_id, labels=check_labels(labels), enrolled_at=by.now)
    detail = {"certificate": record.fingerprint} if record else {}
    fleet.register(record, member, _entry(by, "device.registered", f"device:{device_id}", **detail))
    return fleet.member(device_id) or member


def revoke(fleet: FleetStore, by: By, device_id: str) -> None:
    """Shuts a device out at once.

    Raises:
        UnknownDeviceError: No such device.
    """
    fleet.revoke(device_id, _entry(by, "device.revoked", f"device:{device_id}"))


def readmit(fleet: FleetStore, by: By, device_id: str) -> None:
    """Lets a revoked device in again with the certificate that it has.

    Raises:
        UnknownDeviceError: No such device.
    """
    fleet.readmit(device_id, _entry(by, "device.readmitted", f"device:{device_id}"))


def label(fleet: FleetStore, by: By, device_id: str, labels: dict[str, str], *, remove: tuple[str, ...] = ()) -> Member:
    """Sets some labels of a device and takes others away.

    Raises:
        UnknownDeviceError: No such device.
        UsageError: A label is malformed.
    """
    member = fleet.member(device_id)
    kept = {key: value for key, value in (member.labels if member else {}).items() if key not in remove}
    wanted = check_labels({**kept, **labels})
    entry = _entry(by, "device.labelled", f"device:{device_id}", labels=_written(wanted))
    return fleet.change(device_id, MemberChange(labels=wanted), entry)


def follow(fleet: FleetStore, by: By, device_id: str, channel: str) -> Member:
    """Has a device follow a channel; the empty one is the server's own.

    Raises:
        UnknownDeviceError: No such device.
        UsageError: The channel is malformed.
    """
    change = MemberChange(channel=check_channel(channel, empty=True))
    return fleet.change(device_id, change, _entry(by, "device.channel", f"device:{device_id}", channel=channel))


def pin(fleet: FleetStore, by: By, device_id: str, bundle_digest: str) -> Member:
    """Has a device run one bundle whatever its channel offers; the empty digest ends that.

    Raises:
        UnknownDeviceError: No such device.
        FormatError: It is no digest.
    """
    limits.check_digest(bundle_digest, "bundle", empty=True)
    entry = _entry(by, "device.pinned", f"device:{device_id}", bundle=bundle_digest)
    return fleet.change(device_id, MemberChange(pinned=bundle_digest), entry)


def hold(fleet: FleetStore, by: By, device_id: str, *, held: bool) -> Member:
    """Has a device stay on what it runs, or not any more.

    Raises:
        UnknownDeviceError: No such device.
    """
    action = "device.held" if held else "device.released"
    return fleet.change(device_id, MemberChange(held=held), _entry(by, action, f"device:{device_id}"))


def set_windows(fleet: FleetStore, by: By, device_id: str, windows: str) -> Member:
    """Says in which hours of its local day a device may change its bundle; empty for any.

    Raises:
        UnknownDeviceError: No such device.
        UsageError: The hours are malformed.
    """
    change = MemberChange(update_windows=check_windows(windows))
    return fleet.change(device_id, change, _entry(by, "device.windows", f"device:{device_id}", windows=windows))


def _brought(pem: bytes, device_id: str, now: float) -> CertificateRecord:
    certificate = read_certificate(pem, "certificate")
    not_after = certificate.not_valid_after_utc.timestamp()
    if not_after <= now:
        raise UsageError("the certificate has expired", hint="bring one that is good")
    return CertificateRecord(
        fingerprint=hash_of_certificate(certificate), device_id=device_id, issued_at=now, not_after=not_after
    )


def _written(labels: dict[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in sorted(labels.items()))


def _entry(by: By, action: str, subject: str, **detail: str) -> AuditEntry:
    return AuditEntry(at=by.now, who=by.who, action=action, subject=subject, detail=detail)
