"""The end of one turn of the loop: a self-contained HTML page and a table for the terminal."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Iterator
from pathlib import Path

from cloud_train.evaluation import plots
from cloud_train.evaluation.story import (
    KeptSample,
    LoopStory,
    Opinion,
    StepTime,
    StreamFacts,
    VersionFacts,
)
from cloud_train.evaluation.terminal import terminal_table
from cloud_train.evaluation.wording import accuracy_rows, control_verdict, gain_text, percent, summary
from cloud_train.types import Interval
from converters.report.html import (
    data_uri,
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
from edge.bundle.manifest import CropPolicy, PreprocessSpec, Verdict
from edge.durable import make_folder, write_bytes
from edge.errors import ImageError

__all__ = [
    "KeptSample",
    "LoopStory",
    "Opinion",
    "StepTime",
    "StreamFacts",
    "VersionFacts",
    "report_html",
    "terminal_table",
    "write_report",
]

MAX_KEPT = 24
_REASON = re.compile(r"(.+?): (ok|failed): (.*)", re.DOTALL)
_THUMBNAIL = PreprocessSpec(width=200, height=200, crop=CropPolicy.LETTERBOX, fill=255)


def write_report(story: LoopStory, path: Path) -> None:
    """Writes the report, one file that needs nothing else.

    Args:
        story: What happened.
        path: The HTML file; its folder is created when missing.

    Raises:
        StorageError: The file cannot be written; an older one stands.
    """
    make_folder(path.parent)
    write_bytes(path, report_html(story).encode(), point="report")


def report_html(story: LoopStory) -> str:
    """The page. The same story gives the same text."""
    parts = (
        _header(story),
        _accuracy_section(story),
        _class_section(story),
        _stream_section(story),
        _conversion_section(story),
        _gallery_section(story),
        _gate_section(story),
        _origin_section(story),
    )
    return page(story.title, "\n".join(part for part in parts if part))


def _header(story: LoopStory) -> str:
    stream = story.stream
    made = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(story.created_at))
    shown = (
        ("points gained, v2 over v1", f"{story.gain.value:+.1f}".replace("-", "\N{MINUS SIGN}")),
        ("of the frames were kept", percent(stream.kept, stream.judged)),
        ("of the bytes were uploaded", percent(stream.bytes_uploaded, stream.bytes_seen)),
        ("labels were given", f"{story.num_labels:,}"),
        ("frames dropped at the swap", f"{stream.dropped:,}"),
    )
    return "\n".join(
        (
            f"<header>\n<h1>{text(story.title)}</h1>",
            paragraph(summary(story)),
            tiles(shown),
            f'<p class="soft"><code>{text(story.command)}</code></p>',
            definitions(
                ("Pictures", story.data), ("Labels", story.answers), ("Machine", story.hardware), ("Written", made)
            ),
            "</header>",
        )
    )


def _accuracy_section(story: LoopStory) -> str:
    names = ", ".join(story.unknown_classes) or "none"
    return section(
        "Accuracy",
        paragraph(control_verdict(story)),
        figures(
            figure(plots.accuracy_plot(story), "Accuracy of each version with its 95 % interval and two baselines"),
            figure(plots.gain_plot(story), "Gain of v2 over v1 and over the random control, with 95 % intervals"),
        ),
        table(("", *(name for name, _ in story.versions)), accuracy_rows(story)),
        paragraph(f"Classes that version 1 did not know: {names}.", soft=True),
    )


def _class_section(story: LoopStory) -> str:
    num = len(story.v2.report.classes)
    shown = f"The {plots.MAX_CLASSES} of {num} classes that changed most." if num > plots.MAX_CLASSES else ""
    first = f"The first {plots.MAX_CLASSES} of {num} classes." if num > plots.MAX_CLASSES else ""
    return section(
        "By class",
        figures(
            figure(plots.class_plot(story), "Share of each class recognised by v1 and by v2", shown),
            figure(plots.confusion_plot(story.v2.report), "Confusion matrix of v2 on the test split", first),
        ),
    )


def _stream_section(story: LoopStory) -> str:
    stream = story.stream
    rows = [
        ("frames captured", f"{stream.captured:,}", ""),
        ("frames answered", f"{stream.answered:,}", ""),
        ("frames dropped", f"{stream.dropped:,}", ""),
        *((f"answered by {name}", f"{num:,}", percent(num, stream.answered)) for name, num in stream.by_bundle),
        ("first pass: accepted", f"{stream.accepted:,}", percent(stream.accepted, stream.judged)),
        ("first pass: asked to confirm", f"{stream.confirmed:,}", percent(stream.confirmed, stream.judged)),
        ("first pass: named nothing", f"{stream.unknown:,}", percent(stream.unknown, stream.judged)),
        ("first pass: kept", f"{stream.kept:,}", percent(stream.kept, stream.judged)),
        ("first pass: bytes seen", f"{stream.bytes_seen / 1e6:.2f} MB", ""),
        (
            "first pass: bytes uploaded",
            f"{stream.bytes_uploaded / 1e6:.2f} MB",
            percent(stream.bytes_uploaded, stream.bytes_seen),
        ),
    ]
    return section(
        "On the device",
        figures(
            figure(plots.decision_plot(story), "What the device does with the test pictures, by version"),
            figure(plots.bytes_plot(story), "Bytes seen against bytes uploaded"),
        ),
        table(("", "number", "share"), rows),
    )


def _conversion_section(story: LoopStory) -> str:
    rows = list(_proof_rows(story))
    if not rows:
        return ""
    machine = story.v2.measurements.machine if story.v2.measurements else ""
    head = ("model", "recipe", "float, %", "converted, %", "drop, points", "agreement, %", "size, kB", "verdict")
    return section(
        "Float against int8",
        figures(
            figure(
                plots.drop_plot(story), "Paired drop in accuracy by artifact, with its 95 % interval and the limits"
            ),
            figure(plots.size_plot(story.v2), "Size of each model file of v2"),
            figure(
                plots.latency_plot(story.v2),
                "Latency of each model file of v2",
                f"Measured on: {machine}" if machine else "",
            ),
        ),
        table(head, rows),
        *(paragraph(line, soft=True) for line in _fallbacks(story)),
    )


def _proof_rows(story: LoopStory) -> Iterator[tuple[str, ...]]:
    for name, facts in story.versions:
        for one in plots.artifacts_of(facts):
            drop = Interval(value=one.drop_points, lower=one.drop_lower_points, upper=one.drop_upper_points)
            yield (
                f"{name} {one.file}",
                one.recipe,
                f"{one.float_accuracy:.1f}",
                f"{one.accuracy:.1f}",
                gain_text(drop),
                f"{100 * one.agreement:.1f}",
                f"{one.size_bytes / 1e3:,.0f}",
                one.verdict.value,
            )


def _fallbacks(story: LoopStory) -> Iterator[str]:
    """What the proof rests on, and what was tried and failed."""
    for name, facts in story.versions:
        if facts.proof:
            judged, calibrated = len(facts.proof.validation_digests), len(facts.proof.calibration_digests)
            yield f"{name}: calibrated on {calibrated} pictures, proven on {judged} others."
        for one in facts.record.trials if facts.record else ():
            if one.verdict is Verdict.FAIL:
                yield f"{name}: {one.recipe} was tried and failed: {one.reason}."


def _gallery_section(story: LoopStory) -> str:
    if not story.kept:
        return ""
    shown = story.kept[:MAX_KEPT]
    made = "".join(_sample(one) for one in shown)
    return section(
        "Kept samples",
        paragraph(
            f"{len(shown)} of {story.stream.kept:,} samples that the device was unsure of and sent home.", soft=True
        ),
        f'<div class="gallery">{made}</div>',
    )


def _sample(one: KeptSample) -> str:
    try:
        thumbnail = data_uri(_thumbnail(one.picture), "image/jpeg")
        picture = f'<img src="{thumbnail}" alt="{text(one.truth)}" loading="lazy">'
    except ImageError:
        picture = '<div class="blank">no picture</div>'
    lines = (_opinion_line(name, opinion, one.truth) for name, opinion in (("v1", one.v1), ("v2", one.v2)))
    kept = text(one.reason.replace("_", " "))
    return (
        f'<div class="sample">{picture}<div><b>{text(one.truth)}</b></div>{"".join(lines)}'
        f'<div class="soft">kept: {kept}</div></div>'
    )


def _opinion_line(name: str, opinion: Opinion, truth: str) -> str:
    right = opinion.label == truth
    mark, kind = ("\N{CHECK MARK}", "right") if right else ("\N{MULTIPLICATION X}", "wrong")
    said = f"{opinion.label} {100 * opinion.confidence:.0f}\N{NO-BREAK SPACE}%, {opinion.outcome}"
    return f'<div>{text(name)}: <span class="{kind}">{mark}</span> {text(said)}</div>'


def _thumbnail(picture: bytes) -> bytes:
    """A small JPEG of any picture.

    Raises:
        ImageError: It cannot be decoded.
    """
    from PIL import Image

    from edge.preprocess import preprocess_pixels

    pixels, _ = preprocess_pixels(picture, _THUMBNAIL)
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "JPEG", quality=80)
    return target.getvalue()


def _gate_section(story: LoopStory) -> str:
    if story.gate is None:
        return ""
    verdict = "Version 2 passed." if story.gate.passed else "Version 2 did not pass, so it is not published."
    found = (_REASON.fullmatch(reason) for reason in story.gate.reasons)
    cells = [match.groups() for match in found if match]
    return section("Gate", paragraph(verdict), table(("rule", "result", "detail"), cells, texts=True))


def _origin_section(story: LoopStory) -> str:
    chain = table(("what", "SHA-256"), story.chain, texts=True) if story.chain else ""
    steps = [(step.name, f"{step.seconds:.1f}") for step in story.steps]
    total = [("all", f"{sum(step.seconds for step in story.steps):.1f}")]
    times = table(("step", "seconds"), steps + total) if steps else ""
    return section("Where it comes from", chain, times)
