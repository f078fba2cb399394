"""Writes bundles: staged, reopened, self-tested, then renamed into place. There is none without a proof."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from converters.golden import GOLDEN_FILE, GoldenDraft
from converters.proof import PROOF_FILE, summarise
from converters.records import CONVERSION_FILE, PAGE_FILE
from converters.report.bundle_page import write_page
from converters.types import Artifact, ArtifactProof, ConversionRecord, Measurements, Proof
from edge import durable, jsonvalue
from edge.bundle.check import check_manifest
from edge.bundle.manifest import (
    FORMAT_VERSION,
    MANIFEST_NAME,
    MEASUREMENTS_NAME,
    BundleManifest,
    CapturePolicy,
    DecisionPolicy,
    FileEntry,
    KeepPolicy,
    Origin,
    Provenance,
    StageSpec,
    Verdict,
)
from edge.bundle.reader import Bundle, open_bundle
from edge.errors import BundleError, EdgeloopError, UsageError
from edge.update.selftest import self_test


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleDraft:
    """All that goes into a bundle.

    Attributes:
        name: Name of the bundle.
        version: Version of the bundle, from 1.
        labels: Class names in the order of the outputs.
        stage: The network with its artifacts, preferred one first.
        artifacts: The files of the stage's artifacts.
        files: What the postprocessing reads: gallery, lexicon.
        decision: When the device may trust an answer.
        keep: What the device keeps.
        proof: What quantization cost; its first artifact is the stage's first.
        record: How the models came about.
        rejected: What was tried before the preferred model and failed.
        provenance: Where the network comes from.
        golden: What a device checks itself with.
        measurements: Times, outside the digest.
        capture: Which frames of a source the device answers.
    """

    name: str
    version: int
    labels: tuple[str, ...]
    stage: StageSpec
    artifacts: tuple[Artifact, ...]
    files: Mapping[str, bytes]
    decision: DecisionPolicy
    keep: KeepPolicy
    proof: Proof
    record: ConversionRecord
    rejected: tuple[ArtifactProof, ...]
    provenance: Provenance
    golden: GoldenDraft
    measurements: Measurements
    capture: CapturePolicy = field(default_factory=CapturePolicy)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Finished:
    """Which job made the bundle that stands beside this note.

    Attributes:
        job: Digest of the job.
        bundle: Digest of the bundle.
    """

    job: str
    bundle: str


@contextmanager
def working_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` that is gone afterwards, as is one that a killed run has left.

    Raises:
        UsageError: Something that is no bundle stands at `out`.
        StorageError: The place cannot be written to.
    """
    if out.exists() and not (out / MANIFEST_NAME).is_file() and not _is_empty_folder(out):
        raise UsageError(f"{out} is in the way: it is not a bundle", hint="name another folder")
    remove_leftovers(out)
    folder = _working(out)
    durable.make_folder(folder)
    try:
        yield folder
    finally:
        remove_leftovers(out)


def remove_leftovers(out: Path) -> None:
    """Removes the working folder that a killed run may have left beside `out`."""
    shutil.rmtree(_working(out), ignore_errors=True)


def write_bundle(draft: BundleDraft, out: Path, *, work: Path, job: str = "") -> Bundle:
    """Writes a bundle, checks it as a device would, and only then lets it appear at `out`.

    Args:
        draft: What goes into it.
        out: The bundle folder; a bundle that stands there is replaced.
        work: Folder beside `out` from `working_folder`.
        job: Digest of the job, so that `finished_bundle` knows it again; empty to leave no note.

    Returns:
        The bundle where it now stands.

    Raises:
        BundleError: The proof failed or is of other files, or the written bundle does not pass its own checks.
        StorageError: The disk is full or failing; what stood at `out` still stands.
    """
    _require_proof(draft)
    files = bundle_files(draft)
    staged = stage_bundle(_manifest(draft, files), files, work=work, measurements=draft.measurements)
    self_test(staged)
    write_page(staged, staged.folder / PAGE_FILE)
    if job:
        note = _Finished(job=job, bundle=staged.digest)
        durable.write_bytes(_note(out), jsonvalue.canonical_bytes(note), point="bundle.note")
    return publish_bundle(staged, out, work=work)


