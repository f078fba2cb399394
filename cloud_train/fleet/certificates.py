"""How the fleet's certificates are put together (RFC 5280), and what is remembered of them."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cloud_train.fleet.requests import hash_of_certificate, hash_of_key
from edge.errors import UsageError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

BACKDATED_S = 300.0
"""Certificates begin so long before they are made, because clocks of devices differ."""
DAY_S = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedCertificate:
    """A certificate for a device.

    Attributes:
        certificate_pem: The certificate, PEM.
        fingerprint: SHA-256 of its DER form, hex.
        key_hash: SHA-256 of its public key (DER of the SubjectPublicKeyInfo), hex.
        not_before: When it begins, seconds since the epoch, UTC.
        not_after: When it expires.
    """

    certificate_pem: bytes
    fingerprint: str
    key_hash: str
    not_before: float
    not_after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCertificate:
    """What a server shows.

    Attributes:
        key_pem: Its private key, PEM.
        certificate_pem: Its certificate, PEM.
        not_before: When it begins, seconds since the epoch, UTC.
        not_after: When it expires.
    """

    key_pem: bytes = field(repr=False)
    certificate_pem: bytes
    not_before: float
    not_after: float


def describe(certificate: x509.Certificate) -> IssuedCertificate:
    """What is recorded about a device's certificate."""
    return IssuedCertificate(
        certificate_pem=pem_of(certificate),
        fingerprint=hash_of_certificate(certificate),
        key_hash=hash_of_key(certificate.public_key()),
        not_before=certificate.not_valid_before_utc.timestamp(),
        not_after=certificate.not_valid_after_utc.timestamp(),
    )


def general_name(host: str) -> x509.GeneralName:
    """A host as certificates name it.

    Raises:
        UsageError: It is neither a name nor an address.
    """
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    labels = host.removeprefix("*.").removesuffix(".").split(".")
    if len(host) > 253 or not all(_is_host_label(label) for label in labels):
        raise UsageError(f"{host[:80]!r} is no host name", hint="give --host a name or an address, without a port")
    return x509.DNSName(host)


def _is_host_label(label: str) -> bool:
    plain = label.replace("-", "").replace("_", "")
    return 0 < len(label) <= 63 and plain.isascii() and plain.isalnum() and label[0] != "-" and label[-1] != "-"


def begin(
    subject: x509.Name, issuer: x509.Name, key: CertificatePublicKeyTypes, now: float, days: float
) -> x509.CertificateBuilder:
    """A certificate to be: who, by whom, for which key, for how many days from `now`."""
    from cryptography import x509

    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(_moment(now - BACKDATED_S)).not_valid_after(_moment(now + days * DAY_S))
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    """What the key may be used for: to sign certificates, or to speak."""
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def purpose_of(purpose: x509.ObjectIdentifier) -> x509.ExtendedKeyUsage:
    """For which side of TLS a certificate is good."""
    from cryptography import x509

    return x509.ExtendedKeyUsage([purpose])


def signed(builder: x509.CertificateBuilder, key: EllipticCurvePrivateKey) -> x509.Certificate:
    """The certificate that a builder and a key make."""
    from cryptography.hazmat.primitives import hashes

    return builder.sign(key, hashes.SHA256())


def pem_of(certificate: x509.Certificate) -> bytes:
    """A certificate, PEM."""
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM)


def private_pem(key: EllipticCurvePrivateKey) -> bytes:
    """A private key, PEM, without a password: the file system guards it."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def common_name(text: str) -> x509.Name:
    """A name of one part, CN."""
    from cryptography import x509

    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _moment(at: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(int(at), datetime.UTC)
