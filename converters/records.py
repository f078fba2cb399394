"""Reading what a bundle says about its conversion. Format page: docs/formats/proof.md."""

from __future__ import annotations

from converters.types import ConversionRecord, Measurements, Proof
from edge import jsonvalue
from edge.bundle.manifest import MEASUREMENTS_NAME
from edge.bundle.reader import Bundle
from edge.errors import BundleError

CONVERSION_FILE = "conversion.json"
PAGE_FILE = "proof.html"


def read_trained_proof(bundle: Bundle) -> Proof | None:
    """The proof of a bundle whose model was trained here; None where it has none, or that of an imported model.

    Raises:
        BundleError: The file cannot be read any more.
        FormatError: It does not follow docs/formats/proof.md.
    """
    name = bundle.manifest.proof.file
    if not name:
        return None
    where = str(bundle.folder / name)
    value = jsonvalue.parse(bundle.read(name), where=where)
    if isinstance(value, dict) and "kind" in value:
        return None
    return jsonvalue.from_json(Proof, value, where=where)


def read_record(bundle: Bundle) -> ConversionRecord | None:
    """How a bundle's models came about; None where it does not tell.

    Raises:
        BundleError: The file cannot be read any more.
        FormatError: It does not follow docs/formats/proof.md.
    """
    if all(entry.name != CONVERSION_FILE for entry in bundle.manifest.files):
        return None
    where = str(bundle.folder / CONVERSION_FILE)
    return jsonvalue.load(ConversionRecord, bundle.read(CONVERSION_FILE), where=where)


def read_measurements(bundle: Bundle) -> Measurements | None:
    """What was timed at conversion; None where that did not come along with the bundle.

    Raises:
        BundleError: The file cannot be read.
        FormatError: It does not follow docs/formats/proof.md.
    """
    path = bundle.folder / MEASUREMENTS_NAME
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as cause:
        raise BundleError(f"{path}: cannot be read: {(cause.strerror or str(cause)).lower()}") from cause
    return jsonvalue.load(Measurements, data, where=str(path))
