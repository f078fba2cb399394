"""Runs a model in a process of its own, because a runtime that does not fit the processor ends the process it is in.

    python -m edge.doctor.child probe FORMAT DELEGATE
    python -m edge.doctor.child bundle HOME ARTIFACT

Prints one line of JSON: `{"ok": …, "detail": …, "fix": …}`.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edge.backends.base import RuntimeOptions
from edge.backends.select import open_backend
from edge.bundle.golden_reader import load_golden
from edge.bundle.manifest import ArtifactFormat
from edge.bundle.reader import Bundle, open_bundle
from edge.doctor.probe_models import PROBES, SIZE
from edge.errors import BackendError, EdgeloopError
from edge.home import DeviceHome
from edge.loading import StageChoice, check_model, choose_artifacts
from edge.tune.recall import recall
from edge.update.selftest import check_golden
from edge.update.slots import Slots

if TYPE_CHECKING:
    from edge.types import InputArray

_TOLERANCE = 1e-3
_NUM_TIMED = 5


def main(words: Sequence[str]) -> int:
    """Does what the words ask and prints the answer.

    Returns:
        0; what went wrong is in the answer.
    """
    try:
        match words:
            case ["probe", format_, delegate]:
                detail = run_probe(ArtifactFormat(format_), delegate)
            case ["bundle", home, artifact]:
                detail = run_bundle(Path(home), artifact)
            case _:
                raise ValueError(f"no such work: {' '.join(words)}")
        answer: dict[str, object] = {"ok": True, "detail": detail, "fix": ""}
    except EdgeloopError as error:
        answer = {"ok": False, "detail": error.message, "fix": error.hint}
    print(json.dumps(answer))
    return 0


def run_probe(format_: ArtifactFormat, delegate: str) -> str:
    """Runs the model of two convolutions that travels with edgeloop.

    Returns:
        What to tell.

    Raises:
        EdgeloopError: It cannot be opened, fails, or gives other numbers than everywhere else.
    """
    import numpy as np

    probe = PROBES[format_]
    rising = np.arange(SIZE * SIZE * 3, dtype=np.float32).reshape(1, SIZE, SIZE, 3) % 256
    with tempfile.TemporaryDirectory(prefix="edgeloop-") as folder:
        path = Path(folder) / f"probe.{format_.value}"
        path.write_bytes(probe.model)
        backend = open_backend(path, format_, options=RuntimeOptions(delegate=delegate))
        found = next(iter(backend.run(rising).by_name.values())).reshape(-1)
        name = backend.name
        backend.close()
    if found.shape != (len(probe.expected),) or not np.allclose(found, probe.expected, atol=_TOLERANCE):
        raise BackendError(f"it computes {found.round(4).tolist()}, right is {list(probe.expected)}")
    return f"{name} computes rightly"


def run_bundle(home: Path, artifact: str) -> str:
    """Runs the golden vectors of the active bundle, as the agent would run it.

    Returns:
        What to tell.

    Raises:
        EdgeloopError: A model is damaged, or does not give its golden outputs here.
    """
    slots = Slots(home)
    bundle = open_bundle(slots.folder(slots.state.active))
    golden = load_golden(bundle) if bundle.manifest.golden_file else None
    told = []
    for stage, choice in zip(bundle.manifest.stages, _choices(home, bundle, artifact), strict=True):
        file = choice.artifact.file
        backend = open_backend(
            bundle.path(file), choice.artifact.format, options=choice.options, content=bundle.opener(file)
        )
        try:
            check_model(backend, stage, choice.artifact)
            if golden is not None:
                check_golden(bundle, choice.artifact, backend, golden)
            zeros = _zeros(backend.input_shape, backend.input_dtype)
            began = time.perf_counter()
            for _ in range(_NUM_TIMED):
                backend.run(zeros)
            milliseconds = (time.perf_counter() - began) * 1000 / _NUM_TIMED
        finally:
            backend.close()
        told.append(f"{choice.artifact.file} with {choice.options.delegate} in {milliseconds:.2f} ms")
    judged = "they pass" if golden is not None else "there are none, but it runs"
    return f"{judged}: {', '.join(told)}"


def _choices(home: Path, bundle: Bundle, artifact: str) -> tuple[StageChoice, ...]:
    tuned = None if artifact else recall(DeviceHome(folder=home).tuning, bundle)
    if tuned is not None:
        return tuned
    chosen = choose_artifacts(bundle.manifest.stages, wanted=artifact or None)
    return tuple(StageChoice(artifact=one, options=RuntimeOptions()) for one in chosen)


def _zeros(shape: tuple[int, ...], dtype: str) -> InputArray:
    import numpy as np

    return np.zeros(shape, dtype=dtype)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
