"""What the keep rules must know of a bundle beside its policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edge.bundle.manifest import BundleManifest, StageInput, StageSpec, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepContext:
    """Facts of a bundle that a single inference does not carry.

    Attributes:
        score_threshold: Of the detector, in [0, 1]; None where there is none, or it is not known.
        known_labels: The classes of the detector, then those of each stage that reads its crops, in the stages' order;
            empty where there are no crops. A stage that reads text has an empty set: it shares no classes.
    """

    score_threshold: float | None = None
    known_labels: tuple[frozenset[str], ...] = ()


def context_of(manifest: BundleManifest, *, gallery_labels: Mapping[str, Sequence[str]] | None = None) -> KeepContext:
    """Reads the facts out of a manifest, once for each bundle.

    Args:
        manifest: Of the bundle that runs.
        gallery_labels: Name of a MATCH stage to the labels of its gallery, which the manifest does not hold; a stage
            that is missing here takes its own labels, or the manifest's.
    """
    detector = next((stage for stage in manifest.stages if stage.detect is not None), None)
    if detector is None or detector.detect is None:
        return KeepContext()
    readers = [stage for stage in manifest.stages if stage.reads is StageInput.CROPS]
    galleries = gallery_labels or {}
    sets = tuple(_labels(stage, manifest.labels, galleries) for stage in (detector, *readers)) if readers else ()
    return KeepContext(score_threshold=detector.detect.score_threshold, known_labels=sets)


def _labels(stage: StageSpec, labels: Sequence[str], galleries: Mapping[str, Sequence[str]]) -> frozenset[str]:
    if stage.task is Task.TEXT:
        return frozenset()
    if stage.task is Task.MATCH and stage.name in galleries:
        return frozenset(galleries[stage.name])
    heads = [label for output in stage.outputs for label in output.labels]
    return frozenset(heads or stage.labels or labels)
