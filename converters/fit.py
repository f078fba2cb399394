"""Whether a job's pictures, labels, truths and outputs fit each other and the network: checked before any long work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from converters.job import ConversionJob
from converters.metrics import metric_of
from edge.bundle.manifest import ArtifactFormat, OutputKind, OutputSpec, Task
from edge.errors import UsageError

_HINT = "convert with the labels the network was trained on"


def check_job(job: ConversionJob) -> None:
    """Refuses a job that cannot give a bundle; runs the network once, on a blank picture.

    Raises:
        UsageError: Names what is missing or does not fit.
        EdgeloopError: The weights are not finite or were never trained, or the network does not run at this size.
    """
    from converters.export import describe_outputs, require_finite, require_trained

    if not job.calibration:
        raise UsageError("conversion needs at least one calibration picture", hint="give about 200 training pictures")
    if len(job.calibration) < len(job.labels):
        raise UsageError(
            f"{len(job.calibration)} calibration pictures are fewer than the {len(job.labels)} classes",
            hint="give at least one training picture of each class, better about 200",
        )
    if not job.validation:
        raise UsageError("conversion needs at least one validation picture", hint="a proof needs about 200 of them")
    if not job.recipes:
        raise UsageError("conversion needs at least one quantization recipe")
    if any(recipe.format is not ArtifactFormat.TFLITE for recipe in job.recipes) and not job.search:
        raise UsageError("the preferred model is a TFLite one", hint="name ONNX recipes among the further models")
    job.stage()
    metric_of(job.limits, job.task)
    check_truths(job)
    require_finite(job.network)
    require_trained(job.network)
    shapes = describe_outputs(job.network, height=job.preprocess.height, width=job.preprocess.width)
    check_outputs(job, shapes)


def check_truths(job: ConversionJob) -> None:
    """Refuses labels and truths that the network could never give.

    Raises:
        UsageError: Names the label, the head, or what is missing.
    """
    doubled = [label for label, count in Counter(job.labels).items() if count > 1]
    if doubled:
        raise UsageError(f"label {doubled[0]!r} appears more than once")
    if job.task in (Task.CLASSIFY, Task.TABULAR):
        _refuse_strangers({picture.label for picture in job.validation}, job.labels)
    elif job.task is Task.MATCH:
        known = tuple(picture.label for picture in job.references) or job.labels
        _refuse_strangers({picture.label for picture in job.validation}, known)
    elif job.task is Task.DETECT:
        highest = max((box.index for picture in job.validation for box in picture.boxes), default=-1)
        if highest < 0:
            raise UsageError("none of the validation pictures has a box", hint="give pictures whose boxes are known")
        if highest >= len(job.labels):
            raise UsageError(f"validation pictures have class {highest}, but there are {len(job.labels)} labels")
    elif job.task is Task.ATTRIBUTES:
        _check_heads(job)


def check_outputs(job: ConversionJob, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuses a network whose outputs are not those of the job.

    Args:
        job: Says what they should be.
        shapes: Names and shapes of what the network gives.

    Raises:
        UsageError: Names the output.
    """
    for output in job.stage_outputs:
        found = shapes.get(output.name)
        if found is None:
            raise UsageError(
                f"the network has no output {output.name!r}, it has {', '.join(shapes)}", hint="name its outputs"
            )
        _check_classes(job, output, found)
        if found != output.shape:
            raise UsageError(
                f"the network's output {output.name!r} is {list(found)}, the job says {list(output.shape)}"
            )
    unnamed = [name for name in shapes if name not in {output.name for output in job.stage_outputs}]
    if unnamed:
        raise UsageError(f"the job does not say what the network's output {unnamed[0]!r} holds")


def _check_classes(job: ConversionJob, output: OutputSpec, found: tuple[int, ...]) -> None:
    """Of outputs with one number a class."""
    labels = output.labels or job.labels
    if output.kind in (OutputKind.LOGITS, OutputKind.PROBABILITIES, OutputKind.SCORES) and found[-1] != len(labels):
        head = "the network" if len(job.stage_outputs) == 1 else f"output {output.name!r} of the network"
        raise UsageError(f"{head} has {found[-1]} outputs, but there are {len(labels)} labels", hint=_HINT)
    if output.kind is OutputKind.STEPS and job.text is not None and found[-1] != len(job.text.charset) + 1:
        raise UsageError(
            f"output {output.name!r} of the network has {found[-1]} classes, but the charset has "
            f"{len(job.text.charset)} characters and there is one blank",
            hint="convert with the charset the network was trained on",
        )


def _check_heads(job: ConversionJob) -> None:
    heads = {output.name: output.labels or job.labels for output in job.stage_outputs}
    for picture in job.validation:
        for name, label in picture.attributes:
            if name not in heads:
                raise UsageError(f"validation pictures have a truth for {name!r}, which is no head of the network")
            _refuse_strangers({label}, heads[name])
    if not any(picture.attributes for picture in job.validation):
        raise UsageError("none of the validation pictures says what its attributes are")


def _refuse_strangers(found: set[str], known: tuple[str, ...]) -> None:
    strangers = sorted(found - set(known))
    if strangers:
        raise UsageError(f"validation pictures have label {strangers[0]!r}, which the network does not know")
