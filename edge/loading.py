"""The models of a bundle in this process: loaded when first needed, shared by everyone who asks for the same."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.backends.base import InferenceBackend, RuntimeOptions
from edge.backends.pool import BackendPool
from edge.backends.select import choose_artifact, open_backend
from edge.bundle.manifest import ArtifactFormat, ArtifactSpec, StageSpec
from edge.bundle.reader import Bundle
from edge.errors import BackendError
from edge.postprocess.select import StageFiles, load_stage_files

Content = Callable[[], bytes] | None
OpenBackend = Callable[[Path, ArtifactFormat, RuntimeOptions, Content], InferenceBackend]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageChoice:
    """How one stage is run here.

    Attributes:
        artifact: Which of its model files.
        options: Threads and delegate of the runtime.
        workers: How many copies of the model answer side by side, at least 1.
    """

    artifact: ArtifactSpec
    options: RuntimeOptions
    workers: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedStage:
    """One stage, ready to answer.

    Attributes:
        spec: What the manifest says of it.
        artifact: The model file that runs.
        labels: Its class names.
        files: What its postprocessing reads.
        pool: The model, in as many copies as were chosen.
    """

    spec: StageSpec
    artifact: ArtifactSpec
    labels: tuple[str, ...]
    files: StageFiles
    pool: BackendPool


class LoadedModels:
    """The models of one bundle, by one choice for each stage.

    Args:
        bundle: An open bundle.
        choices: One for each stage, in order.
        opener: Opens a model file; another one in tests of broken runtimes.
    """

    def __init__(self, bundle: Bundle, choices: tuple[StageChoice, ...], *, opener: OpenBackend | None = None) -> None:
        self._bundle = bundle
        self._choices = choices
        self._opener = opener or _open
        self._lock = threading.Lock()
        self._stages: tuple[LoadedStage, ...] | None = None
        self._closed = False

    def stages(self) -> tuple[LoadedStage, ...]:
        """Every stage, loaded and checked against the manifest by one run on zeros.

        Raises:
            BackendError: A model is damaged or not the manifest's, or `close` was called; names the file.
            FormatError: A gallery or lexicon is damaged.
            MissingExtraError: A runtime is not installed.
        """
        with self._lock:
            if self._closed:
                raise BackendError(f"{self._choices[0].artifact.file}: the engine is closed")
            if self._stages is None:
                self._stages = self._load()
            return self._stages

    def close(self) -> None:
        """Frees the models; calling it twice is harmless."""
        with self._lock:
            stages, self._stages, self._closed = self._stages, None, True
        for stage in stages or ():
            stage.pool.close()

    def _load(self) -> tuple[LoadedStage, ...]:
        loaded: list[LoadedStage] = []
        try:
            for spec, choice in zip(self._bundle.manifest.stages, self._choices, strict=True):
                loaded.append(self._load_stage(spec, choice))
        except BaseException:
            for stage in loaded:
                stage.pool.close()
            raise
        return tuple(loaded)

    def _load_stage(self, spec: StageSpec, choice: StageChoice) -> LoadedStage:
        path = self._bundle.path(choice.artifact.file)
        files = load_stage_files(spec, self._bundle.read)
        content = _shared_content(self._bundle, choice.artifact)

        def open_one() -> InferenceBackend:
            return self._opener(path, choice.artifact.format, choice.options, content)

        pool = BackendPool(open_one, size=choice.workers)
        try:
            check_model(pool, spec, choice.artifact)
        except BaseException:
            pool.close()
            raise
        return LoadedStage(
            spec=spec,
            artifact=choice.artifact,
            labels=self._bundle.manifest.labels_of(spec),
            files=files,
            pool=pool,
        )


# The folder too: further copies of a model are read from it later, and another folder may outlive it.
_Key = tuple[str, Path, tuple[StageChoice, ...]]


class SharedModels:
    """Hands out `LoadedModels`, one for each bundle and choice, and closes each with its last user."""

    def __init__(self) -> None:
        # An engine that nobody closed is given back by the garbage collector, in the middle of anything.
        self._lock = threading.RLock()
        self._users: dict[_Key, tuple[LoadedModels, int]] = {}

    def take(self, bundle: Bundle, choices: tuple[StageChoice, ...]) -> LoadedModels:
        """The models of a bundle; every `take` wants one `give_back`."""
        key = (bundle.digest, bundle.folder.absolute(), choices)
        with self._lock:
            models, users = self._users.get(key) or (LoadedModels(bundle, choices), 0)
            self._users[key] = (models, users + 1)
            return models

    def give_back(self, models: LoadedModels) -> None:
        """One user less; the last one closes the models."""
        with self._lock:
            key = next((key for key, (known, _) in self._users.items() if known is models), None)
            if key is not None:
                users = self._users[key][1] - 1
                if users:
                    self._users[key] = (models, users)
                    return
                del self._users[key]
        models.close()


def choose_artifacts(stages: Sequence[StageSpec], *, wanted: str | None) -> tuple[ArtifactSpec, ...]:
    """Picks the model file of every stage.

    Args:
        stages: Of a bundle.
        wanted: A format, for all stages; or a file name, for the stage that has it; None for each stage's first choice
            whose runtime is installed.

    Raises:
        UsageError: No artifact is called `wanted`.
        MissingExtraError: No runtime for one is installed.
    """
    of_one = {artifact.file for stage in stages for artifact in stage.artifacts} & {wanted}

    def of_stage(stage: StageSpec) -> str | None:
        is_elsewhere = of_one and wanted not in [artifact.file for artifact in stage.artifacts]
        return None if is_elsewhere else wanted

    return tuple(choose_artifact(stage, wanted=of_stage(stage)) for stage in stages)


def files_of(stages: Sequence[StageSpec], choices: Sequence[StageChoice]) -> frozenset[str]:
    """Every file of a bundle that an engine reads: the chosen models, galleries, lexicons."""
    names = {choice.artifact.file for choice in choices}
    for stage in stages:
        names.update(stage.match.gallery if stage.match is not None else ())
        names.update((stage.text.lexicon,) if stage.text is not None else ())
    return frozenset(names)


def check_model(backend: InferenceBackend, stage: StageSpec, artifact: ArtifactSpec) -> None:
    """Runs a model once on zeros and compares its input and outputs with the manifest.

    Raises:
        BackendError: A shape, name or type differs; names the file and the layer.
    """
    import numpy as np

    expected = stage.preprocess.input_shape
    if backend.input_shape != expected:
        raise BackendError(
            f"{artifact.file}: input has shape {list(backend.input_shape)}, the manifest says {list(expected)}"
        )
    if backend.input_dtype != stage.preprocess.dtype.value:
        raise BackendError(
            f"{artifact.file}: input is {backend.input_dtype}, the manifest says {stage.preprocess.dtype.value}"
        )
    outputs = backend.run(np.zeros(expected, dtype=backend.input_dtype)).by_name
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


def _shared_content(bundle: Bundle, artifact: ArtifactSpec) -> Content:
    """What opens an encrypted model: LiteRT's copies share the bytes, as they share the pages of a plain file.

    ONNX Runtime copies what it is given and shares sessions, so there nothing is kept.
    """
    opener = bundle.opener(artifact.file)
    return functools.cache(opener) if opener is not None and artifact.format is ArtifactFormat.TFLITE else opener


def _open(
    path: Path,
    format: ArtifactFormat,  # noqa: A002
    options: RuntimeOptions,
    content: Content,
) -> InferenceBackend:
    return open_backend(path, format, options=options, content=content)
