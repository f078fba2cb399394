"""What one retraining shall do, as data that survives a restart."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """One picture to add to the parent snapshot.

    Attributes:
        digest: SHA-256 of the picture in the blob store, hex.
        label: Name of its class.
        origin: Where it came from, for instance `sample:<device id>`.
    """

    digest: str
    label: str
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainPlan:
    """The input of the retraining workflow.

    Attributes:
        store: The store folder.
        name: Name of the bundle.
        version: Its version; above the champion's.
        application: Name in the model zoo's registry, which gives recipe, policies and limits.
        parent: Digest of the snapshot to build on.
        add_labelled_samples: Extend the parent by every sample that people have settled.
        additions: Extend the parent by these as well.
        initial_weights: A safetensors file to start from, empty for none.
        pretrained: Ask timm's hub for weights.
        epochs: Override of the recipe's, 0 to keep it.
        champion: Path of the evaluation report to beat, empty for a first release.
        channel: Where to publish, empty to stop before the gate.
    """

    store: str
    name: str
    version: int
    application: str
    parent: str
    add_labelled_samples: bool = False
    additions: tuple[Addition, ...] = ()
    initial_weights: str = ""
    pretrained: bool = False
    epochs: int = 0
    champion: str = ""
    channel: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainResult:
    """What a retraining came to. Paths are those of finished, durable files.

    Attributes:
        snapshot: Digest of the snapshot that was trained on.
        run: Folder of the training run.
        bundle: Folder of the bundle.
        bundle_digest: Its digest.
        report: The evaluation on the frozen test split.
        gate: `not asked`, `passed` or `failed`.
        gate_reasons: One line a rule.
        published: Whether the bundle is on its channel.
    """

    snapshot: str
    run: str
    bundle: str
    bundle_digest: str
    report: str
    gate: str
    gate_reasons: tuple[str, ...]
    published: bool
