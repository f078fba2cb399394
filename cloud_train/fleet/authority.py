"""The certificate authority of a fleet: signs devices in, and the servers that they talk to.

Its folder holds `ca.key.pem`, readable by its owner only, and `ca.pem`. A server without a certificate of its own
has the authority sign one for a key that it keeps in memory, so every process may have its own copy of the folder, as
a mounted secret that nobody writes to. `ca.pem` may hold older authorities after the first certificate: they still
let devices in, they sign nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cloud_train.errors import AuthorityError
from cloud_train.fleet.certificates import (
    DAY_S,
    IssuedCertificate,
    ServerCertificate,
    begin,
    common_name,
    describe,
    general_name,
    key_usage,
    pem_of,
    private_pem,
    purpose_of,
    signed,
)
from cloud_train.fleet.requests import read_request
from cloud_train.store.lock import exclusive
from edge import durable
from edge.errors import UsageError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

KEY_FILE, CERTIFICATE_FILE = "ca.key.pem", "ca.pem"
AUTHORITY_DAYS = 3650.0
DEVICE_DAYS = 90.0
SERVER_DAYS = 30.0
_LEAST_LEFT_S = 30.0


def create_authority(folder: Path, name: str, now: float) -> Authority:
    """Makes an authority; where there is one, opens it.

    Args:
        folder: Created when missing, readable by its owner only.
        name: For people, in every certificate.
        now: Seconds since the epoch, UTC.

    Raises:
        UsageError: The name is none.
        AuthorityError: What is there is damaged.
        StorageError: The folder cannot be written.
    """
    if not 0 < len(name) <= 64 or not name.isprintable():
        raise UsageError(f"{name[:80]!r} is no name for an authority", hint="give 1 to 64 plain characters")
    if (folder / CERTIFICATE_FILE).exists():
        return open_authority(folder)
    durable.make_folder(folder)
    folder.chmod(0o700)
    with exclusive(folder / "lock"):  # two servers may start at the same moment
        if not (folder / CERTIFICATE_FILE).exists():
            _write_authority(folder, name, now)
    return open_authority(folder)


def _write_authority(folder: Path, name: str, now: float) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    builder = begin(common_name(name), common_name(name), key.public_key(), now, AUTHORITY_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(key_usage(signs_certificates=True), critical=True)
    # The certificate is the later of the two: a folder that has one is whole.
    durable.write_bytes(folder / KEY_FILE, private_pem(key), point="ca.key", mode=0o600)
    durable.write_bytes(folder / CERTIFICATE_FILE, pem_of(signed(builder, key)), point="ca.certificate")


def open_authority(folder: Path) -> Authority:
    """Reads the authority of a folder.

    Raises:
        AuthorityError: There is none, or it is damaged.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key((folder / KEY_FILE).read_bytes(), password=None)
        certificates = x509.load_pem_x509_certificates((folder / CERTIFICATE_FILE).read_bytes())
    except OSError as cause:
        why = (cause.strerror or "no reason given").lower()
        hint = "make it with `edgeloop fleet init`, or name its folder with --ca"
        raise AuthorityError(f"no certificate authority in {folder}: {why}", hint=hint) from cause
    except (ValueError, TypeError):  # their words might tell of the key
        raise _damaged(folder) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or certificates[0].public_key() != key.public_key():
        raise _damaged(folder)
    return Authority(key, tuple(certificates))


class Authority:
    """Signs certificates. Thread-safe. Made by `create_authority` and `open_authority`."""

    def __init__(self, key: EllipticCurvePrivateKey, certificates: tuple[x509.Certificate, ...]) -> None:
        self._key = key
        self._certificate = certificates[0]
        self.trusted_pem = b"".join(map(pem_of, certificates))

    @property
    def name(self) -> str:
        """What people called it."""
        return self._certificate.subject.rfc4514_string().removeprefix("CN=")

    @property
    def not_after(self) -> float:
        """When it expires, seconds since the epoch, UTC."""
        return self._certificate.not_valid_after_utc.timestamp()

    def issue_device(
        self, csr_pem: bytes, device_id: str, now: float, *, days: float = DEVICE_DAYS
    ) -> IssuedCertificate:
        """Signs a device in. Of its request nothing counts but the public key.

        Args:
            csr_pem: Certificate signing request (PKCS #10, PEM).
            device_id: The name that the certificate carries, as CN and as `urn:edgeloop:device:<id>`.
            now: Seconds since the epoch, UTC.
            days: How long the certificate is good.

        Raises:
            FormatError: The request is none, or its key is too weak or of a kind that TLS does not take here.
            AuthorityError: The authority itself has expired.
        """
        from cryptography import x509

        key = read_request(csr_pem)
        builder = self._leaf(key, device_id, now, days)
        uri = x509.UniformResourceIdentifier(f"urn:edgeloop:device:{device_id}")
        builder = builder.add_extension(x509.SubjectAlternativeName([uri]), critical=False)
        builder = builder.add_extension(purpose_of(x509.ExtendedKeyUsageOID.CLIENT_AUTH), critical=False)
        return describe(signed(builder, self._key))

    def issue_server(self, hosts: tuple[str, ...], now: float, *, days: float = SERVER_DAYS) -> ServerCertificate:
        """Makes a key for a server and signs it.

        Args:
            hosts: Names and addresses that devices may call it by; at least one.
            now: Seconds since the epoch, UTC.
            days: How long the certificate is good.

        Raises:
            UsageError: A host is neither a name nor an address.
            AuthorityError: The authority itself has expired.
        """
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric import ec

        if not hosts:
            raise UsageError("a server needs a name", hint="give --host NAME")
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._leaf(key.public_key(), "edgeloop server", now, days)
        builder = builder.add_extension(
            x509.SubjectAlternativeName([general_name(one) for one in hosts]), critical=False
        )
        builder = builder.add_extension(purpose_of(x509.ExtendedKeyUsageOID.SERVER_AUTH), critical=False)
        certificate = signed(builder, self._key)
        return ServerCertificate(
            key_pem=private_pem(key),
            certificate_pem=pem_of(certificate),
            not_before=certificate.not_valid_before_utc.timestamp(),
            not_after=certificate.not_valid_after_utc.timestamp(),
        )

    def _leaf(self, key: CertificatePublicKeyTypes, name: str, now: float, days: float) -> x509.CertificateBuilder:
        from cryptography import x509

        left_days = (self.not_after - now) / DAY_S
        if left_days * DAY_S <= _LEAST_LEFT_S:
            raise AuthorityError("the fleet's certificate authority has expired", hint="make a new one with --ca")
        builder = begin(common_name(name), self._certificate.subject, key, now, min(days, left_days))
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(key_usage(signs_certificates=False), critical=True)
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return builder.add_extension(identifier, critical=False)


def _damaged(folder: Path) -> AuthorityError:
    message = f"the certificate authority in {folder} is damaged: its key and its certificate do not fit"
    return AuthorityError(message, hint="restore the folder from a backup")
