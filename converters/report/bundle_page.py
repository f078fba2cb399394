"""The proof page of a bundle on disk."""

from __future__ import annotations

from pathlib import Path

from converters.records import read_measurements, read_record, read_trained_proof
from converters.report.proof_page import proof_page
from converters.types import ConversionRecord
from edge import durable
from edge.bundle.reader import Bundle
from edge.errors import BundleError


def bundle_page(bundle: Bundle) -> bytes:
    """The page, made from what the bundle says; bundles of before the conversion record get a shorter one.

    Args:
        bundle: An open bundle.

    Raises:
        BundleError: It has no proof of a conversion.
        FormatError: One of its records does not follow docs/formats/proof.md.
        MissingExtraError: matplotlib is not installed.
    """
    proof = read_trained_proof(bundle)
    if proof is None:
        raise BundleError(f"{bundle.folder}: the bundle has no proof of a conversion, so there is no page to write")
    record = read_record(bundle) or ConversionRecord(parity=(), trials=(), chosen=())
    return proof_page(bundle.manifest, bundle.digest, proof, record, read_measurements(bundle))


def write_page(bundle: Bundle, target: Path) -> None:
    """Writes the page, whole or not at all.

    Args:
        bundle: An open bundle.
        target: The HTML file; its folder is created when missing.

    Raises:
        BundleError: The bundle has no proof of a conversion.
        FormatError: One of its records does not follow docs/formats/proof.md.
        MissingExtraError: matplotlib is not installed.
        StorageError: The file cannot be written; an older one stands.
    """
    made = bundle_page(bundle)
    durable.make_folder(target.parent)
    durable.write_bytes(target, made, point="bundle.page")
