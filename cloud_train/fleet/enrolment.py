"""How a device gets in, and stays in: a one-time code for its first certificate, its certificate for the next."""

from __future__ import annotations

from collections.abc import Callable

from cloud_train.errors import ForbiddenError, UnknownCallerError
from cloud_train.fleet.attempts import Attempts
from cloud_train.fleet.authority import DEVICE_DAYS, Authority
from cloud_train.fleet.certificates import IssuedCertificate
from cloud_train.fleet.codes import hash_of_code
from cloud_train.fleet.names import check_device_name
from cloud_train.fleet_types import AuditEntry, CertificateRecord, EnrolmentCode
from cloud_train.store.admission import Admission, Verdict
from cloud_train.store.audit import AuditLog
from cloud_train.store.members import FleetStore
from edge.errors import RoadError
from edge.sync.types import Enrolment

MAX_RENEWALS = 20
"""New certificates of one device in an hour."""
_HOUR_S = 3600.0
_SAID = {
    Verdict.NAME_TAKEN: ("the name {name!r} is taken", "choose another with --device-id"),
    Verdict.OTHER_NAME: ("this code is for another device than {name!r}", "leave --device-id out"),
}


class Enrolments:
    """Answers `Enroll` and `Renew`. Thread-safe.

    Args:
        fleet: Who belongs.
        audit: Where refusals are written down.
        authority: Signs.
        new_name: A name for a device that has none.
        days: How long certificates are good.
        attempts: Counts wrong codes by address.
    """

    def __init__(
        self,
        fleet: FleetStore,
        audit: AuditLog,
        authority: Authority,
        *,
        new_name: Callable[[], str],
        days: float = DEVICE_DAYS,
        attempts: Attempts | None = None,
    ) -> None:
        self._fleet = fleet
        self._audit = audit
        self._authority = authority
        self._new_name = new_name
        self._days = days
        self._attempts = attempts or Attempts()

    def enroll(self, code: str, wished: str, csr_pem: bytes, *, peer: str, now: float) -> Enrolment:
        """Lets a device in.

        Args:
            code: As it was given; used once, or again by the same key while it lasts.
            wished: The name that the device wants, empty for any.
            csr_pem: Its certificate signing request.
            peer: Its address.
            now: Seconds since the epoch, UTC.

        Raises:
            UnknownCallerError: The code is unknown, has expired or was used: one answer for all; the audit says which.
            ForbiddenError: The name cannot be had with this code, which stays good.
            FormatError: The request or the name makes no sense.
            RoadError: Too many wrong codes from this address.
        """
        self._attempts.check(peer, now)
        code_hash = hash_of_code(code)
        known = self._fleet.code(code_hash)
        if known is None or known.expires_at <= now:
            verdict = Verdict.EXPIRED_CODE if known else Verdict.UNKNOWN_CODE
            raise self._refused(verdict, code_hash, wished, peer, now)
        device_id = self._name(known, wished)
        if known.used_at is not None:
            self._require_few(device_id, now)
        issued = self._authority.issue_device(csr_pem, device_id, now, days=self._days)
        verdict = self._fleet.admit(
            Admission(
                code_hash=code_hash,
                key_hash=issued.key_hash,
                device_id=device_id,
                certificate=_record(issued, device_id, now),
                now=now,
            ),
            _entry(now, f"peer:{peer}", "enrol.admitted", f"device:{device_id}", made_by=known.made_by),
        )
        if verdict is not Verdict.ADMITTED:
            raise self._refused(verdict, code_hash, device_id, peer, now)
        return self._enrolment(device_id, issued)

    def renew(self, device_id: str, csr_pem: bytes, *, now: float, by: str = "") -> Enrolment:
        """Gives a device that has been let in its next certificate; the present one stays good until it expires.

        Args:
            device_id: Who asks, as its certificate says.
            csr_pem: A request for its next key.
            now: Seconds since the epoch, UTC.
            by: Fingerprint of the certificate that asks.

        Raises:
            ForbiddenError: It was revoked meanwhile.
            FormatError: The request makes no sense.
            RoadError: It has had too many within an hour.
        """
        self._require_few(device_id, now)
        issued = self._authority.issue_device(csr_pem, device_id, now, days=self._days)
        entry = _entry(now, f"device:{device_id}", "enrol.renewed", f"device:{device_id}")
        if not self._fleet.add_certificate(_record(issued, device_id, now), entry, by=by):
            raise ForbiddenError(f"device {device_id!r} was revoked", hint="ask the fleet's keeper")
        return self._enrolment(device_id, issued)

    def _require_few(self, device_id: str, now: float) -> None:
        newest = self._fleet.certificates(device_id)[:MAX_RENEWALS]
        if len(newest) == MAX_RENEWALS and newest[-1].issued_at > now - _HOUR_S:
            raise RoadError("too many new certificates", hint="wait an hour", retry_after_s=_HOUR_S)

    def _name(self, code: EnrolmentCode, wished: str) -> str:
        """The name asked for, or the one that was given: by the code, at its first use, or else a new one."""
        given = code.used_by or code.device_id
        return check_device_name(wished) if wished else given or self._new_name()

    def _refused(
        self, verdict: Verdict, code_hash: str, name: str, peer: str, now: float
    ) -> UnknownCallerError | ForbiddenError:
        self._attempts.failed(peer, now)
        detail = {"reason": verdict.value, "name": name}
        self._audit.record(_entry(now, f"peer:{peer}", "enrol.refused", f"code:{code_hash[:12]}", **detail))
        if verdict in _SAID:
            message, hint = _SAID[verdict]
            return ForbiddenError(message.format(name=name), hint=hint)
        return UnknownCallerError("this enrolment code is not good", hint="ask the fleet's keeper for a new one")

    def _enrolment(self, device_id: str, issued: IssuedCertificate) -> Enrolment:
        return Enrolment(
            device_id=device_id, certificate_pem=issued.certificate_pem, authority_pem=self._authority.trusted_pem
        )


def _record(issued: IssuedCertificate, device_id: str, now: float) -> CertificateRecord:
    return CertificateRecord(
        fingerprint=issued.fingerprint, device_id=device_id, issued_at=now, not_after=issued.not_after
    )


def _entry(now: float, who: str, action: str, subject: str, **detail: str) -> AuditEntry:
    return AuditEntry(at=now, who=who, action=action, subject=subject, detail=detail)
