"""`edgeloop convert`, `edgeloop convert-detector` and `edgeloop reprove`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edge import jsonvalue
from edge.bundle.policy import METRICS
from edge.errors import EdgeloopError

if TYPE_CHECKING:
    from cloud_train.retrain.conversion import ConversionChoice
    from edge.bundle.policy import CapturePolicy, QualityLimits

EXISTING_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
EXISTING_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
F = TypeVar("F", bound=Callable[..., object])


def _choice_options(function: F) -> F:
    """Options about which models are tried, what they may cost, and what is kept for the next time."""
    options = (
        click.option("--auto", is_flag=True, help="Try every recipe, look for layers to leave float, take the best."),
        click.option(
            "--recipe", "recipes", multiple=True, metavar="NAME", help="Try this recipe; may be repeated, in order."
        ),
        click.option("--also", multiple=True, metavar="NAME", help="Put the model of this recipe into the bundle too."),
        click.option(
            "--float-layer",
            "float_layers",
            multiple=True,
            metavar="REGEX",
            help="Static int8 leaves these float.",
        ),
        click.option("--qat", is_flag=True, help="Fine-tune for int8 where no static int8 recipe is good enough."),
        click.option(
            "--metric", type=click.Choice(METRICS), help="What the drop is measured in.  [default: the task's]"
        ),
        click.option("--max-drop", type=click.FloatRange(0, 100), help="Most points that may be lost."),
        click.option("--max-drop-upper", type=click.FloatRange(0, 100), help="The same for the 95 % bound."),
        click.option("--max-size", type=click.IntRange(1), help="Largest model file in bytes."),
        click.option(
            "--max-latency", type=click.FloatRange(0), help="Longest median time of the network, ms, one thread."
        ),
        click.option("--min-agreement", type=click.FloatRange(0, 1), help="Least share of unchanged answers."),
        click.option("--min-cosine", type=click.FloatRange(-1, 1), help="Least cosine of every output."),
        click.option(
            "--change-threshold",
            type=click.FloatRange(0, 255),
            help="Devices skip frames that differ by less grey levels from the last; 6 to 12 are sensible, 0 never.",
        ),
        click.option(
            "--cache", type=click.Path(path_type=Path), help="Folder of earlier results.  [default: the user's]"
        ),
        click.option("--no-cache", is_flag=True, help="Neither use nor keep results."),
    )
    for option in reversed(options):
        function = option(function)
    return function


@click.command()
@click.argument("run", type=EXISTING_FOLDER)
@click.option("--snapshot", type=EXISTING_FILE, required=True, help="The snapshot the run was trained on.")
@click.option("--blobs", type=EXISTING_FOLDER, required=True, help="The store that holds its pictures.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The bundle folder to make.")
@click.option(
    "--app", "application", default="shelf", show_default=True, help="Application that gives policies and limits."
)
@click.option("--name", default=None, help="Name of the bundle; the application's by default.")
@click.option("--version", type=click.IntRange(min=1), default=1, show_default=True, help="Version of the bundle.")
@_choice_options
@click.option("--json", "as_json", is_flag=True, help="Print the manifest as JSON.")
def convert(
    run: Path,
    snapshot: Path,
    blobs: Path,
    out: Path,
    application: str,
    name: str | None,
    version: int,
    as_json: bool,
    **words: Any,  # noqa: ANN401  (click's words, typed by `_choice`)
) -> None:
    """Quantize the network of RUN, prove it on its validation split and write a bundle.

    Recipes are tried in order, and the first kind that the limits do not refuse is taken. With --auto all are tried,
    and a table says what each costs.
    """
    from cloud_train.retrain.conversion import convert_run
    from model_zoo.registry import find_application

    found = find_application(application)
    choice, cache = _choice(words, found.limits)
    folder = convert_run(
        run,
        snapshot,
        blobs,
        out,
        name=name or found.name,
        version=version,
        application=found,
        choice=choice,
        cache=cache,
    )
    _tell(folder, as_json=as_json, table=words["auto"])


@click.command("convert-detector")
@click.argument("model", type=click.Path(exists=True, path_type=Path))
@click.option("--data", type=EXISTING_FOLDER, required=True, help="Pictures with boxes that training never saw.")
@click.option("--calibration", type=EXISTING_FOLDER, required=True, help="Training pictures, for activation ranges.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The bundle folder to make.")
@click.option("--name", default=None, help="Name of the bundle; that of MODEL by default.")
@click.option("--version", type=click.IntRange(min=1), default=1, show_default=True, help="Version of the bundle.")
@click.option("--size", type=click.IntRange(32, 4096), default=640, show_default=True, help="Input of a .pt file.")
@click.option("--trust", is_flag=True, help="Read a .pt file, which may run any code.")
@_choice_options
@click.option("--json", "as_json", is_flag=True, help="Print the manifest as JSON.")
def convert_detector(
    model: Path,
    data: Path,
    calibration: Path,
    out: Path,
    name: str | None,
    version: int,
    size: int,
    trust: bool,
    as_json: bool,
    **words: Any,  # noqa: ANN401  (click's words, typed by `_choice`)
) -> None:
    """Quantize the YOLO detector MODEL, prove it on DATA and write a bundle.

    MODEL is the folder of a training, or a .pt file of ultralytics. Annotations are Pascal VOC or YOLO files.
    """
    from cloud_train.retrain import detector_conversion
    from edge.bundle.policy import QualityLimits

    choice, cache = _choice(words, QualityLimits())
    folder = detector_conversion.convert_detector(
        detector_conversion.detector_source(model, size=size, trust=trust),
        calibration=calibration,
        validation=data,
        out=out,
        name=name or model.stem,
        version=version,
        choice=choice,
        cache=cache,
    )
    _tell(folder, as_json=as_json, table=words["auto"])


def _choice(words: dict[str, Any], plain: QualityLimits) -> tuple[ConversionChoice, Path | None]:
    """What the options say, and the folder of earlier results."""
    from cloud_train.retrain.conversion import ConversionChoice
    from converters.recipes import DEFAULT_RECIPES, SEARCHED_RECIPES, find_recipes, with_float_layers
    from edge.settings import cache_home

    tune = None
    if words["qat"]:
        from converters.qat import QatRecipe

        tune = QatRecipe()
    recipes = find_recipes(words["recipes"]) or (SEARCHED_RECIPES if words["auto"] else DEFAULT_RECIPES)
    choice = ConversionChoice(
        recipes=with_float_layers(recipes, words["float_layers"]),
        also=find_recipes(words["also"]),
        search=words["auto"],
        sensitivity=words["auto"],
        fine_tune=tune,
        limits=_limits(plain, words),
        capture=_capture(words["change_threshold"]),
    )
    return choice, None if words["no_cache"] else words["cache"] or cache_home() / "conversions"


def _capture(change_threshold: float | None) -> CapturePolicy | None:
    """What was said about still scenes; None for nothing."""
    from edge.bundle.policy import CapturePolicy

    return CapturePolicy(change_threshold=change_threshold) if change_threshold is not None else None


def _limits(plain: QualityLimits, words: dict[str, Any]) -> QualityLimits:
    """The application's limits with what was said otherwise."""
    fields = {
        "metric": "metric",
        "max_drop": "max_drop_points",
        "max_drop_upper": "max_drop_upper_points",
        "max_size": "max_size_bytes",
        "max_latency": "max_latency_ms",
        "min_agreement": "min_agreement",
        "min_cosine": "min_cosine",
    }
    return dataclasses.replace(
        plain, **{field: words[word] for word, field in fields.items() if words[word] is not None}
    )


