"""What one row of the conversion tables came to: measured once, kept as JSON, and found again by a repeated run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.conversion_baselines import Baseline, baselines
from benchmarks.conversion_candidates import FLOAT_TFLITE, OURS, REFERENCE, Candidate, Made, make_all
from benchmarks.conversion_runner import Pace, Runner, race
from benchmarks.conversion_subjects import SHOWN_SCORE, Effort, Subject
from converters.answers import Answers, Reading, SeenPicture, ask, see
from converters.examples import LabelledPicture
from converters.job import job_digest, truth_of
from converters.metrics import agreement, metric_of, paired_drop, score_of, tally
from converters.proof import output_errors
from converters.types import Estimate
from edge import durable, jsonvalue
from edge.errors import EdgeloopError, FormatError
from edge.postprocess.select import load_stage_files
from edge.types import Detections, Prediction

_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one model file came to.

    Attributes:
        name: What tables call it.
        maker: Whose it is.
        recipe: Of ours, the recipe that made it.
        failed: Why the rest is empty; empty where it is not.
        size_bytes: Of the file.
        sqnr_db: Of the worst output against the float ONNX model, in decibels.
        cosine: Of the worst output.
        agreement: Share of the float ONNX model's answers that it gives too.
        pace: Its time, against the float TFLite model.
        score: On the held-out pictures; None for networks that learnt nothing.
        drop: Lost against the float ONNX model, paired.
        against: Of an exporter's, the name of ours that it is compared with.
        lead: Of an exporter's, how much better than ours it is, paired.
    """

    name: str
    maker: str
    recipe: str = ""
    failed: str = ""
    size_bytes: int = 0
    sqnr_db: float = 0.0
    cosine: float = 0.0
    agreement: float = 0.0
    pace: Pace | None = None
    score: Estimate | None = None
    drop: Estimate | None = None
    against: str = ""
    lead: Estimate | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one row came to.

    Attributes:
        key: Digest of all it depends on.
        name: Of the network.
        metric: What scores are measured in; empty for networks that learnt nothing.
        most_drop: Points that int8 may lose; None for those.
        num_pictures: Pictures that were asked about.
        num_calibration: Pictures that ranges were taken from.
        choice: What the default chain tried, in words.
        baselines: What a score has to be held against.
        figures: Of every model.
        machine: Where and when.
    """

    key: str
    name: str
    metric: str
    most_drop: float | None
    num_pictures: int
    num_calibration: int
    choice: str
    baselines: tuple[Baseline, ...]
    figures: tuple[Figures, ...]
    machine: str

    def find(self, name: str) -> Figures | None:
        """The figures of a model; None where it failed."""
        return next((one for one in self.figures if one.name == name and not one.failed), None)


def outcome_of(subject: Subject, effort: Effort, work: Path, *, machine: Callable[[], str], cache: Path) -> Outcome:
    """Measures a row, or finds it measured: for the same network, pictures, libraries and effort.

    Args:
        subject: The network.
        effort: How much is measured.
        work: Folder for results.
        machine: Says where and when.
        cache: Of conversions.
    """
    file = work / f"{subject.name}.json"
    key = jsonvalue.digest_of(
        [_FORMAT, job_digest(subject.job), [truth_of(one) for one in subject.test], effort, subject.most_drop]
    )
    try:
        found = jsonvalue.load(Outcome, file.read_bytes(), where=str(file))
        if found.key == key:
            return found
    except (OSError, FormatError):
        pass
    outcome = replace(_measured(subject, effort, work / subject.name, cache), key=key, machine=machine())
    durable.make_folder(work)
    durable.write_bytes(file, jsonvalue.pretty_bytes(outcome), point="benchmark")
    return outcome


def _measured(subject: Subject, effort: Effort, folder: Path, cache: Path) -> Outcome:
    job = subject.job
    made = make_all(subject, folder, cache)
    pictures = subject.test or job.validation
    seen = see([picture.path for picture in pictures], job.preprocess)
    reading = Reading(stage=job.stage(), labels=job.labels, files=load_stage_files(job.stage(), made.files.__getitem__))
    figures = _figures(made, seen, reading, effort)
    trained = subject.most_drop is not None
    metric = metric_of(job.limits, job.task) if trained else ""
    rows = [_weighed(one, figures, metric, pictures) for one in figures.values()]
    return Outcome(
        key="",
        name=subject.name,
        metric=metric,
        most_drop=subject.most_drop,
        num_pictures=len(pictures),
        num_calibration=len(job.calibration),
        choice=made.choice,
        baselines=baselines(subject) if trained else (),
        figures=tuple(rows),
        machine="",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A model with all it said."""

    figures: Figures
    answers: Answers | None


