"""`edgeloop bundle import` and `edgeloop bundle prove`: words to values, and what was found out to lines."""

from __future__ import annotations

import enum
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edge.bundle.stage import (
    Activation,
    BoxFormat,
    ChannelOrder,
    CropPolicy,
    Decoder,
    InputType,
    OutputKind,
    Task,
    TensorLayout,
)
from edge.errors import UsageError

if TYPE_CHECKING:
    from converters.foreign.job import ImportJob
    from converters.foreign.told import Told
    from converters.importing import Imported

F = TypeVar("F", bound=Callable[..., object])
_PATH = click.Path(path_type=Path)


def _words(kind: type[enum.Enum]) -> click.Choice[str]:
    return click.Choice([str(item.value) for item in kind])


def _numbers(context: click.Context, option: click.Parameter, value: str | None) -> tuple[float, ...]:
    """`123.7,116.3,103.5`, or one number for all channels."""
    try:
        return tuple(float(part) for part in value.split(",")) if value else ()
    except ValueError as cause:
        raise click.BadParameter(f"{value!r} is not a list of numbers such as 123.7,116.3,103.5") from cause


def _input_options(function: F) -> F:
    """Options about the input."""
    options = (
        click.option("--layout", type=_words(TensorLayout), help="Order of the input's axes.  [found by shape]"),
        click.option("--channels", type=_words(ChannelOrder), help="Colours of the input.  [default: rgb]"),
        click.option("--dtype", type=_words(InputType), help="Type of the input; refused where the file differs."),
        click.option("--input-range", type=click.Choice(["0..255", "0..1", "-1..1", "imagenet"]), help="Pixel values."),
        click.option("--mean", callback=_numbers, metavar="A,B,C", help="Subtracted from pixels of 0 to 255."),
        click.option("--std", callback=_numbers, metavar="A,B,C", help="Then divides them."),
        click.option("--input-scale", type=float, help="Quantization of an integer input, if the file has none."),
        click.option("--input-zero-point", type=int, help="The same."),
        click.option("--crop", type=_words(CropPolicy), help="Other aspect ratios.  [default: by the kind of model]"),
        click.option("--fill", type=click.IntRange(0, 255), help="Grey of letterbox padding.  [default: 114]"),
    )
    for option in reversed(options):
        function = option(function)
    return function


def _output_options(function: F) -> F:
    """Options about the outputs."""
    options = (
        click.option("--output", "outputs", multiple=True, metavar="NAME=KIND", help="What an output holds."),
        click.option("--decoder", type=_words(Decoder), help="The head of a detector."),
        click.option("--box-format", type=_words(BoxFormat), help="The four numbers of a box."),
        click.option("--normalised/--pixels", default=None, help="Boxes in 0 to 1, or in pixels of the input."),
        click.option("--activation", type=_words(Activation), help="What scores still need."),
        click.option("--first-class", type=click.IntRange(0), help="Number of the first label.  [default: 0]"),
        click.option("--score-threshold", type=click.FloatRange(0, 1), help="Least score of a detection."),
        click.option("--iou-threshold", type=click.FloatRange(0, 1), help="Overlap of two boxes of one thing."),
        click.option("--max-detections", type=click.IntRange(1, 10_000), help="Most detections a picture."),
        click.option("--class-agnostic", is_flag=True, help="Boxes of different classes suppress each other."),
        click.option("--match-threshold", type=click.FloatRange(-1, 1), help="Least cosine of a known class."),
        click.option("--temperature", type=float, help="Divides the logits of a classifier.  [default: 1]"),
        click.option("--background", is_flag=True, help="The model's first class is the background, not in --labels."),
        click.option("--tolerance", type=click.FloatRange(0), help="Of golden vectors, as a share of the range."),
    )
    for option in reversed(options):
        function = option(function)
    return function


@click.command("import")
@click.argument("model", type=_PATH)
@click.option("--labels", type=_PATH, help="Class names, one a line.  [those inside the model file]")
@click.option("--task", type=click.Choice(["classify", "detect", "match"]), required=True, help="Kind of answer.")
@click.option("--to", type=click.Choice(["tflite"]), help="Convert an .onnx file first.  [Keras files always are]")
@click.option("--name", default="", help="Name of the bundle.  [default: that of the file]")
@click.option("--version", type=click.IntRange(1), default=1, show_default=True, help="Version of the bundle.")
@click.option("--out", type=_PATH, help="Bundle folder.  [default: NAME-VERSION]")
@click.option("--gallery", type=_PATH, help="With --task match: a folder of reference pictures for each class.")
@click.option("--golden", type=_PATH, help="Folder of pictures to record golden vectors from.")
@click.option("--accept", type=click.FloatRange(0, 1), help="Confidence to accept.  [default: 0.8]")
@click.option("--confirm", type=click.FloatRange(0, 1), help="Confidence to ask a person.  [default: 0.4]")
@click.option(
    "--change-threshold",
    type=click.FloatRange(0, 255),
    default=0.0,
    show_default=True,
    help="Devices skip frames that differ by less grey levels from the last; 6 to 12 are sensible, 0 never.",
)
@_input_options
@_output_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def import_command(
    model: Path,
    labels: Path | None,
    task: str,
    to: str | None,
    name: str,
    version: int,
    out: Path | None,
    gallery: Path | None,
    golden: Path | None,
    accept: float | None,
    confirm: float | None,
    change_threshold: float,
    as_json: bool,
    **told: Any,  # noqa: ANN401  (click's words, typed by `_told`)
) -> None:
    """Wrap MODEL, a .tflite, .onnx, .keras or .h5 file from elsewhere, into a bundle.

    What the file says is found, flags win, and what stays open is asked for. The bundle runs with --allow-unproven
    until `edgeloop bundle prove` has judged it.

    A Keras file, and an ONNX file with --to tflite, is converted to float32 TFLite first, in an environment of its own
    that is made once under ~/.cache/edgeloop/environments (EDGELOOP_CACHE) and takes about 1.6 GB.
    """
    from dataclasses import replace

    from converters.foreign.job import ImportJob, bundle_name
    from edge.bundle.policy import CapturePolicy, DecisionPolicy

    plain = DecisionPolicy()
    accepted = plain.accept_confidence if accept is None else accept
    asked = min(plain.confirm_confidence, accepted) if confirm is None else confirm
    try:
        decision = replace(plain, accept_confidence=accepted, confirm_confidence=asked)
    except ValueError as cause:
        raise UsageError("--confirm must not be above --accept") from cause
    job = ImportJob(
        model=model,
        out=out or Path(f"{name or bundle_name(model)}-{version}"),
        task=Task(task),
        name=name,
        version=version,
        labels=labels,
        golden=golden,
        gallery=gallery,
        told=_told(told),
        decision=decision,
        capture=CapturePolicy(change_threshold=change_threshold),
    )
    _say_imported(_imported(job, to=to), as_json=as_json)


