"""One bundle that answers for pictures: preprocess, backend, postprocess, decide, and nothing else."""

from __future__ import annotations

import hashlib
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from edge.backends.base import RuntimeOptions
from edge.backends.pool import num_processors
from edge.bundle.manifest import ArtifactSpec, StageInput, StageSpec, Verdict
from edge.bundle.reader import Bundle, check_digests, open_bundle
from edge.errors import BackendError, BundleError, UsageError
from edge.image.crops import cut_whole
from edge.image.decode import DEFAULT_LIMITS, DecodeLimits, read_picture
from edge.image.heavy import turn_for
from edge.image.picture import Picture, open_picture
from edge.loading import LoadedModels, LoadedStage, SharedModels, StageChoice, choose_artifacts, files_of
from edge.pipeline import run_stages
from edge.preprocess import preprocess
from edge.types import Inference, RawOutputs

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

    from edge.types import ByteArray, Image

# Every engine of a process runs the same copies of the same models.
_MODELS = SharedModels()
_MOST_WORKERS = 4
_THREADS = "edgeloop-engine"


class Engine:
    """A bundle that answers. Thread-safe: pictures are decoded side by side, each copy of a network runs one at a time.

    The models are loaded with the first picture, or by `load`. Use `open_engine` to make one, `with` or `close` to
    free it.

    Attributes:
        bundle: What it runs.
        artifacts: The model file of each stage.
    """

    def __init__(
        self,
        bundle: Bundle,
        models: LoadedModels,
        artifacts: tuple[ArtifactSpec, ...],
        *,
        release: Callable[[LoadedModels], None] = LoadedModels.close,
        limits: DecodeLimits = DEFAULT_LIMITS,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.bundle = bundle
        self.artifacts = artifacts
        self._models = models
        # Whoever forgets to close an engine must not keep its models for ever.
        self._release = weakref.finalize(self, release, models)
        self._release.atexit = False
        self._limits = limits
        self._clock = clock
        self._lock = threading.Lock()
        self._threads: ThreadPoolExecutor | None = None
        self._closed = False

    @property
    def artifact(self) -> ArtifactSpec:
        """The model file of the last stage, which is the only one of most bundles."""
        return self.artifacts[-1]

    def load(self) -> Engine:
        """Loads the models now, so that the first picture meets warm ones and a damaged model is known at once.

        Raises:
            MissingExtraError: No runtime for a model is installed.
            BackendError: A model is damaged, or its shapes are not the manifest's; names the file and the layer.
            FormatError: A gallery or lexicon is damaged.
        """
        self._require_open()
        self._models.stages()
        return self

    def infer(self, image: Image, *, top_k: int | None = None) -> Inference:
        """Says what is in one picture and what to do about it.

        Args:
            image: Encoded JPEG, PNG or WebP bytes, a path to such a file, or uint8 (H, W, 3) RGB or (H, W) grey.
            top_k: How many classes to name; None for five, or what the bundle says.

        Raises:
            ImageError: The picture cannot be used; the engine stands ready for the next.
            UsageError: `top_k` is below 1.
            BackendError: The runtime failed, or the engine is closed. The first picture also raises as `load` does.
        """
        if top_k is not None and not (isinstance(top_k, int) and top_k >= 1):
            raise UsageError(f"top_k must be a whole number of at least 1, found {top_k!r}")
        self._require_open()
        stages = self._models.stages()
        start = self._clock()
        name, data = _read(image, self._limits)
        picture = open_picture(data, limits=self._limits, name=name)
        policy = self.bundle.manifest.decision
        with turn_for(picture, _room(stages, picture), self._limits):
            answer = run_stages(stages, picture, policy, clock=self._clock, start=start, top_k=top_k)
        return Inference(
            prediction=answer.prediction,
            decision=answer.decision,
            timings=answer.timings,
            bundle_digest=self.bundle.digest,
            artifact="+".join(artifact.file for artifact in self.artifacts),
            picture_digest=hashlib.sha256(data if isinstance(data, bytes) else data.tobytes()).hexdigest(),
        )

    def infer_batch(self, images: Iterable[Image], *, top_k: int | None = None) -> list[Inference]:
        """Answers for many pictures, decoding them side by side; the answers come in the pictures' order.

        Raises:
            ImageError: A picture cannot be used: the first one of them. Use `infer` where one bad picture must not
                cost the others.
            BackendError: As `infer`.
        """
        waiting: deque[Future[Inference]] = deque()
        answers: list[Inference] = []
        self._executor()
        try:
            for image in images:
                waiting.append(self._submit(image, top_k))
                if len(waiting) > 2 * num_processors():  # no further ahead, so that the pictures are not all in memory
                    answers.append(waiting.popleft().result())
            while waiting:
                answers.append(waiting.popleft().result())
        finally:
            for future in waiting:
                future.cancel()
        return answers

    async def ainfer(self, image: Image, *, top_k: int | None = None) -> Inference:
        """`infer` for asyncio: the loop goes on while a thread of the engine works; raises as `infer` does."""
        import asyncio

        return await asyncio.wrap_future(self._submit(image, top_k))

    def gallery_labels(self) -> dict[str, tuple[str, ...]]:
        """Classes of the gallery of each stage that has one, by the stage's name; loads the models."""
        self._require_open()
        stages = self._models.stages()
        return {stage.spec.name: stage.files.gallery.labels for stage in stages if stage.files.gallery is not None}

    def raw(self, image: Image) -> RawOutputs:
        """What the first network says about one picture, untouched; raises as `infer` does."""
        self._require_open()
        stage = self._models.stages()[0]
        name, data = _read(image, self._limits)
        return stage.pool.run(preprocess(data, stage.spec.preprocess, limits=self._limits, name=name).tensor)

    def close(self) -> None:
        """Ends the engine's own threads and frees the models; calling it twice is harmless.

        A batch at work is finished. A picture that another thread has given to `infer` may be answered or end in
        BackendError.
        """
        with self._lock:
            self._closed = True
            threads, self._threads = self._threads, None
        try:
            if threads is not None:
                threads.shutdown(wait=threading.current_thread().name.partition("_")[0] != _THREADS)
        finally:
            self._release()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _require_open(self) -> None:
        if self._closed:
            raise BackendError(f"{self.artifact.file}: the engine is closed")

    def _submit(self, image: Image, top_k: int | None) -> Future[Inference]:
        executor = self._executor()
        try:
            return executor.submit(self.infer, image, top_k=top_k)
        except RuntimeError as cause:  # closed since
            raise BackendError(f"{self.artifact.file}: the engine is closed") from cause

    def _executor(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._closed:
                raise BackendError(f"{self.artifact.file}: the engine is closed")
            if self._threads is None:
                from concurrent.futures import ThreadPoolExecutor

                self._threads = ThreadPoolExecutor(num_processors(), thread_name_prefix=_THREADS)
            return self._threads


def open_engine(
    bundle: Path | str | Bundle,
    *,
    artifact: str | None = None,
    threads: int | None = None,
    workers: int | None = None,
    choices: Sequence[StageChoice] | None = None,
    allow_unproven: bool = False,
    limits: DecodeLimits = DEFAULT_LIMITS,
    clock: Callable[[], float] = time.perf_counter,
) -> Engine:
    """Opens a bundle and checks every file of it that will be read; the models are loaded with the first picture.

    Engines of the same bundle, run the same way, share their models: opening a second one costs no memory.

    Args:
        bundle: A bundle folder, or one that is open already.
        artifact: File name or format (`tflite`, `onnx`) of the model to run; None for the bundle's first choice whose
            runtime is installed.
        threads: Processor threads of the runtime for a stage that reads the picture; None for 1.
        workers: How many copies of a network answer side by side, each on one thread, for a stage that reads crops;
            None for one a processor, at most 4.
        choices: What `edgeloop device tune` has found, one for each stage, in place of the three above.
        allow_unproven: Run a bundle without a passed proof all the same.
        limits: What a picture may cost.
        clock: Seconds, for the timings.

    Raises:
        BundleError: The bundle is damaged, or unproven.
        UsageError: No such artifact, fewer than one thread or worker, or not one choice for each stage.
        MissingExtraError: No runtime for it is installed.
    """
    opened = bundle if isinstance(bundle, Bundle) else open_bundle(Path(bundle), digests=False)
    _require_proof(opened, allow_unproven)
    if min(1 if threads is None else threads, 1 if workers is None else workers) < 1:
        raise UsageError(f"threads and workers must be at least 1, found {threads} and {workers}")
    chosen = tuple(choices or _default_choices(opened.manifest.stages, artifact, threads, workers))
    if len(chosen) != len(opened.manifest.stages):
        raise UsageError(f"{len(chosen)} choices for {len(opened.manifest.stages)} stages")
    if not isinstance(bundle, Bundle):
        check_digests(opened, files_of(opened.manifest.stages, chosen))
    return Engine(
        opened,
        _MODELS.take(opened, chosen),
        tuple(choice.artifact for choice in chosen),
        release=_MODELS.give_back,
        limits=limits,
        clock=clock,
    )


def _default_choices(
    stages: Sequence[StageSpec], artifact: str | None, threads: int | None, workers: int | None
) -> list[StageChoice]:
    chosen = choose_artifacts(stages, wanted=artifact)
    return [_default_choice(stage, spec, threads, workers) for stage, spec in zip(stages, chosen, strict=True)]


def _default_choice(stage: StageSpec, spec: ArtifactSpec, threads: int | None, workers: int | None) -> StageChoice:
    if stage.reads is StageInput.CROPS:
        return StageChoice(
            artifact=spec, options=RuntimeOptions(threads=1), workers=workers or min(_MOST_WORKERS, num_processors())
        )
    return StageChoice(artifact=spec, options=RuntimeOptions(threads=threads or 1))


def _read(image: Image, limits: DecodeLimits) -> tuple[str, bytes | ByteArray]:
    """Name for errors, and the encoded bytes or the array."""
    if isinstance(image, (str, Path)):
        return str(image), read_picture(Path(image), limits=limits)
    return "", image


def _room(stages: Sequence[LoadedStage], picture: Picture) -> float:
    """How coarsely the picture may be decoded at most: crops may want it whole."""
    return 1.0 if len(stages) > 1 else cut_whole(picture.size, stages[0].spec.preprocess).room


def _require_proof(bundle: Bundle, allow_unproven: bool) -> None:
    verdict = bundle.manifest.proof.verdict
    if verdict in (Verdict.PASS, Verdict.UNDECIDED) or allow_unproven:
        return
    raise BundleError(
        f"{bundle.folder}: bundle {bundle.manifest.name!r} is not proven (verdict {verdict.value})",
        hint="prove it, or pass --allow-unproven",
    )
