"""The proof of an imported bundle, a file of it. Format page: docs/formats/proof.md."""

from __future__ import annotations

from dataclasses import dataclass

from converters.types import Estimate
from edge import jsonvalue
from edge.bundle.manifest import QualityLimits, Verdict
from edge.bundle.reader import Bundle
from edge.errors import FormatError

PROOF_KIND = "imported"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceProof:
    """How the reference fared on the same pictures.

    Attributes:
        model: File name of its model.
        score: In points.
        drop: What the imported model loses against it.
        agreement: Share of pictures with the same best class, in [0, 1]; 0 for detectors.
    """

    model: str
    score: Estimate
    drop: Estimate
    agreement: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedProof:
    """The proof of an imported bundle; like every proof it holds no time.

    Attributes:
        kind: `imported`, which other proofs do not have.
        metric: `top1`, or `ap50` for a detector.
        min_points: Least score that was asked, -1 for none.
        limits: What was allowed.
        validation_digests: SHA-256 of the pictures, in order.
        file: Name of the model in the bundle.
        size_bytes: Its size.
        num_pictures: How many were run.
        score: In points, with its interval.
        reference: How the float model fared; None without one.
        verdict: By the rule of docs/formats/proof.md.
        reason: One line.
    """

    kind: str
    metric: str
    min_points: float
    limits: QualityLimits
    validation_digests: tuple[str, ...]
    file: str
    size_bytes: int
    num_pictures: int
    score: Estimate
    reference: ReferenceProof | None
    verdict: Verdict
    reason: str


def read_proof(bundle: Bundle) -> ImportedProof | None:
    """The proof that an imported bundle carries; None where it has none, or one of another kind.

    Raises:
        BundleError: The file cannot be read any more.
    """
    name = bundle.manifest.proof.file
    if not name:
        return None
    try:
        proof = jsonvalue.load(ImportedProof, bundle.read(name), where=str(bundle.folder / name))
    except FormatError:
        return None
    return proof if proof.kind == PROOF_KIND else None
