"""What a device may ask the authority to sign: pure checks of a request, and of a certificate that it brings."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from edge.errors import FormatError
from edge.wire import limits

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

MAX_REQUEST_BYTES = 16 * 1024
_LEAST_RSA_BITS, _MOST_RSA_BITS = 2048, 8192
_CURVES = frozenset(("secp256r1", "secp384r1"))
_KINDS = "a P-256, P-384 or RSA key (2048 to 8192 bits)"


def read_request(csr_pem: bytes) -> CertificatePublicKeyTypes:
    """The public key of a certificate signing request, whose owner has shown that it has the private one.

    Subject and extensions of the request are not looked at: whoever signs decides about them.

    Args:
        csr_pem: PKCS #10, PEM.

    Raises:
        FormatError: It is none, its signature is wrong, or its key is of a kind that is not taken.
    """
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm

    limits.check_count(len(csr_pem), "csr_pem", low=1, high=MAX_REQUEST_BYTES)
    try:
        request = x509.load_pem_x509_csr(csr_pem)
        key = request.public_key()
        check_key(key, "csr_pem")  # before the signature: the check of a giant key costs seconds
        is_signed = request.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm) as cause:
        raise FormatError("csr_pem: is no certificate signing request", hint=f"make one for {_KINDS}") from cause
    if not is_signed:
        raise FormatError("csr_pem: its signature is wrong", hint="sign it with the private key of its public key")
    return key


def read_certificate(pem: bytes, where: str) -> x509.Certificate:
    """A certificate that a device brings: the first of a chain.

    Raises:
        FormatError: It is none, or its key is of a kind that is not taken.
    """
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm

    limits.check_pem(pem, where)
    try:
        certificate = x509.load_pem_x509_certificates(pem)[0]
        check_key(certificate.public_key(), where)
    except (ValueError, TypeError, UnsupportedAlgorithm) as cause:
        raise FormatError(f"{where}: is no certificate", hint="give a PEM file") from cause
    return certificate


def check_key(key: object, where: str) -> None:
    """P-256, P-384, or RSA of 2048 to 8192 bits.

    Ed25519 is not taken: the TLS library inside gRPC (BoringSSL) does not offer it in a handshake, so a device would
    get a certificate that it could never use.

    Raises:
        FormatError: Says what is taken.
    """
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
        return
    if isinstance(key, rsa.RSAPublicKey) and _LEAST_RSA_BITS <= key.key_size <= _MOST_RSA_BITS:
        return
    raise FormatError(f"{where}: its key is of a kind that is not taken", hint=f"make {_KINDS}")


def hash_of_key(key: CertificatePublicKeyTypes) -> str:
    """SHA-256 of a public key (DER of the SubjectPublicKeyInfo), hex."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def hash_of_certificate(certificate: x509.Certificate) -> str:
    """SHA-256 of a certificate's DER form, hex: its fingerprint."""
    from cryptography.hazmat.primitives import hashes

    return certificate.fingerprint(hashes.SHA256()).hex()
