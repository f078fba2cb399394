"""Which postprocessing a stage asks for, and the files of the bundle that it needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edge.bundle.manifest import MatchSpec, OutputKind, OutputSpec, StageSpec, Task
from edge.bundle.stage import MAX_TOP_K
from edge.errors import BackendError, FormatError
from edge.types import Classification, Geometry, Prediction, RawOutputs

if TYPE_CHECKING:
    from edge.bundle.gallery import Gallery
    from edge.postprocess.text import Lexicon

TOP_K = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class StageFiles:
    """What a stage's postprocessing reads from the bundle, loaded.

    Attributes:
        gallery: Of a stage that compares embeddings.
        lexicon: Of a stage that reads text with one.
    """

    gallery: Gallery | None = None
    lexicon: Lexicon | None = None


def load_stage_files(stage: StageSpec, read: Callable[[str], bytes]) -> StageFiles:
    """Loads the gallery and the lexicon that a stage names.

    Args:
        stage: Names the files.
        read: Gives a file of the bundle by name.

    Raises:
        BundleError: A file cannot be read.
        FormatError: A file does not follow its format page.
    """
    gallery = lexicon = None
    if stage.match is not None:
        from edge.bundle.gallery import read_gallery

        gallery = read_gallery([(name, read(name)) for name in stage.match.gallery])
        _check_gallery(stage, stage.match, gallery)
    if stage.text is not None and stage.text.lexicon:
        from edge.postprocess.text import read_lexicon

        lexicon = read_lexicon(stage.text.lexicon, read(stage.text.lexicon))
    return StageFiles(gallery=gallery, lexicon=lexicon)


def postprocess(
    outputs: RawOutputs,
    stage: StageSpec,
    labels: Sequence[str],
    geometry: Geometry,
    *,
    files: StageFiles,
    top_k: int | None = None,
) -> Prediction:
    """Turns what one stage's network said into a prediction.

    Args:
        outputs: What it said.
        stage: Says what that means.
        labels: Class names of the stage.
        geometry: The way back from its input to the picture.
        files: From `load_stage_files`.
        top_k: How many classes are named; None for five, or what the stage's `match` says.

    Raises:
        BackendError: An output is missing or malformed.
    """
    most = TOP_K if top_k is None else top_k
    match stage.task:
        case Task.CLASSIFY:
            return _classify(outputs, stage, labels, files, most)
        case Task.ATTRIBUTES:
            from edge.postprocess.classify import attributes

            return attributes(outputs, stage.outputs, labels, top_k=most)
        case Task.DETECT:
            from edge.postprocess.detect.decode import detect

            return detect(outputs, stage, labels, geometry)
        case Task.MATCH:
            from edge.postprocess.embed import match

            spec, gallery = _gallery_of(stage, files)
            wanted = spec if top_k is None else replace(spec, top_k=min(top_k, MAX_TOP_K))
            return match(outputs, _output(stage, OutputKind.EMBEDDING), wanted, gallery)
        case Task.TEXT:
            return _read(outputs, stage, files)
        case Task.TABULAR:
            from edge.postprocess.tabular import tabular

            return tabular(outputs, stage.outputs, labels, top_k=most)
        case Task.COUNT:
            raise BackendError(f"stage {stage.name!r}: count is the task of a whole pipeline")


def postprocess_crops(
    outputs: Sequence[RawOutputs],
    stage: StageSpec,
    labels: Sequence[str],
    geometry: Geometry,
    *,
    files: StageFiles,
    top_k: int | None = None,
) -> list[Prediction]:
    """`postprocess` for every crop of a picture; embeddings are compared with the gallery in one go."""
    if stage.task is not Task.MATCH:
        return [postprocess(one, stage, labels, geometry, files=files, top_k=top_k) for one in outputs]
    from edge.postprocess.embed import match_all

    spec, gallery = _gallery_of(stage, files)
    wanted = spec if top_k is None else replace(spec, top_k=min(top_k, MAX_TOP_K))
    return list(match_all(outputs, _output(stage, OutputKind.EMBEDDING), wanted, gallery))


def _check_gallery(stage: StageSpec, spec: MatchSpec, gallery: Gallery) -> None:
    for item in spec.class_thresholds:
        if item.label not in gallery.labels:
            raise FormatError(f"stage {stage.name!r}: match.class_thresholds: {item.label!r} is not in the gallery")
    output = stage.find_output(OutputKind.EMBEDDING)
    if output is not None and math.prod(output.shape) != gallery.dimension:
        raise FormatError(
            f"{', '.join(spec.gallery)}: the gallery of stage {stage.name!r} has {gallery.dimension} dimensions, "
            f"output {output.name!r} has shape {list(output.shape)}"
        )


def _classify(
    outputs: RawOutputs, stage: StageSpec, labels: Sequence[str], files: StageFiles, top_k: int
) -> Classification:
    from edge.postprocess.classify import classify

    scores = _output(stage, OutputKind.LOGITS, OutputKind.PROBABILITIES)
    answer = classify(outputs, scores, labels, top_k=top_k)
    if stage.match is None:
        return answer
    from edge.postprocess.embed import novelty

    gallery = _gallery_of(stage, files)[1]
    return replace(answer, novelty=novelty(outputs, _output(stage, OutputKind.EMBEDDING), gallery))


def _read(outputs: RawOutputs, stage: StageSpec, files: StageFiles) -> Prediction:
    from edge.postprocess.text import read_text

    assert stage.text is not None  # noqa: S101  (the stage's own check)
    return read_text(outputs, _output(stage, OutputKind.STEPS), stage.text, files.lexicon)


def _gallery_of(stage: StageSpec, files: StageFiles) -> tuple[MatchSpec, Gallery]:
    if stage.match is None or files.gallery is None:
        raise BackendError(f"stage {stage.name!r} has no gallery")
    return stage.match, files.gallery


def _output(stage: StageSpec, *kinds: OutputKind) -> OutputSpec:
    found = stage.find_output(*kinds)
    if found is None:
        raise BackendError(f"stage {stage.name!r} has no output of kind {', '.join(kind.value for kind in kinds)}")
    return found
