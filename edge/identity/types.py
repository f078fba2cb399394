"""The values of an identity."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a device is known by. Kept as one file, so that key and certificate are never of two minds.

    Attributes:
        device_id: Its name in the fleet.
        key_pem: Its private key, PEM.
        certificate_pem: Its certificate chain, PEM.
        authority_pem: Authorities of the servers that it speaks to, PEM.
        server: `host:port` where they are spoken to.
        channel: The update channel that it was enrolled into, empty for none.
        not_before: When the certificate begins, seconds since the epoch, UTC.
        not_after: When it expires.
        is_brought: Whether somebody else than the fleet's authority signed it, and renews it.
    """

    device_id: str
    key_pem: str = field(repr=False)
    certificate_pem: str
    authority_pem: str
    server: str
    channel: str = ""
    not_before: float
    not_after: float
    is_brought: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentFile:
    """What `edgeloop fleet enroll --out` writes for one device, and `edgeloop device enroll` reads.

    Attributes:
        server: `host:port` of the fleet.
        enroll_server: `host:port` where devices enrol.
        authority_pem: Authorities of these servers, PEM.
        code: The one-time code.
        device_id: The name that the code gives, empty for any.
        channel: The update channel, empty for the device's own choice.
        root_json: Trusted root of the fleet's releases, empty for none yet.
        fleet_key: What opens encrypted models, as `edge.update.encryption.install_key` takes it; empty for none.
        format: 1.
    """

    server: str
    enroll_server: str
    authority_pem: str
    code: str = field(repr=False)
    device_id: str = ""
    channel: str = ""
    root_json: str = ""
    fleet_key: str = field(default="", repr=False)
    format: int = 1
