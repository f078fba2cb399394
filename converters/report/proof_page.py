"""`proof.html`: what a bundle's models cost, on one page for people. Format page: docs/formats/proof.md."""

from __future__ import annotations

import time

from converters.report import layer_plots, proof_plots
from converters.report.html import (
    command,
    definitions,
    figure,
    figures,
    page,
    paragraph,
    section,
    table,
    text,
    tiles,
)
from converters.report.proof_facts import ProofFacts
from converters.report.proof_tables import (
    disagreements,
    error_table,
    origin_table,
    parity_table,
    recipe_table,
    verdict_table,
)
from converters.report.proof_words import counted, headline_figures, limit_rows, summary
from converters.types import ConversionRecord, Measurements, Proof
from edge.bundle.manifest import BundleManifest


def proof_page(
    manifest: BundleManifest,
    digest: str,
    proof: Proof,
    record: ConversionRecord,
    measurements: Measurements | None,
) -> bytes:
    """The page, UTF-8. The same values give the same bytes.

    Args:
        manifest: Of the bundle.
        digest: Of the bundle, hex.
        proof: What its models cost.
        record: How they came about.
        measurements: What was timed; None where nothing was.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    facts = ProofFacts(manifest=manifest, digest=digest, proof=proof, record=record, measurements=measurements)
    parts = (
        _header(facts),
        _recipe_section(facts),
        _answer_section(facts),
        _layer_section(facts),
        _ground_section(facts),
        _again_section(facts),
        _origin_section(facts),
    )
    made = page(_title(facts), "\n".join(part for part in parts if part))
    return made.encode(errors="replace")  # a lone surrogate in a name has no UTF-8


def _title(facts: ProofFacts) -> str:
    return f"{facts.manifest.name} version {facts.manifest.version}: what conversion cost"


def _header(facts: ProofFacts) -> str:
    measured = facts.measurements
    made = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(measured.created_at)) if measured else ""
    return "\n".join(
        (
            f"<header>\n<h1>{text(_title(facts))}</h1>",
            *(paragraph(line) for line in summary(facts)),
            tiles(headline_figures(facts)),
            definitions(
                ("Bundle", facts.digest),
                ("Preferred", facts.preferred.file if facts.preferred else ""),
                ("Machine", measured.machine if measured else ""),
                ("Converted", made),
            ),
            "</header>",
        )
    )


def _recipe_section(facts: ProofFacts) -> str:
    described = f"{facts.metric} of every recipe with the interval of its loss, and the limits"
    fallbacks = () if facts.record.trials else facts.manifest.proof.fallbacks
    return section(
        "Every recipe that was tried",
        figures(
            figure(proof_plots.score_plot(facts), described, "In bold: the model that devices take."),
            figure(proof_plots.size_plot(facts), "Size of each model file"),
            figure(proof_plots.latency_plot(facts), "Time of one run of each model"),
        ),
        recipe_table(facts),
        verdict_table(facts),
        "" if facts.measurements else paragraph("No times are known for this bundle.", soft=True),
        *(paragraph(f"Tried before and failed: {line}", soft=True) for line in fallbacks),
    )


def _answer_section(facts: ProofFacts) -> str:
    """Where the float model and the preferred one disagree."""
    one = facts.preferred
    if one is None or not one.answers:
        return ""
    asked = sum(pair.num for pair in one.answers)
    apart = sum(pair.num for pair in one.answers if pair.before != pair.after)
    plot = proof_plots.confusion_plot(one.answers, facts.manifest.labels)
    return section(
        "Where the answers differ",
        paragraph(f"{one.file} gives another answer than the float model on {counted(apart, 'picture')} of {asked:,}."),
        figures(
            figure(plot, "Answers of the float model against those of the quantized one"),
            disagreements(one.answers),
        ),
    )


def _layer_section(facts: ProofFacts) -> str:
    record = facts.record
    if not record.layers and not record.sensitivity:
        return ""
    return section(
        "Layer by layer",
        figures(figure(layer_plots.course_plot(record.layers), "Signal to noise from the first layer to the last")),
        figures(
            figure(
                layer_plots.layer_plot(record.layers),
                "Signal to noise of each layer's output",
                _layer_caption(len(record.layers)),
            ),
            figure(
                layer_plots.sensitivity_plot(record.sensitivity, record.float_layers),
                "Signal to noise of the outputs when one layer alone is quantized",
                _sensitivity_caption(record),
            ),
        ),
    )


def _layer_caption(num: int) -> str:
    which = f"The {layer_plots.MAX_LAYERS} noisiest of {num} layers" if num > layer_plots.MAX_LAYERS else "Every layer"
    return f"{which}, in the order of execution: the noise of the layer and of all before it."


def _sensitivity_caption(record: ConversionRecord) -> str:
    num, most = len(record.sensitivity), layer_plots.MAX_LAYERS
    which = f"the {most} most harmful of {num}" if num > most else "the most harmful first"
    kept = " Orange: left float." if record.float_layers else ""
    return f"What the outputs lose if that layer alone is quantized, {which}.{kept}"


def _ground_section(facts: ProofFacts) -> str:
    """What the proof rests on."""
    proof = facts.proof
    reference = f"held against {facts.reference_file or 'the trained network'}, which is float"
    score = f" and gets {proof.score.text()} of {facts.metric}" if proof.score else ""
    return section(
        "What this rests on",
        paragraph(
            f"Activation ranges were taken from {counted(len(proof.calibration_digests), 'calibration picture')}. "
            f"{counted(len(proof.validation_digests), 'validation picture')}, which neither training nor calibration "
            f"saw, decided. Everything was run as a device runs it, and {reference}{score}."
        ),
        table(("limit", ""), limit_rows(proof.limits), texts=True),
        parity_table(facts.record.parity),
        error_table(proof.artifacts),
    )


def _again_section(facts: ProofFacts) -> str:
    snapshot = facts.manifest.provenance.snapshot or "SNAPSHOT"
    return section(
        "Make it again",
        paragraph(
            "proof.json holds no time and follows from the bundle and the pictures alone. "
            "This runs every model of the bundle once more and compares what comes out with what is written there:"
        ),
        command(f"edgeloop bundle reprove BUNDLE --snapshot {snapshot} --blobs BLOBS"),
    )


def _origin_section(facts: ProofFacts) -> str:
    return section("Where it comes from", origin_table(facts), _tool_table(facts.record), _step_table(facts))


def _tool_table(record: ConversionRecord) -> str:
    return table(("library", "version"), record.tools, texts=True) if record.tools else ""


def _step_table(facts: ProofFacts) -> str:
    measured = facts.measurements
    if measured is None or not measured.steps:
        return ""
    rows = [(one.step, f"{one.seconds:.1f}") for one in measured.steps]
    total = ("all", f"{sum(one.seconds for one in measured.steps):.1f}")
    peak = f"Greatest memory of the conversion: {measured.peak_memory_mb:,.0f} MB." if measured.peak_memory_mb else ""
    return table(("step", "seconds"), [*rows, total]) + (paragraph(peak, soft=True) if peak else "")
