"""A bundle in a dozen lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from converters.foreign.imported_proof import read_proof
from converters.records import read_measurements, read_record, read_trained_proof
from converters.types import ArtifactProof, Measurements, Proof
from edge.bundle.manifest import ArtifactSpec, BundleManifest, Origin, Verdict
from edge.bundle.reader import Bundle

SHOWN_LABELS = 20


def describe(bundle: Bundle) -> list[str]:
    """What it is, what its models cost, and where it comes from.

    Args:
        bundle: An open bundle; its proof and measurements are read.

    Raises:
        BundleError: A file of it cannot be read any more.
        FormatError: Proof or measurements do not follow docs/formats/proof.md.
    """
    manifest = bundle.manifest
    more = ", …" if len(manifest.labels) > SHOWN_LABELS else ""
    imported = manifest.origin is Origin.IMPORTED
    return [
        f"{manifest.name} version {manifest.version}",
        f"digest     {bundle.digest}",
        f"labels     {len(manifest.labels)}: {', '.join(manifest.labels[:SHOWN_LABELS])}{more}",
        *_model_lines(bundle),
        *(_imported_lines(bundle) if imported else _trained_lines(manifest)),
    ]


def trial_lines(bundle: Bundle) -> list[str]:
    """A table of every recipe that was tried: what it costs, how long it takes on the machine that converted it.

    Args:
        bundle: An open bundle; its conversion record and measurements are read.
    """
    record, measurements = read_record(bundle), read_measurements(bundle)
    head = ("recipe", "MB", "score", "drop (95 %)", "agree %", "worst dB", "cosine", "ms", "verdict")
    times = {one.recipe: f"{one.p50_ms:.2f}" for one in (measurements.latencies if measurements else ())}
    rows = [head, *(_trial_row(one, times) for one in (record.trials if record else ()))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _trial_row(one: ArtifactProof, times: Mapping[str, str]) -> tuple[str, ...]:
    worst = min(one.errors, key=lambda error: error.sqnr_db, default=None)
    return (
        one.recipe,
        f"{one.size_bytes / 1e6:.2f}",
        f"{one.accuracy:.1f}",
        f"{one.drop_points:+.2f} ({one.drop_lower_points:+.2f} to {one.drop_upper_points:+.2f})",
        f"{100 * one.agreement:.1f}",
        f"{worst.sqnr_db:.1f} {worst.output}" if worst else "-",
        f"{min(error.cosine for error in one.errors):.4f}" if worst else "-",
        times.get(one.recipe, "-"),
        f"{one.verdict.value}: {one.reason}" if one.verdict is Verdict.FAIL else one.verdict.value,
    )


def _model_lines(bundle: Bundle) -> Iterator[str]:
    proof, measurements = read_trained_proof(bundle), read_measurements(bundle)
    sizes = {entry.name: entry.size_bytes for entry in bundle.manifest.files}
    for stage in bundle.manifest.stages:
        spec = stage.preprocess
        yield f"stage      {stage.name}, {stage.task.value}, {spec.width}x{spec.height}, {spec.crop.value}"
        for one in stage.artifacts:
            told = (*_cost(one, proof), *_time(one, measurements))
            yield f"model      {', '.join((one.file, one.recipe, f'{sizes[one.file] / 1e6:.2f} MB', *told))}"
    if proof:
        yield f"metric     {proof.metric}"
        yield from _reference_lines(proof)


def _cost(one: ArtifactSpec, proof: Proof | None) -> Iterator[str]:
    """What the proof says about a model."""
    if proof and proof.reference == one.file:
        yield "the reference"
    for proven in proof.artifacts if proof else ():
        if proven.file == one.file:
            yield _drop(proven)
            yield f"agreement {100 * proven.agreement:.1f} %"


def _drop(proven: ArtifactProof) -> str:
    interval = f"{proven.drop_lower_points:.2f} to {proven.drop_upper_points:.2f}"
    return f"drop {proven.drop_points:.2f} ({interval})"


def _time(one: ArtifactSpec, measurements: Measurements | None) -> Iterator[str]:
    for timed in measurements.latencies if measurements else ():
        if timed.file == one.file and timed.recipe in ("", one.recipe):
            yield f"{timed.p50_ms:.2f} ms"
            return


def _reference_lines(proof: Proof) -> Iterator[str]:
    if proof.reference:
        score = f", {proof.score.text()}" if proof.score else ""
        yield f"reference  {proof.reference}{score}"


def _trained_lines(manifest: BundleManifest) -> Iterator[str]:
    proof, source = manifest.proof, manifest.provenance
    upper = f"(up to {proof.drop_upper_points:.2f})"
    yield f"proof      {proof.verdict.value}, drop {proof.drop_points:.2f} points {upper}"
    yield from (f"fallback   {fallback}" for fallback in proof.fallbacks)
    yield f"trained    run {source.run[:12]}, snapshot {source.snapshot[:12]}, recipe {source.train_recipe}"


def _imported_lines(bundle: Bundle) -> Iterator[str]:
    """The verdict with its reason, which for an imported bundle may be a score without a drop."""
    proof, verdict = read_proof(bundle), bundle.manifest.proof.verdict.value
    yield f"proof      {f'{verdict}, {proof.reason}' if proof else verdict}"
    yield "trained    elsewhere (imported)"
