"""Keys and certificate requests, made by the `cryptography` library; and what a certificate says."""

from __future__ import annotations

from typing import Any

from edge.errors import MissingExtraError, UsageError


def new_key() -> bytes:
    """A private key on P-256, PEM (PKCS #8), without a password: the file system guards it.

    Raises:
        MissingExtraError: cryptography is not installed.
    """
    try:
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    except ImportError as cause:
        raise MissingExtraError("cryptography", "identity") from cause
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def signing_request(key_pem: bytes) -> bytes:
    """A certificate signing request (PKCS #10, PEM) that names nobody: the fleet knows who asks.

    Args:
        key_pem: The private key that the certificate shall be for.

    Raises:
        UsageError: It is no private key.
        MissingExtraError: cryptography is not installed.
    """
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.serialization import Encoding
    except ImportError as cause:
        raise MissingExtraError("cryptography", "identity") from cause
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(_private_key(key_pem), hashes.SHA256()).public_bytes(Encoding.PEM)


def lifetime(certificate_pem: bytes) -> tuple[float, float]:
    """When the first certificate of a chain begins and expires, seconds since the epoch, UTC.

    Raises:
        UsageError: It is no certificate.
        MissingExtraError: cryptography is not installed.
    """
    certificate = _certificate(certificate_pem)
    return certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()


def belong_together(key_pem: bytes, certificate_pem: bytes) -> bool:
    """Whether a certificate is for a private key.

    Raises:
        UsageError: One of them is none.
        MissingExtraError: cryptography is not installed.
    """
    return bool(_certificate(certificate_pem).public_key() == _private_key(key_pem).public_key())


def _private_key(pem: bytes) -> Any:  # noqa: ANN401 - of whatever kind
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        return load_pem_private_key(pem, password=None)
    except (ValueError, TypeError):  # their words might tell of the key
        raise UsageError("the private key cannot be read", hint="give it in PEM, without a password") from None


def _certificate(pem: bytes) -> Any:  # noqa: ANN401 - imported here
    try:
        from cryptography import x509
    except ImportError as cause:
        raise MissingExtraError("cryptography", "identity") from cause
    try:
        return x509.load_pem_x509_certificates(pem)[0]
    except ValueError as cause:
        raise UsageError("the certificate cannot be read", hint="give it in PEM") from cause