def _figures(made: Made, seen: Sequence[SeenPicture], reading: Reading, effort: Effort) -> Mapping[str, _Asked]:
    """Asks every model about every picture, and times all of them side by side."""
    with ExitStack() as stack:
        runners, failed = _opened(stack, made.candidates)
        for name in (REFERENCE, FLOAT_TFLITE):
            if name in failed:
                raise EdgeloopError(f"{name}, which all are compared with: {failed[name]}")
        asked = {name: ask(runner.outputs, seen, reading) for name, runner in runners.items()}
        paces = race(
            list(runners.values()), seen[0].pixels, base=FLOAT_TFLITE, rounds=effort.rounds, frames=effort.frames
        )
    reference = asked[REFERENCE]
    found = {}
    for one in made.candidates:
        plain = Figures(name=one.name, maker=one.maker, recipe=one.recipe, against=one.against)
        why = failed.get(one.name) or asked[one.name].broken
        if why:
            found[one.name] = _Asked(figures=replace(plain, failed=why), answers=None)
            continue
        found[one.name] = _Asked(
            figures=_compared(plain, one, reference, asked[one.name], paces[one.name]), answers=asked[one.name]
        )
    return found


def _opened(stack: ExitStack, candidates: Sequence[Candidate]) -> tuple[dict[str, Runner], dict[str, str]]:
    """Those that open, and why the others do not."""
    runners, failed = {}, {}
    for one in candidates:
        try:
            if one.failed:
                raise EdgeloopError(one.failed)
            runners[one.name] = Runner(one)
            stack.callback(runners[one.name].close)
        except EdgeloopError as error:
            failed[one.name] = error.message
    return runners, failed


def _compared(plain: Figures, candidate: Candidate, reference: Answers, found: Answers, pace: Pace) -> Figures:
    errors = output_errors(reference, found)
    return replace(
        plain,
        size_bytes=candidate.path.stat().st_size,
        sqnr_db=min(one.sqnr_db for one in errors),
        cosine=min(one.cosine for one in errors),
        agreement=agreement(_shown(reference.predictions), _shown(found.predictions)),
        pace=pace,
    )


def _shown(predictions: Sequence[Prediction]) -> list[Prediction]:
    """Of detectors, the boxes that a device would report."""
    return [
        Detections(items=tuple(item for item in one.items if item.score >= SHOWN_SCORE))
        if isinstance(one, Detections)
        else one
        for one in predictions
    ]


def _weighed(asked: _Asked, everyone: Mapping[str, _Asked], metric: str, truths: Sequence[LabelledPicture]) -> Figures:
    """With its score, its drop, and how much better than ours it is."""
    figures, answers = asked.figures, asked.answers
    if answers is None or not metric:
        return figures
    mine = tally(metric, answers.predictions, truths)
    reference = everyone[REFERENCE].answers
    if reference is None:
        raise EdgeloopError("the float ONNX model gives no answers")
    before = tally(metric, reference.predictions, truths)
    figures = replace(figures, score=score_of(mine), drop=paired_drop(before, mine, exact="fp32" in figures.name))
    ours = everyone[figures.against].answers if figures.maker != OURS else None
    if ours is None:
        return figures
    return replace(figures, lead=paired_drop(mine, tally(metric, ours.predictions, truths), exact=True))