def _imported(job: ImportJob, *, to: str | None) -> Imported:
    """Converts first what is not run as it stands."""
    from converters.apart.convert import KERAS_SUFFIXES
    from converters.importing import import_converted, import_model
    from edge.settings import cache_home

    suffix = job.model.suffix.lower()
    if suffix not in KERAS_SUFFIXES and (to is None or suffix == f".{to}"):
        return import_model(job)
    environments = cache_home() / "environments"
    return import_converted(job, environments=environments, say=lambda line: click.echo(line, err=True))


def _told(words: dict[str, Any]) -> Told:
    """The options about the model as a value; words of a choice become members of their enum."""
    from converters.foreign.told import InputRange, Told

    kinds: dict[str, type[enum.Enum]] = {
        "layout": TensorLayout,
        "channels": ChannelOrder,
        "dtype": InputType,
        "input_range": InputRange,
        "crop": CropPolicy,
        "decoder": Decoder,
        "box_format": BoxFormat,
        "activation": Activation,
    }
    chosen = {name: kind(words[name]) for name, kind in kinds.items() if words[name] is not None}
    outputs = tuple(_output(word) for word in words["outputs"])
    return Told(**{**words, **chosen, "outputs": outputs})


def _output(word: str) -> tuple[str, OutputKind]:
    """`NAME=KIND`; names may hold an `=` themselves."""
    name, _, kind = word.rpartition("=")
    known = [item.value for item in OutputKind]
    if not name or kind not in known:
        raise UsageError(f"--output {word}: say NAME=KIND", hint=f"kinds: {', '.join(known)}")
    return name, OutputKind(kind)


def _say_imported(imported: Imported, *, as_json: bool) -> None:
    bundle = imported.bundle
    if as_json:
        found = [
            {"what": item.what, "value": item.value, "source": item.source.name.lower()} for item in imported.findings
        ]
        value = {"folder": str(bundle.folder), "digest": bundle.digest, "found": found, "notes": list(imported.notes)}
        click.echo(json.dumps(value))
        return
    for line in (*(finding.line() for finding in imported.findings), *imported.notes):
        click.echo(line, err=True)
    click.echo(f"wrote {bundle.folder} (not proven: run it with --allow-unproven, or prove it)")


@click.command("prove")
@click.argument("folder", metavar="BUNDLE", type=_PATH)
@click.option("--data", type=_PATH, required=True, help="A folder for each class; or Pascal VOC or YOLO boxes.")
@click.option(
    "--min-accuracy", "min_points", type=click.FloatRange(0, 100), help="Least accuracy (or AP50), in points."
)
@click.option("--reference", type=_PATH, help="The float model, or a bundle of it, to compare with.")
@click.option("--max-drop", type=click.FloatRange(0, 100), help="Most points lost against it.  [default: 1.0]")
@click.option("--max-drop-upper", type=click.FloatRange(0, 100), help="The same for the 95 % bound.  [default: 2.5]")
@click.option("--max-size", type=click.IntRange(1), help="Largest model file in bytes.  [default: no limit]")
@click.option("--out", type=_PATH, help="Write the proven bundle here.  [default: in place]")
@click.option("--json", "as_json", is_flag=True, help="Print the proof as JSON.")
def prove_command(
    folder: Path,
    data: Path,
    min_points: float | None,
    reference: Path | None,
    max_drop: float | None,
    max_drop_upper: float | None,
    max_size: int | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Judge the imported BUNDLE on pictures whose answers are known.

    What passes, or is undecided for want of pictures, becomes an ordinary bundle with a proof and golden vectors.
    """
    from converters.progress import counted_pictures
    from converters.proving import ProveJob, prove_bundle
    from edge import jsonvalue
    from edge.bundle.policy import QualityLimits

    plain = QualityLimits()
    limits = QualityLimits(
        max_drop_points=plain.max_drop_points if max_drop is None else max_drop,
        max_drop_upper_points=plain.max_drop_upper_points if max_drop_upper is None else max_drop_upper,
        max_size_bytes=max_size or plain.max_size_bytes,
    )
    job = ProveJob(
        bundle=folder, data=data, out=out or folder, min_points=min_points, reference=reference, limits=limits
    )
    with counted_pictures() as tick:
        bundle, proof = prove_bundle(job, tick=tick)
    if as_json:
        value = {"folder": str(bundle.folder), "digest": bundle.digest, "proof": jsonvalue.to_json(proof)}
        click.echo(json.dumps(value))
    else:
        click.echo(f"{proof.verdict.value}: {proof.reason}")
        click.echo(f"wrote {bundle.folder}")
