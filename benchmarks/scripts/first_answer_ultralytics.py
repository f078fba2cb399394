"""The same by ultralytics, in its environment: MODEL PHOTO REPOSITORY."""

import sys

sys.path.append(sys.argv[3])

from model_zoo.common.torchvision_native import prepare

prepare()  # a CPU build of torch beside a torchvision that was built for CUDA

from ultralytics import YOLO  # noqa: E402

result = YOLO(sys.argv[1], task="classify").predict(sys.argv[2], imgsz=224, verbose=False, device="cpu")[0]
print("answer", result.probs.top1, flush=True)
