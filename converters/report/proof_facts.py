"""What the proof page looks up in a bundle's four records."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from converters.types import ArtifactProof, ConversionRecord, Latency, Measurements, OutputError, Proof
from edge.bundle.manifest import BundleManifest

# Equal outputs are told with this many decibels; see `OutputError`.
EQUAL_DB = 200.0
_METRICS = {
    "top1": "top-1 accuracy",
    "macro_f1": "macro F1",
    "ap50": "average precision (AP50)",
    "count": "count accuracy",
    "attributes": "attribute accuracy",
    "text": "text accuracy",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofFacts:
    """A bundle and all that it says about its conversion.

    Attributes:
        manifest: What is in the bundle.
        digest: Of the bundle, hex.
        proof: What its models cost.
        record: How they came about.
        measurements: What was timed; None where nothing was.
    """

    manifest: BundleManifest
    digest: str
    proof: Proof
    record: ConversionRecord
    measurements: Measurements | None

    @property
    def metric(self) -> str:
        """What scores are measured in, for people."""
        return _METRICS.get(self.proof.metric, self.proof.metric)

    @property
    def preferred(self) -> ArtifactProof | None:
        """The model that devices take; None where no quantized one is in the bundle."""
        return next(iter(self.proof.artifacts), None)

    @property
    def trials(self) -> tuple[ArtifactProof, ...]:
        """Every recipe that was tried, in order, and those of the bundle that the record does not name."""
        known = {(one.file, one.recipe) for one in self.record.trials}
        more = (one for one in self.proof.artifacts if (one.file, one.recipe) not in known)
        return (*self.record.trials, *more)

    @property
    def reference_file(self) -> str:
        """The float model that all others are held against; in old proofs any float32 file; empty where none is."""
        if self.proof.reference:
            return self.proof.reference
        preferred = self.preferred.file if self.preferred else ""
        files = (one.file for stage in self.manifest.stages for one in stage.artifacts if one.recipe == "fp32")
        return next((file for file in files if file != preferred), "")

    @property
    def reference_bytes(self) -> int:
        """Its size; 0 where it is unknown."""
        return next((entry.size_bytes for entry in self.manifest.files if entry.name == self.reference_file), 0)

    def score(self) -> float | None:
        """What the float model gets, in points; None where nobody measured it."""
        if self.proof.score:
            return self.proof.score.value
        return next((one.float_accuracy for one in self.trials), None)

    def latency(self, file: str, recipe: str = "") -> Latency | None:
        """How long one run of a model takes; None where nothing was timed.

        Args:
            file: Name of the model. Two recipes may have made files of one name,
            recipe: so this tells them apart; empty for any.
        """
        timed = self.measurements.latencies if self.measurements else ()
        found = [one for one in timed if one.file == file]
        exact = (one for one in found if not recipe or one.recipe == recipe)
        return next(exact, None) or next((one for one in found if not one.recipe), None)

    def place(self, trial: ArtifactProof) -> str:
        """Whether a model is in the bundle: `preferred`, `yes` or an empty string."""
        if self.preferred and _same(trial, self.preferred):
            return "preferred"
        return "yes" if any(_same(trial, one) for one in self.proof.artifacts) else ""


def model_name(file: str, recipe: str) -> str:
    """A model for people: its recipe, and its format where that is not TFLite."""
    named = recipe or file
    return f"{named}, ONNX" if file.endswith(".onnx") and "onnx" not in named.lower() else named


def worst_sqnr(errors: Iterable[OutputError]) -> float | None:
    """Least signal to noise over the outputs, in decibels; None of nothing."""
    return min((one.sqnr_db for one in errors), default=None)


def worst_cosine(errors: Iterable[OutputError]) -> float | None:
    """Least cosine over the outputs; None of nothing."""
    return min((one.cosine for one in errors), default=None)


def _same(one: ArtifactProof, other: ArtifactProof) -> bool:
    return (one.file, one.recipe) == (other.file, other.recipe)
