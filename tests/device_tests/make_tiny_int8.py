"""Writes `device_tests/tiny_int8.edgebundle`: a small static-int8 network that every processor must run to the bit.

The kinds of layers are those of MobileNetV2: convolution with the mean folded into its border, depthwise convolution,
residual addition, clipped rectifiers, global mean, fully connected. The weights are seeded noise: nothing is learnt,
because only the arithmetic counts. Needs the extra `convert`.

    python tests/device_tests/make_tiny_int8.py [FILE]
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from converters.calibrate import observe_ranges
from converters.quantize import quantize
from converters.recipes import STATIC_INT8
from converters.types import CalibrationRange
from device_tests.plan import TINY_BUNDLE, TINY_INT8_BUNDLE
from edge import jsonvalue
from edge.bundle.archive import pack, unpack
from edge.bundle.golden import GoldenOutput, GoldenSet, GoldenVector, pack_values
from edge.bundle.manifest import (
    MANIFEST_NAME,
    ArtifactFormat,
    ArtifactSpec,
    BundleManifest,
    FileEntry,
    Origin,
    ProofSummary,
    Provenance,
    Verdict,
)
from edge.engine import Engine, open_engine

if TYPE_CHECKING:
    from torch import nn

    from edge.types import ByteArray

SIZE = 32
SEED = 20_261_121
MODEL = "tiny_int8.tflite"
GOLDEN_FILE = "golden.json"
NUM_CALIBRATION = 32
NUM_GOLDEN = 8


def build_network() -> nn.Module:
    """float32 NHWC 0-255 in, `logits` (1, 3) out."""
    import torch
    from torch import nn

    torch.manual_seed(SEED)

    class Tiny(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
            self.spatial = nn.Conv2d(8, 8, 3, padding=1, groups=8)
            self.mix = nn.Conv2d(8, 8, 1)
            self.last = nn.Conv2d(8, 16, 1)
            self.vote = nn.Linear(16, 3)

        def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
            planes = image.permute(0, 3, 1, 2) / 64.0 - 2.0
            stem = torch.clamp(self.stem(planes), 0, 6)
            inner = self.mix(torch.clamp(self.spatial(stem), 0, 6))
            last = torch.clamp(self.last(stem + inner), 0, 6)
            return {"logits": 8 * self.vote(last.mean(dim=(2, 3)))}

    return Tiny().eval()


def pictures(count: int) -> list[ByteArray]:
    """Seeded pictures, uint8 (32, 32, 3): coarse noise on a random ground."""
    random = np.random.default_rng(SEED)
    coarse = random.integers(0, 256, (count, SIZE // 4, SIZE // 4, 3))
    ground = random.integers(0, 256, (count, 1, 1, 3))
    fine = random.integers(-20, 21, (count, SIZE, SIZE, 3))
    blocks = (coarse + ground).repeat(4, axis=1).repeat(4, axis=2) // 2
    return list((blocks + fine).clip(0, 255).astype(np.uint8))


def write_model(path: Path) -> None:
    """The static-int8 TFLite with float input and output."""
    import litert_torch
    import torch

    with TemporaryDirectory() as folder:
        floating = Path(folder) / "float.tflite"
        litert_torch.convert(build_network(), (torch.zeros(1, SIZE, SIZE, 3),)).export(str(floating))
        data = floating.read_bytes()
    seen = pictures(NUM_CALIBRATION)
    ranges = observe_ranges(data, seen, CalibrationRange.EXACT)
    path.write_bytes(quantize(data, STATIC_INT8, ranges=ranges, sample=seen[0]))


def write_bundle(target: Path) -> None:
    """The bundle: imported and not proven, because there is nothing that it recognises."""
    with TemporaryDirectory() as scratch:
        folder = Path(scratch) / "new"
        folder.mkdir()
        write_model(folder / MODEL)
        manifest = _manifest(unpack(TINY_BUNDLE, Path(scratch) / "old").manifest)
        _write_manifest(folder, replace(manifest, golden_file=""))
        golden = _golden_set(folder, pictures(NUM_GOLDEN))
        (folder / GOLDEN_FILE).write_bytes(jsonvalue.canonical_bytes(golden))
        _write_manifest(folder, replace(manifest, golden_file=GOLDEN_FILE))
        pack(folder, target)


def _manifest(old: BundleManifest) -> BundleManifest:
    artifact = ArtifactSpec(file=MODEL, format=ArtifactFormat.TFLITE, recipe=STATIC_INT8.name, tolerance=0.0)
    stage = replace(old.stages[0], artifacts=(artifact,))
    provenance = Provenance(run="", snapshot="", train_recipe="", seed=SEED, weights="", producer="device_tests")
    return replace(
        old,
        name="tiny-int8",
        origin=Origin.IMPORTED,
        labels=("first", "second", "third"),
        stages=(stage,),
        proof=ProofSummary(verdict=Verdict.NONE),
        provenance=provenance,
        files=(),
    )


def _golden_set(folder: Path, seen: list[ByteArray]) -> GoldenSet:
    """What the runtime itself says, of a bundle that has no golden vectors yet."""
    vectors = []
    with open_engine(folder, allow_unproven=True) as engine:
        for number, pixels in enumerate(seen):
            path = folder / f"golden-{number}.png"
            Image.fromarray(pixels).save(path)
            vectors.append(GoldenVector(input_file=path.name, outputs=(_golden_output(engine, path),)))
    return GoldenSet(vectors=tuple(vectors))


def _golden_output(engine: Engine, path: Path) -> GoldenOutput:
    answer, logits = engine.infer(path), engine.raw(path).by_name["logits"]
    return GoldenOutput(
        artifact=MODEL,
        output="logits",
        shape=tuple(logits.shape),
        values=pack_values(logits),
        outcome=answer.decision.outcome,
        label=answer.prediction.headline.label,
    )


def _write_manifest(folder: Path, manifest: BundleManifest) -> None:
    files = tuple(_entry(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST_NAME)
    (folder / MANIFEST_NAME).write_bytes(jsonvalue.canonical_bytes(replace(manifest, files=files)))


def _entry(path: Path) -> FileEntry:
    data = path.read_bytes()
    return FileEntry(name=path.name, sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))


if __name__ == "__main__":
    write_bundle(Path(sys.argv[1]) if len(sys.argv) > 1 else TINY_INT8_BUNDLE)
