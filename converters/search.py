"""Which model a bundle gets: a declared list of recipes, tried one by one, never more than that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

from converters.acceptance import judge_latency
from converters.compare import EQUAL_DB
from converters.sensitivity import fewest, keep_float, rank_layers, rankable
from converters.types import LayerError, QuantRecipe, Scheme
from edge.bundle.manifest import ArtifactFormat, Verdict
from edge.errors import EdgeloopError

if TYPE_CHECKING:
    from converters.workshop import Trial, Workshop

_ORDER = (Verdict.PASS, Verdict.UNDECIDED)
_SCHEMES = (Scheme.STATIC_INT8, Scheme.WEIGHT_INT8, Scheme.FLOAT16, Scheme.FLOAT32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What was tried for the preferred model.

    Attributes:
        chosen: The model to prefer; None where nothing is good enough.
        trials: Everything that was tried, in order, the chosen one included.
        sensitivity: Harm of every layer, where it was looked for.
        float_layers: Layers that were left float for it.
        fine_tuned: Whether the weights were trained for int8.
    """

    chosen: Trial | None
    trials: tuple[Trial, ...]
    sensitivity: tuple[LayerError, ...] = ()
    float_layers: tuple[str, ...] = ()
    fine_tuned: bool = False


def find_model(shop: Workshop) -> Search:
    """Tries the job's recipes, and what else it allows, until a model is good enough.

    Recipes are tried in the job's order; those that differ in their ranges alone are tried together, and the one with
    the least noise is taken. Where the job allows to look for layers that have to stay float, or to fine-tune, static
    int8 recipes come first, then these two, and only then the larger and slower recipes.

    Raises:
        EdgeloopError: A recipe cannot be applied.
    """
    if not shop.job.sensitivity and shop.job.fine_tune is None:
        return _try_all(shop, shop.job.recipes)
    static = [recipe for recipe in shop.job.recipes if recipe.scheme is Scheme.STATIC_INT8]
    others = [recipe for recipe in shop.job.recipes if recipe.scheme is not Scheme.STATIC_INT8]
    found = _try_all(shop, static)
    if found.chosen is None and shop.job.sensitivity and static:
        found = _with_fewest_float(shop, _joined(found, Search(chosen=None, trials=())))
    if found.chosen is None and shop.job.fine_tune is not None and static:
        found = _joined(found, _fine_tuned(shop, static))
    if found.chosen is None or shop.job.search:
        found = _joined(found, _try_all(shop, others))
    return replace(found, chosen=best(found.trials)) if shop.job.search else found


def try_recipe(shop: Workshop, recipe: QuantRecipe) -> Trial:
    """A trial whose verdict knows of the latency too."""
    trial = shop.trial(recipe)
    slow = judge_latency(trial.latency.p50_ms, shop.job.limits)
    if slow and trial.proof.verdict is not Verdict.FAIL:
        return replace(trial, proof=replace(trial.proof, verdict=Verdict.FAIL, reason=slow))
    return trial


def best(trials: Sequence[Trial]) -> Trial | None:
    """The model to prefer; of TFLite only, which every device runs.

    One that passed before one that is undecided; then static int8, which is the fastest and the same on every
    processor, before int8 weights, these before float16, that before float32; then fewer float layers; then the one
    with the least noise at its worst output, which tells recipes apart that a few hundred right and wrong answers
    cannot. The same trials give the same choice: no time is in it, but that a limit of latency may have refused some.

    Returns:
        None where none is good enough.
    """
    good = [
        trial for trial in trials if trial.proof.verdict in _ORDER and trial.artifact.format is ArtifactFormat.TFLITE
    ]
    if not good:
        return None
    verdict = min((trial.proof.verdict for trial in good), key=_ORDER.index)
    good = [trial for trial in good if trial.proof.verdict is verdict]
    scheme = min((trial.artifact.recipe.scheme for trial in good), key=_SCHEMES.index)
    good = [trial for trial in good if trial.artifact.recipe.scheme is scheme]
    return min(
        good, key=lambda trial: (len(trial.artifact.recipe.float_layers), -_worst_db(trial), trials.index(trial))
    )


def _worst_db(trial: Trial) -> float:
    """Decibels at the output that suffers most."""
    return min((error.sqnr_db for error in trial.proof.errors), default=-EQUAL_DB)


def _try_all(shop: Workshop, recipes: Sequence[QuantRecipe]) -> Search:
    """The best of the first kind that is good enough; with `search` of all of them."""
    trials: list[Trial] = []
    for _, kind in groupby(recipes, key=lambda recipe: (recipe.format, recipe.scheme, recipe.float_layers)):
        made = [try_recipe(shop, recipe) for recipe in kind]
        trials += made
        if (chosen := best(made)) is not None and not shop.job.search:
            return Search(chosen=chosen, trials=tuple(trials))
    return Search(chosen=best(trials), trials=tuple(trials))


def _with_fewest_float(shop: Workshop, before: Search) -> Search:
    """Leaves the most harmful layers float, as few as are enough, with the ranges that lost least."""
    tried = [trial for trial in before.trials if trial.artifact.format is ArtifactFormat.TFLITE]
    if not tried:
        return before
    base = min(tried, key=lambda trial: trial.proof.drop_points).artifact.recipe
    ranges = shop.ranges(base)
    if ranges is None:
        return before
    model = shop.float_model(ArtifactFormat.TFLITE)
    with shop.steps.step("looking for sensitive layers", num=len(rankable(model))) as tick:
        ranked = rank_layers(model, base, ranges, shop.calibration, float_layers=shop.float_layers, tick=tick)
    made: dict[int, Trial] = {}

    def good(number: int) -> bool:
        layers = [one.layer for one in ranked[:number]]
        made[number] = try_recipe(shop, keep_float(base, layers))
        return made[number].proof.verdict is not Verdict.FAIL

    number = fewest(len(ranked) // 2, good) if len(ranked) > 1 else None
    return Search(
        chosen=None if number is None else made[number],
        trials=(*before.trials, *made.values()),
        sensitivity=ranked,
        float_layers=() if number is None else tuple(one.layer for one in ranked[:number]),
    )


def _fine_tuned(shop: Workshop, static: Sequence[QuantRecipe]) -> Search:
    """Trains the weights for int8, and tries the static recipes again."""
    from converters.qat import fine_tune

    recipe = shop.job.fine_tune
    if recipe is None:
        raise EdgeloopError("fine-tuning was not asked for")
    exported, pixels = shop.exported, shop.calibration
    with shop.steps.step("fine-tuning for int8", num=recipe.epochs) as tick:
        tuned = fine_tune(exported, pixels, recipe, tick=tick)
    shop.use(tuned)
    found = _try_all(shop, [replace(one, name=f"{one.name}_{recipe.name}") for one in static])
    return replace(found, fine_tuned=found.chosen is not None)


def _joined(one: Search, other: Search) -> Search:
    """The second search after the first."""
    return Search(
        chosen=other.chosen or one.chosen,
        trials=(*one.trials, *other.trials),
        sensitivity=other.sensitivity or one.sensitivity,
        float_layers=other.float_layers or one.float_layers,
        fine_tuned=other.fine_tuned or one.fine_tuned,
    )
