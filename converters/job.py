"""What a conversion is asked for, checked before any long work begins."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from converters.recipes import DEFAULT_RECIPES
from converters.types import QuantRecipe
from edge import jsonvalue
from edge.bundle.manifest import DecisionPolicy, KeepPolicy, PreprocessSpec, Provenance, QualityLimits
from edge.errors import UsageError

if TYPE_CHECKING:
    import torch

_TOOLS = (
    "torch",
    "litert-torch",
    "litert-converter",
    "ai-edge-quantizer",
    "ai-edge-litert",
    "onnx",
    "onnxruntime",
    "edgeloop",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture file.

    Attributes:
        digest: SHA-256 of the file, hex.
        path: Where it lies.
    """

    digest: str
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledPicture:
    """A picture file whose class is known.

    Attributes:
        digest: SHA-256 of the file, hex.
        path: Where it lies.
        label: Its class, one of the job's labels.
    """

    digest: str
    path: Path
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionJob:
    """All that a bundle is made of.

    Attributes:
        network: Takes float32 NCHW in 0 to 255, normalises inside, returns logits; is put into eval mode
            and onto the CPU.
        name: Name of the bundle.
        version: Version of the bundle, from 1.
        labels: Class names in the order of the logits.
        preprocess: How its input is made.
        temperature: The logits' calibration.
        calibration: Training pictures that activation ranges are taken from; about 200.
        validation: Pictures that training never saw, for the proof.
        limits: What quantization may cost.
        decision: When the device may trust an answer.
        keep: What the device keeps.
        provenance: Where the network comes from.
        out: The bundle folder to make.
        recipes: Quantization recipes, tried in this order.
    """

    network: torch.nn.Module
    name: str
    version: int
    labels: tuple[str, ...]
    preprocess: PreprocessSpec
    temperature: float
    calibration: tuple[Picture, ...]
    validation: tuple[LabelledPicture, ...]
    limits: QualityLimits
    decision: DecisionPolicy
    keep: KeepPolicy
    provenance: Provenance
    out: Path
    recipes: tuple[QuantRecipe, ...] = DEFAULT_RECIPES


def check_job(job: ConversionJob) -> None:
    """Refuses a job that cannot give a bundle; runs the network once, on a blank picture.

    Raises:
        UsageError: Names what is missing or does not fit.
        EdgeloopError: The weights are not finite, or the network does not run at this size.
    """
    from converters.export import count_outputs, require_finite

    if not job.calibration:
        raise UsageError("conversion needs at least one calibration picture", hint="give about 200 training pictures")
    if not job.validation:
        raise UsageError("conversion needs at least one validation picture", hint="a proof needs about 200 of them")
    if not job.recipes:
        raise UsageError("conversion needs at least one quantization recipe")
    _check_labels(job)
    require_finite(job.network)
    num_outputs = count_outputs(job.network, height=job.preprocess.height, width=job.preprocess.width)
    if num_outputs != len(job.labels):
        raise UsageError(
            f"the network has {num_outputs} outputs, but there are {len(job.labels)} labels",
            hint="convert with the labels the network was trained on",
        )


def _check_labels(job: ConversionJob) -> None:
    doubled = [label for label, count in Counter(job.labels).items() if count > 1]
    if doubled:
        raise UsageError(f"label {doubled[0]!r} appears more than once")
    strangers = sorted({picture.label for picture in job.validation} - set(job.labels))
    if strangers:
        raise UsageError(f"validation pictures have label {strangers[0]!r}, which the network does not know")


def job_digest(job: ConversionJob) -> str:
    """Names a job by all that its bundle depends on: equal jobs give equal bundles.

    Returns:
        SHA-256, hex, over the network's structure and weights, the pictures, policies and library versions.
    """
    return jsonvalue.digest_of(
        {
            "network": _network_digest(job.network),
            "name": job.name,
            "version": job.version,
            "labels": job.labels,
            "preprocess": job.preprocess,
            "temperature": job.temperature,
            "calibration": [picture.digest for picture in job.calibration],
            "validation": [[picture.digest, picture.label] for picture in job.validation],
            "limits": job.limits,
            "decision": job.decision,
            "keep": job.keep,
            "provenance": job.provenance,
            "recipes": job.recipes,
            "tools": {name: _version(name) for name in _TOOLS},
        }
    )


def _network_digest(network: torch.nn.Module) -> str:
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
