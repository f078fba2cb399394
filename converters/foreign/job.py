"""What is to be imported, as one value."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from converters.foreign.told import Told
from edge.bundle.manifest import CapturePolicy, DecisionPolicy, KeepPolicy, Task

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportJob:
    """What is to be imported.

    Attributes:
        model: A `.tflite` or `.onnx` file.
        out: The bundle folder; a bundle that stands there is replaced.
        task: The kind of answer it gives.
        name: Name of the bundle; empty for that of the file.
        version: Version of the bundle, from 1.
        labels: Label file; None for labels inside the model file.
        golden: Folder of pictures to record golden vectors from; None for none.
        gallery: For MATCH, a folder of reference pictures for each class.
        told: What the person says about the model.
        decision: When the device may trust an answer.
        keep: What the device keeps.
        capture: Which frames of a source it answers.
    """

    model: Path
    out: Path
    task: Task
    name: str = ""
    version: int = 1
    labels: Path | None = None
    golden: Path | None = None
    gallery: Path | None = None
    told: Told = field(default_factory=Told)
    decision: DecisionPolicy = field(default_factory=DecisionPolicy)
    keep: KeepPolicy = field(default_factory=KeepPolicy)
    capture: CapturePolicy = field(default_factory=CapturePolicy)


def bundle_name(model: Path) -> str:
    """A bundle's name from a file's: what is not a letter, digit, `.`, `_` or `-` becomes `-`."""
    return _UNSAFE.sub("-", model.stem).lstrip("._-")[:100] or "imported"
