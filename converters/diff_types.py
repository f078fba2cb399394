"""What differs between two bundles, as values."""

from __future__ import annotations

from dataclasses import dataclass

from edge.bundle.manifest import Verdict
from edge.jsonvalue import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldDiff:
    """One field of the manifest that is not the same.

    Attributes:
        field: Its path, for instance `decision.accept_confidence` or `stages.classify.preprocess.width`.
        before: Its JSON value; None where it is not there.
        after: The same, in the second bundle.
    """

    field: str
    before: Json
    after: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelDiff:
    """Class names that are not the same.

    Attributes:
        stage: Whose they are; empty for those of the bundle.
        added: New ones, in their order.
        removed: Those that are gone, in their order.
        reordered: Whether those that both have stand in another order.
    """

    stage: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    reordered: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelState:
    """A model file as one of the bundles has it.

    Attributes:
        recipe: What made it.
        size_bytes: Its size.
        sha256: Its digest, hex.
        drop_points: What it loses against its float model, in points; None where the proof does not say.
        verdict: What the proof says about it; None where it says nothing.
    """

    recipe: str
    size_bytes: int
    sha256: str
    drop_points: float | None
    verdict: Verdict | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactDiff:
    """A model file that is not the same.

    Attributes:
        stage: Whose it is.
        file: Its name.
        before: In the first bundle; None where it is new.
        after: In the second bundle; None where it is gone.
    """

    stage: str
    file: str
    before: ModelState | None
    after: ModelState | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDiff:
    """A file that is not the same.

    Attributes:
        name: Its name.
        before_bytes: Its size in the first bundle; None where it is new.
        after_bytes: Its size in the second bundle; None where it is gone.
    """

    name: str
    before_bytes: int | None
    after_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleDiff:
    """What is not the same in two bundles.

    Attributes:
        names: Name and version of both, for people.
        digests: Of both, hex; equal digests mean equal bundles.
        fields: Fields of the manifest, in its order.
        labels: Class names.
        artifacts: Models.
        num_golden: Golden vectors of both.
        files: Every file.
        moved_bytes: What an update from the first to the second would move: the content that the first does not have.
    """

    names: tuple[str, str]
    digests: tuple[str, str]
    fields: tuple[FieldDiff, ...]
    labels: tuple[LabelDiff, ...]
    artifacts: tuple[ArtifactDiff, ...]
    num_golden: tuple[int, int]
    files: tuple[FileDiff, ...]
    moved_bytes: int
