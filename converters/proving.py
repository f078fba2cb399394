"""Judges an imported bundle on pictures whose answers are known: `edgeloop bundle prove`.

The model runs through the pipeline of the device. Golden vectors are chosen from the same pictures and recorded, and
the bundle is written anew with the verdict in its manifest; where it fails, it stays as it was.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from converters.bundle_writer import file_entries, publish_bundle, stage_bundle, working_folder
from converters.foreign.fared import Fared, run_bundle
from converters.foreign.imported_proof import PROOF_KIND, ImportedProof, ReferenceProof
from converters.foreign.job import ImportJob
from converters.foreign.recording import record_golden, spread
from converters.foreign.told import Told
from converters.foreign.truth import KnownPicture, read_boxes, read_classes
from converters.foreign.verdict import judge_imported
from converters.golden import GOLDEN_FILE, Recorder
from converters.importing import TASKS, import_model
from converters.proof import PROOF_FILE
from edge import jsonvalue
from edge.backends.select import open_backend
from edge.bundle.archive import unpack
from edge.bundle.manifest import InputType, Origin, ProofSummary, QualityLimits, Task, Verdict
from edge.bundle.reader import Bundle, open_bundle
from edge.errors import BundleError, UsageError
from edge.postprocess.select import load_stage_files
from edge.update.selftest import self_test


@dataclass(frozen=True, slots=True, kw_only=True)
class ProveJob:
    """What is to be judged, and by what.

    Attributes:
        bundle: Folder of an imported bundle.
        data: Pictures whose answers are known.
        out: Where the proven bundle goes; may be `bundle`.
        min_points: Least accuracy, or mean average precision, in points; None where only the drop counts.
        reference: A float model of the same network, or a bundle with one; None for none.
        limits: What the model may lose against the reference, and how large it may be.
    """

    bundle: Path
    data: Path
    out: Path
    min_points: float | None = None
    reference: Path | None = None
    limits: QualityLimits = field(default_factory=QualityLimits)


def prove_bundle(job: ProveJob, *, tick: Callable[[], None] = lambda: None) -> tuple[Bundle, ImportedProof]:
    """Judges an imported bundle and writes it with its proof.

    Args:
        job: What is to be judged.
        tick: Called after each picture, and again for the reference's.

    Raises:
        UsageError: Not an imported bundle of one classifier or detector, no measure to judge by, or bad data.
        BundleError: It was judged and failed, or its golden vectors do not repeat; nothing was written.
        ImageError: A picture cannot be used; names the file.
        StorageError: The disk is full or failing.
    """
    if job.min_points is None and job.reference is None:
        raise UsageError("what is good enough?", hint="give --min-accuracy POINTS, or --reference with the float model")
    opened = open_bundle(job.bundle)
    _require_imported(opened)
    labels = opened.manifest.labels
    read = read_boxes if opened.manifest.task is Task.DETECT else read_classes
    pictures = read(job.data, labels)
    fared = run_bundle(opened, pictures, tick=tick)
    reference = None
    if job.reference is not None:
        with _reference(job.reference, opened) as other:
            reference = _compared(fared, run_bundle(other, pictures, tick=tick), other)
    proof = _proof(job, opened, pictures, fared, reference)
    if proof.verdict is Verdict.FAIL:
        raise BundleError(f"{job.bundle}: not proven: {proof.reason}", hint="the bundle stays as it was")
    return _write(job, opened, pictures, proof), proof


def _require_imported(opened: Bundle) -> None:
    manifest = opened.manifest
    if manifest.origin is not Origin.IMPORTED:
        raise UsageError(f"{opened.folder}: its proof was made when it was converted", hint="convert it again instead")
    if manifest.task not in TASKS:
        raise UsageError(f"{opened.folder}: a bundle with task {manifest.task.value!r} cannot be judged")
    if len(manifest.stages) != 1 or len(manifest.stages[0].artifacts) != 1:
        raise UsageError(f"{opened.folder}: only a bundle of one model can be judged")


@contextmanager
def _reference(path: Path, opened: Bundle) -> Iterator[Bundle]:
    """The bundle at `path`; or the model there, imported for as long as it is needed."""
    with tempfile.TemporaryDirectory(prefix="edgeloop-") as scratch:
        if path.is_dir():
            reference = open_bundle(path)
        elif path.suffix == ".edgebundle":
            reference = unpack(path, Path(scratch) / "reference")
        else:
            reference = _imported(path, opened, Path(scratch))
        if reference.manifest.labels != opened.manifest.labels or reference.manifest.task is not opened.manifest.task:
            raise UsageError(f"--reference {path}: it has another task or other labels")
        yield reference


def _imported(path: Path, opened: Bundle, scratch: Path) -> Bundle:
    """A float model of the same network: what its file does not tell is as in the bundle."""
    labels = scratch / "labels.txt"
    labels.write_text("\n".join(opened.manifest.labels), encoding="utf-8")
    spec, detect = opened.manifest.stages[0].preprocess, opened.manifest.stages[0].detect
    same_input = spec.dtype is InputType.FLOAT32
    told = Told(
        channels=spec.channels,
        mean=spec.mean if same_input else (),
        std=spec.std if same_input else (),
        crop=spec.crop,
        fill=spec.fill,
        score_threshold=detect.score_threshold if detect else None,
        iou_threshold=detect.iou_threshold if detect else None,
        first_class=detect.first_class if detect else None,
    )
    job = ImportJob(model=path, out=scratch / "reference", task=opened.manifest.task, labels=labels, told=told)
    try:
        return import_model(job).bundle
    except UsageError as cause:
        hint = "wrap it with `edgeloop bundle import`, where everything can be told, and give that bundle"
        raise UsageError(f"--reference {cause.message}", hint=hint) from cause


def _compared(fared: Fared, reference: Fared, other: Bundle) -> ReferenceProof:
    return ReferenceProof(
        model=other.manifest.stages[0].artifacts[0].file,
        score=reference.score(),
        drop=fared.drop_from(reference),
        agreement=fared.agreement(reference),
    )


def _proof(
    job: ProveJob, opened: Bundle, pictures: Sequence[KnownPicture], fared: Fared, reference: ReferenceProof | None
) -> ImportedProof:
    file = opened.manifest.stages[0].artifacts[0].file
    size_bytes = opened.path(file).stat().st_size
    score = fared.score()
    drop = reference.drop if reference else None
    verdict, reason = judge_imported(score, drop, min_points=job.min_points, size_bytes=size_bytes, limits=job.limits)
    return ImportedProof(
        kind=PROOF_KIND,
        metric=fared.metric,
        min_points=-1.0 if job.min_points is None else job.min_points,
        limits=job.limits,
        validation_digests=tuple(picture.digest for picture in pictures),
        file=file,
        size_bytes=size_bytes,
        num_pictures=len(pictures),
        score=score,
        reference=reference,
        verdict=verdict,
        reason=reason,
    )


def _write(job: ProveJob, opened: Bundle, pictures: Sequence[KnownPicture], proof: ImportedProof) -> Bundle:
    """The same bundle with new golden vectors, the proof file and the verdict."""
    old = opened.manifest
    kept = {name for name in (old.golden_file, old.proof.file) if name} | {
        entry.name for entry in old.files if entry.name.startswith("golden-")
    }
    files = {entry.name: opened.read(entry.name) for entry in old.files if entry.name not in kept}
    files |= {PROOF_FILE: jsonvalue.canonical_bytes(proof), **_golden_files(opened, pictures)}
    manifest = replace(
        old,
        limits=job.limits,
        proof=_summary(proof),
        golden_file=GOLDEN_FILE,
        files=file_entries(files),
    )
    with working_folder(job.out) as work:
        staged = stage_bundle(manifest, files, work=work)
        self_test(staged)
        return publish_bundle(staged, job.out, work=work)


def _golden_files(opened: Bundle, pictures: Sequence[KnownPicture]) -> dict[str, bytes]:
    stage = opened.manifest.stages[0]
    recorder = Recorder(
        stage=stage,
        labels=opened.manifest.labels_of(stage),
        policy=opened.manifest.decision,
        files=load_stage_files(stage, opened.read),
    )
    artifact = stage.artifacts[0]
    backend = open_backend(opened.path(artifact.file), artifact.format)
    try:
        draft = record_golden(recorder, backend, spread([picture.path for picture in pictures]))
    finally:
        backend.close()
    return {GOLDEN_FILE: jsonvalue.canonical_bytes(draft.index), **draft.pictures}


def _summary(proof: ImportedProof) -> ProofSummary:
    """Without a reference no drop is known: the manifest then says 0."""
    drop = proof.reference.drop if proof.reference else None
    return ProofSummary(
        verdict=proof.verdict,
        file=PROOF_FILE,
        drop_points=drop.value if drop else 0.0,
        drop_upper_points=drop.upper if drop else 0.0,
    )
