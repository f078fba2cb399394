"""What the fleet's authority signs, and what it does not."""

from __future__ import annotations

import datetime
import stat
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from tls_certificates import write_certificate

from cloud_train.errors import AuthorityError
from cloud_train.fleet.authority import Authority, create_authority, open_authority
from cloud_train.fleet.certificates import BACKDATED_S
from cloud_train.fleet.hosts import read_hosts, write_hosts
from cloud_train.ingest.tls import BroughtCertificates, IssuedCertificates, read_client_authorities, server_hosts
from edge.errors import FormatError, StorageError, UsageError
from edge.identity import request

NOW = 1_700_000_000.0
DAY_S = 86_400.0
EVERYWHERE = "0.0.0.0"  # noqa: S104 - never listened on


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return create_authority(tmp_path / "ca", "a fleet", NOW)


def csr(key: object | None = None, **parts: object) -> bytes:
    key = key or ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "somebody else")])
    )
    for extension in parts.get("extensions", ()):
        builder = builder.add_extension(extension, critical=True)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.PEM)


def read(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem)


def test_a_device_gets_a_certificate_for_its_name_and_for_nothing_else(authority: Authority) -> None:
    wished = (x509.BasicConstraints(ca=True, path_length=None), x509.SubjectAlternativeName([x509.DNSName("evil")]))
    issued = authority.issue_device(csr(extensions=wished), "till-7", NOW, days=90)
    found = read(issued.certificate_pem)
    assert found.subject.rfc4514_string() == "CN=till-7"
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [name.value for name in names] == ["urn:edgeloop:device:till-7"]
    constraints = found.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.value.ca, constraints.critical) == (False, True)
    purposes = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [x509.ExtendedKeyUsageOID.CLIENT_AUTH]
    assert found.not_valid_before_utc.timestamp() == NOW - BACKDATED_S == issued.not_before
    assert found.not_valid_after_utc.timestamp() == NOW + 90 * DAY_S == issued.not_after
    assert issued.fingerprint == found.fingerprint(hashes.SHA256()).hex()
    found.verify_directly_issued_by(read(authority.trusted_pem))


def test_serial_numbers_are_random(authority: Authority) -> None:
    request_pem = csr()
    serials = {read(authority.issue_device(request_pem, "a", NOW).certificate_pem).serial_number for _ in range(20)}
    assert len(serials) == 20
    assert min(serials).bit_length() > 64


@pytest.mark.parametrize(
    "make",
    [
        lambda: ec.generate_private_key(ec.SECP256R1()),
        lambda: ec.generate_private_key(ec.SECP384R1()),
        lambda: rsa.generate_private_key(65537, 2048),
    ],
    ids=["P-256", "P-384", "RSA 2048"],
)
def test_strong_keys_of_kinds_that_tls_takes_are_signed(authority: Authority, make: Callable[[], object]) -> None:
    key = make()
    issued = authority.issue_device(csr(key), "a", NOW)
    assert read(issued.certificate_pem).public_key() == key.public_key()


def forged() -> bytes:
    """A request for a key that its sender does not have."""
    from cryptography.hazmat.primitives.serialization import PublicFormat

    der = x509.load_pem_x509_csr(csr()).public_bytes(Encoding.DER)
    own = (
        x509.load_pem_x509_csr(der_to_pem(der))
        .public_key()
        .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    )
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    return der_to_pem(der.replace(own, other.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)))


def der_to_pem(der: bytes) -> bytes:
    import base64

    body = base64.encodebytes(der)
    return b"-----BEGIN CERTIFICATE REQUEST-----\n" + body + b"-----END CERTIFICATE REQUEST-----\n"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: csr(rsa.generate_private_key(65537, 1024)), "kind that is not taken"),  # noqa: S505 - that is the point
        (lambda: csr(ec.generate_private_key(ec.SECP521R1())), "kind that is not taken"),
        (lambda: csr(ec.generate_private_key(ec.SECP256K1())), "kind that is not taken"),
        (lambda: csr(ed25519.Ed25519PrivateKey.generate()), "kind that is not taken"),
        (forged, "its signature is wrong"),
        (lambda: b"", "not between"),
        (
            lambda: b"-----BEGIN CERTIFICATE REQUEST-----\n!\n-----END CERTIFICATE REQUEST-----",
            "no certificate signing",
        ),
        (lambda: csr()[:200], "no certificate signing"),
        (lambda: csr() + b"x" * 20_000, "not between"),
        (lambda: b"\x00" * 100, "no certificate signing"),
    ],
    ids=["RSA 1024", "P-521", "another curve", "Ed25519", "forged", "nothing", "no base64", "torn", "giant", "zeros"],
)
def test_a_request_that_makes_no_sense_is_refused(authority: Authority, make: Callable[[], bytes], words: str) -> None:
    with pytest.raises(FormatError, match=words):
        authority.issue_device(make(), "a", NOW)


def test_a_server_gets_a_certificate_for_its_names(authority: Authority) -> None:
    issued = authority.issue_server(("fleet.example.org", "192.0.2.7", "::1"), NOW, days=30)
    names = read(issued.certificate_pem).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name.value) for name in names] == ["fleet.example.org", "192.0.2.7", "::1"]
    purposes = read(issued.certificate_pem).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [x509.ExtendedKeyUsageOID.SERVER_AUTH]
    assert b"PRIVATE" not in repr(issued).encode()


