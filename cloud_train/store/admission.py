"""Whether a code lets a device in. Pure; asked inside the transaction that uses the code."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from cloud_train.fleet_types import CertificateRecord, EnrolmentCode, Member


class Verdict(enum.Enum):
    """What became of an enrolment: let in, or the reason why not."""

    ADMITTED = "admitted"
    UNKNOWN_CODE = "unknown code"
    EXPIRED_CODE = "expired code"
    USED_CODE = "used code"
    NAME_TAKEN = "name taken"
    OTHER_NAME = "code is for another name"
    REVOKED = "device was revoked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """A device that shows a code.

    Attributes:
        code_hash: SHA-256 of the code, hex.
        key_hash: SHA-256 of its public key, hex.
        device_id: The name it shall have.
        certificate: What shall speak for it from now on.
        now: Seconds since the epoch, UTC.
    """

    code_hash: str
    key_hash: str
    device_id: str
    certificate: CertificateRecord
    now: float


def verdict_on(code: EnrolmentCode | None, member: Member | None, admission: Admission) -> Verdict:
    """Whether a code lets a device in.

    Args:
        code: As it is recorded, None when there is none.
        member: Who has the wished name already, None for nobody.
        admission: What is asked for.
    """
    if code is None:
        return Verdict.UNKNOWN_CODE
    if code.expires_at <= admission.now:
        return Verdict.EXPIRED_CODE
    if code.used_at is not None:
        return _verdict_again(code, member, admission)
    if code.device_id not in ("", admission.device_id):
        return Verdict.OTHER_NAME
    if member is None:
        return Verdict.ADMITTED
    # A code for a member that was revoked was made after that, for a revocation ends the codes that were there.
    return Verdict.ADMITTED if code.device_id else Verdict.NAME_TAKEN


def _verdict_again(code: EnrolmentCode, member: Member | None, admission: Admission) -> Verdict:
    if (code.used_by, code.used_key) != (admission.device_id, admission.key_hash):
        return Verdict.USED_CODE
    return Verdict.REVOKED if member is None or member.revoked_at is not None else Verdict.ADMITTED
