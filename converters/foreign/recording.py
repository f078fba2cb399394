"""Golden vectors for models that edgeloop did not make: chosen from given pictures, whatever the model answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from converters.golden import GoldenDraft, Recorder, choose_golden, golden_outputs, golden_png
from edge.backends.base import InferenceBackend
from edge.bundle.golden import GoldenSet, GoldenVector
from edge.bundle.manifest import StageSpec
from edge.errors import ImageError, UsageError
from edge.preprocess import preprocess_pixels
from edge.sources.folder import list_pictures

MAX_PICTURES = 200


def list_golden_pictures(folder: Path) -> tuple[Path, ...]:
    """At most 200 pictures of a folder tree, spread evenly over its sorted paths.

    Raises:
        UsageError: No such folder, or nothing in it.
    """
    if not folder.is_dir():
        raise UsageError(f"no folder {folder}")
    return spread(list_pictures(folder)) or _nothing(folder)


def spread(paths: Sequence[Path]) -> tuple[Path, ...]:
    """At most 200 of them, evenly."""
    num = min(MAX_PICTURES, len(paths))
    return tuple(paths[i * len(paths) // num] for i in range(num))


def record_golden(recorder: Recorder, backend: InferenceBackend, pictures: Sequence[Path]) -> GoldenDraft:
    """Chooses golden pictures and records what the model says about them.

    Args:
        recorder: How the model is run and read; its stage has one artifact.
        backend: The model.
        pictures: Files; those that are no pictures are left out.

    Raises:
        UsageError: Not one of them is a picture.
        BundleError: A picture does not survive preprocessing unchanged.
        BackendError: The model fails.
    """
    pngs = [png for path in pictures if (png := _model_sized(path, recorder.stage)) is not None]
    if not pngs:
        raise UsageError(f"none of the {len(pictures)} golden pictures can be read")
    answers = [recorder.run(backend, png) for png in pngs]
    vectors, files = [], {}
    for number, i in enumerate(choose_golden([[answer] for _, answer in answers])):
        name = f"golden-{number:02d}.png"
        files[name] = pngs[i]
        outputs = golden_outputs(recorder.stage.artifacts[0], recorder.stage, *answers[i])
        vectors.append(GoldenVector(input_file=name, outputs=tuple(outputs)))
    return GoldenDraft(index=GoldenSet(vectors=tuple(vectors)), pictures=files)


def _model_sized(path: Path, stage: StageSpec) -> bytes | None:
    """The picture as the model sees it, as PNG; None where it cannot be used."""
    try:
        pixels = preprocess_pixels(path, stage.preprocess)[0]
    except ImageError:
        return None
    return golden_png(pixels, stage)


def _nothing(folder: Path) -> tuple[Path, ...]:
    raise UsageError(f"no pictures in {folder}", hint="put JPEG, PNG or WebP files into it")
