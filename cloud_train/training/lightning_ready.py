"""Lightning, for everyone here to import from: it imports torchvision, which must be made importable first."""

from model_zoo.common.torchvision_native import prepare

prepare()

import lightning  # noqa: E402
from lightning.pytorch.callbacks import Callback, EarlyStopping  # noqa: E402

__all__ = ["Callback", "EarlyStopping", "lightning"]