def _tell(folder: Path, *, as_json: bool, table: bool) -> None:
    from converters.describe import trial_lines
    from converters.records import PAGE_FILE, read_measurements
    from edge.bundle.reader import open_bundle

    bundle = open_bundle(folder)
    if as_json:
        value = {"bundle": str(folder), "digest": bundle.digest, "manifest": jsonvalue.to_json(bundle.manifest)}
        click.echo(json.dumps(value))
        return
    if table:
        click.echo("\n".join(trial_lines(bundle)))
    proof = bundle.manifest.proof
    click.echo(f"{bundle.folder}: {bundle.digest}")
    bound = f"upper 95 % bound {proof.drop_upper_points:+.2f}"
    click.echo(f"proof: {proof.verdict.value}, drop {proof.drop_points:+.2f} points ({bound})")
    click.echo(f"page: {bundle.folder / PAGE_FILE}")
    measured = read_measurements(bundle)
    if measured is not None:
        seconds = sum(step.seconds for step in measured.steps)
        click.echo(f"took {seconds:.0f} s, at most {measured.peak_memory_mb / 1000:.1f} GB of memory")


@click.command()
@click.argument("bundle", type=EXISTING_FOLDER)
@click.option("--snapshot", type=EXISTING_FILE, required=True, help="The snapshot the bundle was trained on.")
@click.option("--blobs", type=EXISTING_FOLDER, required=True, help="The store that holds its pictures.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def reprove(bundle: Path, snapshot: Path, blobs: Path, as_json: bool) -> None:
    """Make the proof of BUNDLE again and compare it with the one it carries.

    Ends with status 1 where a figure differs. On another kind of processor last digits may.
    """
    from cloud_train.retrain.conversion import reprove_bundle
    from converters.progress import counted_pictures

    with counted_pictures() as tick:
        found = reprove_bundle(bundle, snapshot, blobs, tick=tick)
    if as_json:
        value = {"equal": not found.differences, "differences": list(found.differences)}
        click.echo(json.dumps({**value, "proof": jsonvalue.to_json(found.found)}))
    if found.differences:
        raise EdgeloopError(
            f"{bundle}: {len(found.differences)} figures of the proof differ, the first: {found.differences[0]}",
            hint="a proof is the same to the last digit on the kind of processor that made it",
        )
    if not as_json:
        score, num = found.found.score, len(found.found.validation_digests)
        told = f", {found.found.metric} {score.text()}" if score else ""
        click.echo(f"equal: {1 + len(found.found.artifacts)} models on {num} pictures{told}")
