"""The place where one network becomes models: what they share is made once, and whatever was made before is found."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from converters.answers import RAW_PICTURES, Answers, Reading, SeenPicture, ask, ask_file, see
from converters.cache import ConversionCache
from converters.calibrate import CUTTING, observe
from converters.golden import Answer, Recorder
from converters.job import ConversionJob, network_digest, tool_versions, truth_of
from converters.measure import latency, machine
from converters.metrics import agreement, metric_of, score_of, tally
from converters.parity import require_parity, torch_outputs
from converters.progress import Steps
from converters.proof import output_errors, prove_artifact
from converters.quantize import quantize
from converters.ranges import Range, Ranges
from converters.recipes import FLOAT32, ONNX_FLOAT32
from converters.sensitivity import layer_noise
from converters.types import (
    Artifact,
    ArtifactProof,
    CalibrationRange,
    Estimate,
    Latency,
    LayerError,
    Parity,
    QuantRecipe,
    Scheme,
)
from edge import durable
from edge.bundle.manifest import ArtifactFormat, StageSpec
from edge.postprocess.select import load_stage_files

if TYPE_CHECKING:
    from converters.export import ExportedNetwork
    from edge.types import ByteArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One recipe, tried.

    Attributes:
        artifact: The model.
        proof: What it costs.
        answers: What it leads to, for each validation picture; empty where it is broken.
        latency: Its time on this machine.
    """

    artifact: Artifact
    proof: ArtifactProof
    answers: tuple[Answer, ...]
    latency: Latency


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tried:
    """What of a trial is kept in the cache."""

    proof: ArtifactProof
    answers: tuple[Answer, ...]
    latency: Latency


