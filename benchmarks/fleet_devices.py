"""Devices of a fleet for benchmarks: their keys and certificates, let in without a code."""

from __future__ import annotations

import time
from pathlib import Path

from cloud_train.fleet.authority import create_authority, open_authority
from cloud_train.fleet.members import By, register
from cloud_train.store.members import SqlFleetStore
from cloud_train.store.opened import open_store

AUTHORITY, KEY = "authority.pem", "key.pem"


def let_in(store: Path, folder: Path, *device_ids: str) -> None:
    """Makes one key for all, and a certificate for each in `<folder>/<device>.pem`; the authority's beside them.

    Args:
        store: The store folder.
        folder: Gets `authority.pem`, `key.pem` and the certificates.
        device_ids: Names.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder.mkdir(parents=True, exist_ok=True)
    now, opened = time.time(), open_store(store)
    authority = create_authority(opened.layout.authority, "edgeloop fleet", now)
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    plain = serialization.NoEncryption()
    kinds = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / KEY).write_bytes(key.private_bytes(*kinds, plain))
    (folder / AUTHORITY).write_bytes(authority.trusted_pem)
    csr = request.public_bytes(serialization.Encoding.PEM)
    with opened:
        fleet = SqlFleetStore(opened.database)
        for device_id in device_ids:
            issued = authority.issue_device(csr, device_id, now)
            (folder / f"{device_id}.pem").write_bytes(issued.certificate_pem)
            by = By(who="person:bench", now=now)
            register(fleet, by, device_id, certificate_pem=issued.certificate_pem, labels={})


def server_files(store: Path, folder: Path) -> tuple[Path, Path]:
    """Key and certificate of a server on this machine, of the same authority: (key file, certificate file)."""
    issued = open_authority(open_store(store).layout.authority).issue_server(("localhost", "127.0.0.1"), time.time())
    key, certificate = folder / "server-key.pem", folder / "server.pem"
    key.write_bytes(issued.key_pem)
    certificate.write_bytes(issued.certificate_pem)
    return key, certificate