def stage_bundle(
    manifest: BundleManifest, files: Mapping[str, bytes], *, work: Path, measurements: Measurements | None = None
) -> Bundle:
    """Writes a bundle where nobody looks yet, and opens it with every check that a device makes.

    Args:
        manifest: Lists `files`.
        files: Every file but the manifest and the measurements, by name.
        work: Folder from `working_folder`.
        measurements: Times, outside the digest; None to leave them away.

    Raises:
        FormatError: The manifest contradicts itself; names the field.
        BundleError: The files are not those of the manifest.
        StorageError: The disk is full or failing.
    """
    check_manifest(manifest)
    staging = work / "bundle"
    durable.make_folder(staging)
    for name, data in files.items():
        durable.write_bytes(staging / name, data, point="bundle.file")
    if measurements is not None:
        durable.write_bytes(staging / MEASUREMENTS_NAME, jsonvalue.pretty_bytes(measurements), point="bundle.file")
    durable.write_bytes(staging / MANIFEST_NAME, jsonvalue.canonical_bytes(manifest), point="bundle.manifest")
    return open_bundle(staging)


def publish_bundle(staged: Bundle, out: Path, *, work: Path) -> Bundle:
    """Lets a staged bundle appear at `out`; one that stands there is replaced.

    Raises:
        StorageError: The rename failed.
    """
    _make_way(out, work)
    durable.publish_folder(staged.folder, out, point="bundle.publish")
    return Bundle(folder=out, manifest=staged.manifest, digest=staged.digest)


def file_entries(files: Mapping[str, bytes]) -> tuple[FileEntry, ...]:
    """What the manifest says of each file, sorted by name."""
    return tuple(
        FileEntry(name=name, sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
        for name, data in sorted(files.items())
    )


def finished_bundle(out: Path, job: str) -> Bundle | None:
    """The bundle at `out`, if it is whole and was made by this very job; else None."""
    try:
        note = jsonvalue.load(_Finished, _note(out).read_bytes(), where=str(_note(out)))
        bundle = open_bundle(out)
    except (OSError, EdgeloopError):
        return None
    return bundle if (note.job, note.bundle) == (job, bundle.digest) else None


def bundle_files(draft: BundleDraft) -> dict[str, bytes]:
    """Every file of the bundle but the manifest and the measurements, by name.

    Raises:
        BundleError: A model file is not the one that was proven.
    """
    files = {
        **draft.files,
        PROOF_FILE: jsonvalue.canonical_bytes(draft.proof),
        CONVERSION_FILE: jsonvalue.canonical_bytes(draft.record),
        GOLDEN_FILE: jsonvalue.canonical_bytes(draft.golden.index),
        **draft.golden.pictures,
    }
    for artifact in draft.artifacts:
        data = artifact.path.read_bytes()
        if hashlib.sha256(data).hexdigest() != artifact.sha256:
            raise BundleError(f"{artifact.path.name} has changed since it was proven", hint="convert again")
        files[artifact.path.name] = data
    return dict(sorted(files.items()))


def _require_proof(draft: BundleDraft) -> None:
    """Every model is the float reference or was held against it, and the preferred one is the proof's first."""
    proven = [proof.file for proof in draft.proof.artifacts]
    models = [spec.file for spec in draft.stage.artifacts]
    if sorted({*proven, draft.proof.reference}) != sorted(models) or proven[:1] != models[:1]:
        raise BundleError(f"the proof is of {', '.join(proven) or 'nothing'}, not of the bundle's models")
    if all(parity.format.value != Path(draft.proof.reference).suffix[1:] for parity in draft.record.parity):
        raise BundleError(f"{draft.proof.reference} was not compared with the trained network", hint="convert again")
    for proof in draft.proof.artifacts:
        if proof.verdict not in (Verdict.PASS, Verdict.UNDECIDED):
            raise BundleError(f"{proof.file} was not proven: {proof.reason}", hint="a bundle needs a proof that holds")


def _manifest(draft: BundleDraft, files: dict[str, bytes]) -> BundleManifest:
    return BundleManifest(
        format_version=FORMAT_VERSION,
        name=draft.name,
        version=draft.version,
        task=draft.stage.task,
        origin=Origin.TRAINED,
        labels=draft.labels,
        stages=(draft.stage,),
        decision=draft.decision,
        keep=draft.keep,
        limits=draft.proof.limits,
        proof=summarise(draft.proof, draft.rejected),
        provenance=draft.provenance,
        golden_file=GOLDEN_FILE,
        files=file_entries(files),
        capture=draft.capture,
    )


def _make_way(out: Path, work: Path) -> None:
    if not out.exists():
        return
    try:
        out.rename(work / "replaced")
    except OSError as cause:
        raise durable.storage_error(out, cause) from cause


def _working(out: Path) -> Path:
    return out.parent / f".{out.name}.converting"


def _note(out: Path) -> Path:
    return out.parent / f".{out.name}.job.json"


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())
