"""One loaded bundle that answers for pictures: preprocess, backend, postprocess, decide, and nothing else."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from edge.backends.base import InferenceBackend
from edge.backends.select import choose_artifact, open_backend
from edge.bundle.manifest import ArtifactSpec, StageSpec, Verdict
from edge.bundle.reader import Bundle, open_bundle
from edge.decide import decide
from edge.decode import DEFAULT_LIMITS, DecodeLimits, read_picture
from edge.errors import BackendError, BundleError
from edge.postprocess.select import postprocess
from edge.preprocess import preprocess
from edge.types import Inference, ModelInput, RawOutputs, Timings

if TYPE_CHECKING:
    from edge.types import Image


class Engine:
    """A loaded bundle. Thread-safe: pictures are decoded side by side, the network runs one at a time.

    Use `open_engine` to make one, `with` or `close` to free it.

    Attributes:
        bundle: What it runs.
        artifact: The model file it runs.
    """

    def __init__(
        self,
        bundle: Bundle,
        artifact: ArtifactSpec,
        backend: InferenceBackend,
        *,
        limits: DecodeLimits = DEFAULT_LIMITS,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.bundle = bundle
        self.artifact = artifact
        self._backend = backend
        self._stage = bundle.manifest.stages[-1]
        self._limits = limits
        self._clock = clock
        self._lock = threading.Lock()

    def infer(self, image: Image) -> Inference:
        """Says what is in one picture and what to do about it.

        Args:
            image: Encoded JPEG, PNG or WebP bytes, a path to such a file, or uint8 (H, W, 3) RGB or (H, W) grey.

        Raises:
            ImageError: The picture cannot be used; the engine stands ready for the next.
            BackendError: The runtime failed, or the engine is closed.
        """
        start = self._clock()
        model_input, digest = self._prepare(image)
        prepared = self._clock()
        raw = self._run(model_input)
        ran = self._clock()
        try:
            prediction = postprocess(raw, self.bundle.manifest)
        except BackendError as cause:
            raise BackendError(f"{self.artifact.file}: {cause.message}") from cause
        decision = decide(prediction, self.bundle.manifest.decision)
        end = self._clock()
        return Inference(
            prediction=prediction,
            decision=decision,
            timings=Timings(
                preprocess_ms=(prepared - start) * 1000,
                infer_ms=(ran - prepared) * 1000,
                postprocess_ms=(end - ran) * 1000,
            ),
            bundle_digest=self.bundle.digest,
            artifact=self.artifact.file,
            picture_digest=digest,
        )

    def raw(self, image: Image) -> RawOutputs:
        """What the network says about one picture, untouched; raises as `infer` does."""
        return self._run(self._prepare(image)[0])

    def close(self) -> None:
        """Frees the model; calling it twice is harmless."""
        with self._lock:
            self._backend.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _prepare(self, image: Image) -> tuple[ModelInput, str]:
        name = str(image) if isinstance(image, Path) else ""
        data = read_picture(image, limits=self._limits) if isinstance(image, Path) else image
        model_input = preprocess(data, self._stage.preprocess, limits=self._limits, name=name)
        digest = hashlib.sha256(data if isinstance(data, bytes) else data.tobytes()).hexdigest()
        return model_input, digest

    def _run(self, model_input: ModelInput) -> RawOutputs:
        with self._lock:
            return self._backend.run(model_input.tensor)


def open_engine(
    bundle: Path | Bundle,
    *,
    artifact: str | None = None,
    threads: int = 1,
    allow_unproven: bool = False,
    limits: DecodeLimits = DEFAULT_LIMITS,
    clock: Callable[[], float] = time.perf_counter,
) -> Engine:
    """Loads a bundle and runs its network once, so that the first picture meets a warm one.

    Args:
        bundle: A bundle folder, or one that is open already.
        artifact: File name or format (`tflite`, `onnx`) of the model to run; None for the bundle's first choice whose
            runtime is installed.
        threads: Processor threads of the runtime.
        allow_unproven: Run a bundle without a passed proof all the same.
        limits: What a picture may cost.
        clock: Seconds, for the timings.

    Raises:
        BundleError: The bundle is damaged, or unproven.
        UsageError: No such artifact.
        MissingExtraError: No runtime for it is installed.
        BackendError: The model is damaged, or its shapes are not the manifest's; names the file and the layer.
    """
    opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
    _require_proof(opened, allow_unproven)
    stage = opened.manifest.stages[-1]
    spec = choose_artifact(stage, wanted=artifact)
    backend = open_backend(opened.path(spec.file), spec.format, threads=threads)
    try:
        check_model(backend, stage, spec)
    except BackendError:
        backend.close()
        raise
    return Engine(opened, spec, backend, limits=limits, clock=clock)


def check_model(backend: InferenceBackend, stage: StageSpec, artifact: ArtifactSpec) -> None:
    """Runs a model once on black and compares its input and outputs with the manifest.

    Raises:
        BackendError: A shape, name or type differs; names the file and the layer.
    """
    import numpy as np

    expected = (1, stage.preprocess.height, stage.preprocess.width, 3)
    if backend.input_shape != expected:
        raise BackendError(
            f"{artifact.file}: input has shape {list(backend.input_shape)}, the manifest says {list(expected)}"
        )
    outputs = backend.run(np.zeros(expected, dtype=np.float32)).by_name
    for spec in stage.outputs:
        array = outputs.get(spec.name)
        if array is None:
            known = ", ".join(sorted(outputs)) or "none"
            raise BackendError(f"{artifact.file}: output {spec.name!r} is missing, the model gives {known}")
        if array.shape != spec.shape or array.dtype != np.float32:
            raise BackendError(
                f"{artifact.file}: output {spec.name!r} is {array.dtype} {list(array.shape)}, "
                f"the manifest says float32 {list(spec.shape)}"
            )


def _require_proof(bundle: Bundle, allow_unproven: bool) -> None:
    verdict = bundle.manifest.proof.verdict
    if verdict in (Verdict.PASS, Verdict.UNDECIDED) or allow_unproven:
        return
    raise BundleError(
        f"{bundle.folder}: bundle {bundle.manifest.name!r} is not proven (verdict {verdict.value})",
        hint="prove it, or pass --allow-unproven",
    )
