"""Runs in the environment of ultralytics: `predict(path)` of a model file, as its users call it.

python -m benchmarks.peer.ultralytics_predict MODEL classify|detect SIZE THREADS

Its answers on a classifier of ours mean nothing, since it feeds 0 to 1 where the model takes 0 to 255; the time does.
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.worker import serve
from model_zoo.common.torchvision_native import prepare

prepare()  # a CPU build of torch beside a torchvision that was built for CUDA

from ultralytics import YOLO  # noqa: E402


def limit_threads(threads: int) -> None:
    """Holds every runtime that ultralytics may use to so many threads, which it has no option for."""
    import onnxruntime
    import torch
    from ultralytics.nn.backends import litert

    def session(model: str, options: object = None, **others: object) -> onnxruntime.InferenceSession:
        options = options or onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        return _session(model, options, **others)

    _session, onnxruntime.InferenceSession = onnxruntime.InferenceSession, session
    torch.set_num_threads(threads)
    litert.NUM_THREADS = threads


def main(model: str, task: str, size: int, threads: int) -> None:
    """Answers with the best class, or the number of boxes."""
    limit_threads(threads)
    yolo = YOLO(model, task=task)

    def answer(path: Path, _: bytes) -> str:
        result = yolo.predict(str(path), imgsz=size, verbose=False, device="cpu")[0]
        return str(result.probs.top1 if task == "classify" else len(result.boxes))

    serve(answer)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