@pytest.mark.parametrize("host", ["", "a b", "fleet:7443", "-a", "ä.example", "x" * 254, "../ca", "a..b", "'; drop"])
def test_what_is_no_host_name_is_refused(authority: Authority, tmp_path: Path, host: str) -> None:
    with pytest.raises(UsageError, match="no host name"):
        authority.issue_server((host,), NOW)
    with pytest.raises(UsageError, match="no host name"):
        write_hosts(tmp_path, (host,))
    with pytest.raises(UsageError, match="no host name"):
        server_hosts((host,), EVERYWHERE)


def test_the_folder_is_its_owners_alone_and_opens_again(authority: Authority, tmp_path: Path) -> None:
    folder = tmp_path / "ca"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "ca.key.pem").stat().st_mode) == 0o600
    assert open_authority(folder).trusted_pem == authority.trusted_pem
    assert create_authority(folder, "another name", NOW).trusted_pem == authority.trusted_pem


def test_of_many_servers_that_start_at_once_one_makes_the_authority(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: create_authority(tmp_path / "ca", "a fleet", NOW).trusted_pem, range(8)))
    assert len(set(made)) == 1


def test_an_authority_killed_while_it_is_made_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "ca.key.pem").write_bytes(request.new_key())
    assert create_authority(tmp_path, "a fleet", NOW).name == "a fleet"


def damage_key(folder: Path) -> None:
    (folder / "ca.key.pem").write_bytes(b"not a key")


def another_key(folder: Path) -> None:
    (folder / "ca.key.pem").write_bytes(request.new_key())


def empty_certificate(folder: Path) -> None:
    (folder / "ca.pem").write_bytes(b"")


def lost_key(folder: Path) -> None:
    (folder / "ca.key.pem").unlink()


@pytest.mark.parametrize("damage", [damage_key, another_key, empty_certificate, lost_key])
def test_a_damaged_authority_is_told_in_one_line_without_its_key(
    authority: Authority, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    damage(tmp_path / "ca")
    with pytest.raises(AuthorityError, match="certificate authority in") as caught:
        open_authority(tmp_path / "ca")
    assert "PRIVATE" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_outlasts_the_authority(authority: Authority) -> None:
    late = authority.not_after - DAY_S
    assert authority.issue_device(csr(), "a", late).not_after <= authority.not_after
    with pytest.raises(AuthorityError, match="has expired"):
        authority.issue_device(csr(), "a", authority.not_after)
    with pytest.raises(AuthorityError, match="has expired"):
        authority.issue_server(("localhost",), authority.not_after + DAY_S)


def test_older_authorities_go_on_being_trusted(authority: Authority, tmp_path: Path) -> None:
    """A new authority before the old one: both let devices in, the first one signs."""
    newer = create_authority(tmp_path / "newer", "newer", NOW)
    with (tmp_path / "newer" / "ca.pem").open("ab") as file:
        file.write(authority.trusted_pem)
    again = open_authority(tmp_path / "newer")
    assert again.trusted_pem == newer.trusted_pem + authority.trusted_pem
    signed = read(again.issue_device(csr(), "a", NOW).certificate_pem)
    assert signed.issuer.rfc4514_string() == "CN=newer"


@pytest.mark.parametrize("name", ["", "x" * 65, "a\nb"])
def test_a_name_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="no name for an authority"):
        create_authority(tmp_path / "ca", name, NOW)
    assert not (tmp_path / "ca").exists()


def test_a_server_renews_its_own_certificate_when_two_thirds_are_over(authority: Authority) -> None:
    now = [NOW]
    certificates = IssuedCertificates(authority, ("localhost",), lambda: now[0], days=30)
    first = certificates.current()
    now[0] = NOW + 19 * DAY_S
    assert certificates.current() == first
    now[0] = NOW + 21 * DAY_S
    second = certificates.current()
    assert second.key_pem != first.key_pem
    assert second.not_after == now[0] + 30 * DAY_S
    assert certificates.current() == second


def test_a_brought_certificate_is_read_again_when_it_changes(tmp_path: Path) -> None:
    key, certificate = write_certificate(tmp_path)
    certificates = BroughtCertificates(certificate, key)
    first = certificates.current()
    key.write_bytes(b"half written")
    touch(key, 1)
    assert certificates.current() == first, "what is no pair is passed over"
    write_certificate(tmp_path)
    touch(key, 2)
    assert certificates.current().certificate_pem == certificate.read_bytes() != first.certificate_pem
    certificate.unlink()
    assert certificates.current().certificate_pem != first.certificate_pem


def touch(path: Path, seconds: int) -> None:
    import os

    os.utime(path, ns=(int((time.time() + seconds) * 1e9),) * 2)


def test_names_of_a_server_are_kept_beside_its_authority(tmp_path: Path) -> None:
    assert read_hosts(tmp_path) == ()
    write_hosts(tmp_path, ("fleet.example.org", "192.0.2.7"))
    assert read_hosts(tmp_path) == ("fleet.example.org", "192.0.2.7")
    assert server_hosts(read_hosts(tmp_path), EVERYWHERE)[:2] == ("fleet.example.org", "192.0.2.7")
    assert "10.0.0.1" in server_hosts((), "10.0.0.1")
    for damaged in (b"{", b'{"a": 1}', b"[1]"):
        (tmp_path / "hosts.json").write_bytes(damaged)
        with pytest.raises(StorageError, match=r"hosts\.json"):
            read_hosts(tmp_path)


@pytest.mark.parametrize("content", [None, b"", b"nothing", b"\xff\xfe"])
def test_authorities_of_brought_certificates_are_tried_out(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "clients.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UsageError, match="check --client-ca"):
        read_client_authorities(file)


def test_the_authority_lasts_for_years(authority: Authority) -> None:
    found = read(authority.trusted_pem)
    assert found.not_valid_after_utc - found.not_valid_before_utc > datetime.timedelta(days=3600)
    assert found.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
