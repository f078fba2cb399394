"""What a conversion is asked for."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING

from converters.contract import OUTPUT_NAME
from converters.examples import LabelledPicture, Picture
from converters.recipes import DEFAULT_RECIPES
from converters.types import QuantRecipe
from edge import jsonvalue
from edge.bundle.manifest import (
    ArtifactSpec,
    CapturePolicy,
    DecisionPolicy,
    DetectSpec,
    KeepPolicy,
    MatchSpec,
    OutputKind,
    OutputSpec,
    PreprocessSpec,
    Provenance,
    QualityLimits,
    StageSpec,
    Task,
    TextSpec,
)
from edge.errors import UsageError

if TYPE_CHECKING:
    import torch

    from converters.qat import QatRecipe
    from edge.jsonvalue import Json

_TOOLS = (
    "torch",
    "litert-torch",
    "litert-converter",
    "ai-edge-quantizer",
    "ai-edge-litert",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "edgeloop",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionJob:
    """All that a bundle is made of.

    Attributes:
        network: Takes float32 NCHW in 0 to 255, normalises inside, returns logits or raw outputs by name; is put into
            eval mode and onto the CPU.
        name: Name of the bundle.
        version: Version of the bundle, from 1.
        labels: Class names in the order of the outputs.
        preprocess: How its input is made.
        calibration: Training pictures that activation ranges are taken from; about 200, at least one for each label.
        validation: Pictures that training never saw, for the proof.
        limits: What quantization may cost.
        decision: When the device may trust an answer.
        keep: What the device keeps.
        provenance: Where the network comes from.
        out: The bundle folder to make.
        task: The kind of answer.
        outputs: What the network's outputs hold; empty for a classifier's `logits`.
        temperature: The logits' calibration, where `outputs` is empty.
        detect: For DETECT.
        match: For MATCH; names the gallery's files.
        text: For TEXT; names the lexicon.
        files: Gallery and lexicon, by name.
        references: For MATCH: pictures whose embeddings by the float network become the gallery, the first file that
            `match` names; empty where it is in `files`.
        capture: Which frames of a source the device answers.
        recipes: Quantization recipes of the preferred model, in their order (`converters.search.find_model`).
        also: Recipes of further models, which come into the bundle where the acceptance rule does not refuse them.
        search: Try all of `recipes` and take the best, instead of the first kind that is good enough.
        sensitivity: Where no static int8 recipe is good enough, look for the fewest layers that have to stay float.
        fine_tune: Where no other static int8 recipe is good enough, train the weights for it; None for never.
    """

    network: torch.nn.Module
    name: str
    version: int
    labels: tuple[str, ...]
    preprocess: PreprocessSpec
    calibration: tuple[Picture, ...]
    validation: tuple[LabelledPicture, ...]
    limits: QualityLimits
    decision: DecisionPolicy
    keep: KeepPolicy
    provenance: Provenance
    out: Path
    task: Task = Task.CLASSIFY
    outputs: tuple[OutputSpec, ...] = ()
    temperature: float = 1.0
    detect: DetectSpec | None = None
    match: MatchSpec | None = None
    text: TextSpec | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)
    references: tuple[LabelledPicture, ...] = ()
    capture: CapturePolicy = field(default_factory=CapturePolicy)
    recipes: tuple[QuantRecipe, ...] = DEFAULT_RECIPES
    also: tuple[QuantRecipe, ...] = ()
    search: bool = False
    sensitivity: bool = False
    fine_tune: QatRecipe | None = None

    @property
    def stage_outputs(self) -> tuple[OutputSpec, ...]:
        """`outputs`, or those of a classifier."""
        if self.outputs:
            return self.outputs
        shape = (1, len(self.labels))
        return (OutputSpec(name=OUTPUT_NAME, kind=OutputKind.LOGITS, shape=shape, temperature=self.temperature),)

    def stage(self, artifacts: tuple[ArtifactSpec, ...] = ()) -> StageSpec:
        """The bundle's one stage.

        Raises:
            UsageError: The task lacks what it needs.
        """
        try:
            return StageSpec(
                name=self.task.value,
                preprocess=self.preprocess,
                outputs=self.stage_outputs,
                artifacts=artifacts,
                task=self.task,
                detect=self.detect,
                match=self.match,
                text=self.text,
            )
        except ValueError as cause:
            raise UsageError(str(cause)) from cause


def job_digest(job: ConversionJob) -> str:
    """Names a job by all that its bundle depends on: equal jobs give equal bundles.

    Returns:
        SHA-256, hex, over the network's structure and weights, the pictures, policies and library versions.
    """
    plain = {
        item.name: getattr(job, item.name)
        for item in fields(job)
        if item.name not in ("network", "out", "calibration", "validation", "references", "files")
    }
    return jsonvalue.digest_of(
        {
            **plain,
            "network": network_digest(job.network),
            "calibration": [picture.digest for picture in job.calibration],
            "validation": [truth_of(picture) for picture in job.validation],
            "references": [truth_of(picture) for picture in job.references],
            "files": {name: hashlib.sha256(data).hexdigest() for name, data in job.files.items()},
            "tools": tool_versions(),
        }
    )


def truth_of(picture: LabelledPicture) -> Json:
    """A labelled picture without its place, as JSON."""
    return jsonvalue.to_json([picture.digest, picture.label, picture.boxes, picture.attributes])


def tool_versions() -> dict[str, str]:
    """Version of every library that has a part in a conversion."""
    return {name: _version(name) for name in _TOOLS}


def network_digest(network: torch.nn.Module) -> str:
    """SHA-256, hex, of a network's structure and weights."""
    digest = hashlib.sha256()
    for name, module in network.named_modules():
        digest.update(f"{name} {type(module).__qualname__} {module.extra_repr()}\n".encode())
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""
