"""edgeloop on the device: recognises things in pictures, offline, and keeps what it was unsure of.

A tour, in the order a picture takes:

    source      `edge.sources`: frames of a folder, a video or a camera that comes and goes; still scenes are skipped.
    bundle      a folder: models in one or two formats, golden vectors, the proof, and `manifest.json` which says how to
                run them. `edge.bundle.reader.open_bundle` checks every digest; `edge.bundle.archive` packs one file.
    preprocess  `edge.preprocess` over `edge.image`: encoded bytes or an array, whole or in crops -> the model's input,
                for our own models float32 (1, height, width, 3), 0 to 255. The same code serves training, calibration
                and proof, so that they cannot drift apart.
    backend     `edge.backends`: one file for each runtime (LiteRT, onnxruntime), imported when a model is opened; pools
                of it for crops. `edge.tune` finds out which way to run a bundle is fastest here, and right.
    postprocess `edge.postprocess`: one file for each kind of output: classes, boxes, matches with a gallery, text.
    pipeline    `edge.pipeline`: detect, then read every crop, then count.
    decide      `edge.decide`: ACCEPT, CONFIRM (ask the person) or UNKNOWN, by the bundle's thresholds.
    keep        `edge.keep`: is this picture worth a second look, within budgets, and may anybody see it?
    outbox      `edge.outbox`: the durable queue (SQLite) of what is kept; bounded, and it survives its own damage.
    sync        `edge.sync`: offers digests, sends what is missing, deletes after the receipt.
    update      `edge.update`: signed releases, two slots, a self-test on the golden vectors, and the way back.

`edge.engine.Engine` composes bundle to decide and `edge.agent` all of them, with `edge.kiosk` for a screen beside the
camera; `edge.doctor` says what works on a device, `edge.install` makes a service of it; `edge.types` holds the values
that travel between the steps, `edge.errors` what can go wrong; `edge.durable` alone writes files that must survive.

    import edge

    with edge.open_engine(Path("bundle")) as engine:
        inference = engine.infer(Path("picture.jpg"))
        print(inference.prediction.headline.label, inference.decision.outcome)

Importing this package loads the standard library only; each name below loads its module when it is first used. numpy
and Pillow come with the first picture, a runtime with the first model.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from edge.bundle.archive import pack, unpack
    from edge.bundle.reader import Bundle, open_bundle
    from edge.engine import Engine, open_engine
    from edge.errors import EdgeloopError
    from edge.keep.policy import judge
    from edge.types import Classification, Counts, Decision, Detections, Inference, Matches, Outcome
    from edge.update.selftest import self_test

# No name here may be that of a submodule: which of the two `edge.<name>` meant would hang on the order of imports.
_HOMES = {
    "Bundle": "edge.bundle.reader",
    "Classification": "edge.types",
    "Counts": "edge.types",
    "Decision": "edge.types",
    "Detections": "edge.types",
    "EdgeloopError": "edge.errors",
    "Engine": "edge.engine",
    "Inference": "edge.types",
    "Matches": "edge.types",
    "Outcome": "edge.types",
    "judge": "edge.keep.policy",
    "open_bundle": "edge.bundle.reader",
    "open_engine": "edge.engine",
    "pack": "edge.bundle.archive",
    "self_test": "edge.update.selftest",
    "unpack": "edge.bundle.archive",
}

__all__ = [
    "Bundle",
    "Classification",
    "Counts",
    "Decision",
    "Detections",
    "EdgeloopError",
    "Engine",
    "Inference",
    "Matches",
    "Outcome",
    "__version__",
    "judge",
    "open_bundle",
    "open_engine",
    "pack",
    "self_test",
    "unpack",
]


def __getattr__(name: str) -> object:
    """Loads a public name when it is first used (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'edge' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, loaded or not."""
    return sorted({*globals(), *__all__})