@dataclass(frozen=True, slots=True, kw_only=True)
class _AllRanges:
    """Ranges in their cached form."""

    by_kind: dict[str, dict[str, Range]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layers:
    """Noise of layers in its cached form."""

    rows: tuple[LayerError, ...]


class Workshop:
    """Makes and weighs the models of one job.

    Args:
        job: What is asked for.
        folder: Where model files are written.
        cache: What was made before.
        steps: Told of every long step.

    Attributes:
        files: Gallery and lexicon, by name.
    """

    def __init__(self, job: ConversionJob, folder: Path, cache: ConversionCache, steps: Steps) -> None:
        self.job, self.folder, self.cache, self.steps = job, folder, cache, steps
        self.files = dict(job.files)
        self._ranges: dict[tuple[ArtifactFormat, CalibrationRange], Ranges] = {}
        self._models: dict[ArtifactFormat, bytes] = {}

    @cached_property
    def network_key(self) -> object:
        """Names the float models: the network, its input size and the libraries."""
        spec = self.job.preprocess
        return [network_digest(self.job.network), spec.width, spec.height, tool_versions()]

    @cached_property
    def exported(self) -> ExportedNetwork:
        """The network as the graph that every format is written from."""
        from converters.export import export_network

        with self.steps.step("exporting the network"):
            return export_network(self.job.network, height=self.job.preprocess.height, width=self.job.preprocess.width)

    @cached_property
    def float_layers(self) -> tuple[str, ...]:
        """Patterns of the network's own layers that stay float."""
        from converters.export import float_layers

        data = self.cache.bytes_of(
            ["float layers", self.network_key], lambda: "\n".join(float_layers(self.exported)).encode()
        )
        return tuple(data.decode().split("\n")) if data else ()

    def float_model(self, form: ArtifactFormat) -> bytes:
        """The float32 model in a format."""
        if form not in self._models:
            self._models[form] = self.cache.bytes_of(["float", form, self.network_key], lambda: self._written(form))
        return self._models[form]

    def _written(self, form: ArtifactFormat) -> bytes:
        from converters.onnx import to_onnx
        from converters.tflite import to_tflite

        exported = self.exported
        with self.steps.step(f"writing {form.value}"):
            return to_tflite(exported) if form is ArtifactFormat.TFLITE else to_onnx(exported)

    def use(self, exported: ExportedNetwork) -> None:
        """Goes on with other weights for the same graph. The reference stays what it was: the trained network."""
        _ = self.reference
        weights = hashlib.sha256()
        for name, tensor in sorted(exported.graph.state_dict().items()):
            weights.update(name.encode() + tensor.detach().contiguous().numpy().tobytes())
        self.exported = exported
        self.network_key = [self.network_key, weights.hexdigest()]
        self._ranges.clear()
        self._models.clear()

    @cached_property
    def calibration(self) -> tuple[ByteArray, ...]:
        """Pixels of the calibration pictures."""
        paths = [picture.path for picture in self.job.calibration]
        with self.steps.step("reading calibration pictures", num=len(paths)) as tick:
            return tuple(picture.pixels for picture in see(paths, self.job.preprocess, tick=tick))

    @cached_property
    def validation(self) -> tuple[SeenPicture, ...]:
        """The validation pictures as the device feeds them."""
        paths = [picture.path for picture in self.job.validation]
        with self.steps.step("reading validation pictures", num=len(paths)) as tick:
            return tuple(see(paths, self.job.preprocess, tick=tick))

    @cached_property
    def reading(self) -> Reading:
        """How outputs become predictions."""
        stage = self.job.stage()
        files = load_stage_files(stage, self.files.__getitem__)
        return Reading(stage=stage, labels=self.job.labels, files=files)

    @cached_property
    def metric(self) -> str:
        """What drops are measured in."""
        return metric_of(self.job.limits, self.job.task)

    def ranges(self, recipe: QuantRecipe) -> Ranges | None:
        """Activation ranges for a recipe; None where it needs none. One pass over the pictures serves three kinds."""
        if recipe.scheme is not Scheme.STATIC_INT8:
            return None
        if (recipe.format, recipe.ranges) not in self._ranges:
            kinds = CUTTING if recipe.ranges in CUTTING else (recipe.ranges,)
            key = ["ranges", recipe.format, kinds, self.network_key, self._calibration_key]
            found = self.cache.value_of(key, _AllRanges, lambda: self._observed(recipe.format, kinds))
            for kind in kinds:
                self._ranges[recipe.format, kind] = found.by_kind[kind.value]
        return self._ranges[recipe.format, recipe.ranges]

    def _observed(self, form: ArtifactFormat, kinds: Sequence[CalibrationRange]) -> _AllRanges:
        from converters.onnx_graph import observe_onnx

        model, pixels = self.float_model(form), self.calibration
        watch = observe if form is ArtifactFormat.TFLITE else observe_onnx
        with self.steps.step("calibrating", num=len(pixels)) as tick:
            found = watch(model, pixels, kinds, tick=tick)
        return _AllRanges(by_kind={kind.value: dict(ranges) for kind, ranges in found.items()})

    @property
    def _calibration_key(self) -> object:
        return [self.job.preprocess, [picture.digest for picture in self.job.calibration]]

    def make(self, recipe: QuantRecipe) -> bytes:
        """The model that a recipe gives."""
        if recipe.scheme is Scheme.FLOAT32:
            return self.float_model(recipe.format)
        key = ["model", recipe, self.network_key, self._calibration_key]
        return self.cache.bytes_of(key, lambda: self._quantized(recipe))

    def _quantized(self, recipe: QuantRecipe) -> bytes:
        from converters.onnx_quantize import quantize_onnx

        model, ranges = self.float_model(recipe.format), self.ranges(recipe)
        if recipe.format is ArtifactFormat.ONNX:
            with self.steps.step(f"quantizing: {recipe.name}"):
                return quantize_onnx(model, recipe, ranges=ranges, float_layers=self.float_layers)
        sample = self.calibration[0]
        with self.steps.step(f"quantizing: {recipe.name}"):
            return quantize(model, recipe, ranges=ranges, sample=sample, float_layers=self.float_layers)

    def write(self, recipe: QuantRecipe, *, file: str = "") -> Artifact:
        """The model of a recipe as a file.

        Args:
            recipe: What to make.
            file: Its name; `<task>-<recipe>.<format>` by default.
        """
        data = self.make(recipe)
        path = self.folder / (file or f"{self.job.task.value}-{recipe.name}.{recipe.format.value}")
        durable.write_bytes(path, data, point="artifact")
        digest = hashlib.sha256(data).hexdigest()
        return Artifact(path=path, format=recipe.format, recipe=recipe, sha256=digest, size_bytes=len(data))

    @cached_property
    def reference(self) -> Artifact:
        """The float32 ONNX model: what all others are held against."""
        return self.write(ONNX_FLOAT32, file=f"{self.job.task.value}.onnx")

    @cached_property
    def reference_answers(self) -> Answers:
        """What the reference says about the validation pictures."""
        return self._asked(self.reference)

    def _asked(self, artifact: Artifact) -> Answers:
        pictures = self.validation
        with self.steps.step(f"proving: {artifact.recipe.name}", num=len(pictures)) as tick:
            return ask_file(artifact.path, artifact.format, pictures, self.reading, tick=tick)

    def reference_score(self) -> Estimate:
        """The metric of the reference, with its interval."""
        key = ["score", self._evidence_key]
        return self.cache.value_of(
            key,
            Estimate,
            lambda: score_of(tally(self.metric, self.reference_answers.predictions, self.job.validation)),
        )

    def layers(self, artifact: Artifact) -> tuple[LayerError, ...]:
        """Noise of every layer of a static int8 TFLite model."""
        float_model, pixels = self.float_model(ArtifactFormat.TFLITE), self.calibration
        key = ["layers", artifact.sha256, self.network_key, self._calibration_key]
        with self.steps.step("comparing layers"):
            found = self.cache.value_of(
                key,
                _Layers,
                lambda: _Layers(rows=layer_noise(float_model, artifact.path.read_bytes(), pixels)),
            )
        return found.rows

    def recorder(self, stage: StageSpec | None = None) -> Recorder:
        """Reads decisions off predictions."""
        return Recorder(
            stage=stage or self.job.stage(),
            labels=self.job.labels,
            policy=self.job.decision,
            files=self.reading.files,
        )

    def trial(self, recipe: QuantRecipe) -> Trial:
        """Makes, weighs and times the model of a recipe.

        Raises:
            EdgeloopError: The recipe cannot be applied to this network.
        """
        artifact = self.reference if recipe == ONNX_FLOAT32 else self.write(recipe)
        key = ["trial", recipe, artifact.sha256, self._evidence_key]
        tried = self.cache.value_of(key, _Tried, lambda: self._tried(artifact))
        return Trial(artifact=artifact, proof=tried.proof, answers=tried.answers, latency=tried.latency)

    @cached_property
    def _evidence_key(self) -> object:
        job = self.job
        return [
            self.reference.sha256,
            self.metric,
            job.stage(),
            job.labels,
            job.limits,
            job.decision,
            [truth_of(picture) for picture in job.validation],
            {name: hashlib.sha256(data).hexdigest() for name, data in sorted(self.files.items())},
            machine(),
        ]

    def _tried(self, artifact: Artifact) -> _Tried:
        found = self.reference_answers if artifact == self.reference else self._asked(artifact)
        proof = prove_artifact(
            artifact,
            reference=self.reference_answers,
            found=found,
            truths=self.job.validation,
            metric=self.metric,
            limits=self.job.limits,
        )
        recorder = self.recorder()
        answers = tuple(recorder.answer(prediction) for prediction in found.predictions)
        return _Tried(proof=proof, answers=answers, latency=latency(artifact, self.validation[0].pixels))

    def parity(self, form: ArtifactFormat) -> Parity:
        """How far a float32 file is from the trained network.

        Raises:
            EdgeloopError: Further than rounding explains.
        """
        artifact = self.reference if form is ArtifactFormat.ONNX else self.write(FLOAT32)
        key = ["parity", artifact.sha256, self._evidence_key]
        found = self.cache.value_of(key, Parity, lambda: self._compared(artifact))
        require_parity(found)
        return found

    def _compared(self, artifact: Artifact) -> Parity:
        pictures = self.validation[:RAW_PICTURES]
        with self.steps.step(f"comparing {artifact.format.value} with torch", num=2 * len(pictures)) as tick:
            wanted = ask(lambda pixels: torch_outputs(self.job.network, pixels), pictures, self.reading, tick=tick)
            found = ask_file(artifact.path, artifact.format, pictures, self.reading, tick=tick)
        return Parity(
            format=artifact.format,
            num_pictures=len(pictures),
            agreement=round(agreement(wanted.predictions, found.predictions), 6),
            errors=output_errors(wanted, found),
        )


def renamed(trial: Trial, file: str) -> Trial:
    """The trial with its model under another name, in the same folder."""
    path = trial.artifact.path.with_name(file)
    durable.write_bytes(path, trial.artifact.path.read_bytes(), point="artifact")
    return replace(
        trial,
        artifact=replace(trial.artifact, path=path),
        proof=replace(trial.proof, file=file),
        latency=replace(trial.latency, file=file),
    )
