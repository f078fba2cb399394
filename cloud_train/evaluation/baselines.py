"""What a data set gives away without a network: the commonest class, and colours alone.

A model that does not clearly beat the second one may have learned a shortcut (the light, the table, the camera).
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

from cloud_train.store.blobs import BlobStore
from cloud_train.types import SnapshotItem
from edge.bundle.manifest import PreprocessSpec
from edge.errors import MissingExtraError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edge.types import ByteArray

    FloatRows: TypeAlias = npt.NDArray[np.float32]

BINS = 8
MAX_TRAINING_PICTURES = 4000


def majority_accuracy(train: Sequence[SnapshotItem], test: Sequence[SnapshotItem]) -> float:
    """Accuracy of always naming the commonest training class, in points.

    Args:
        train: Where the commonest class is counted; the first by name of equally common ones.
        test: Where it is named.
    """
    if not train or not test:
        return 0.0
    counts = Counter(item.label for item in train)
    commonest = min(counts, key=lambda label: (-counts[label], label))
    return 100 * sum(item.label == commonest for item in test) / len(test)


def histogram_accuracy(
    train: Sequence[SnapshotItem], test: Sequence[SnapshotItem], blobs: BlobStore, spec: PreprocessSpec
) -> float:
    """Accuracy of a logistic regression on colour histograms, in points.

    Args:
        train: What it is fitted on; of more than 4,000 pictures the first ones by digest.
        test: What it is judged by.
        blobs: Holds the pictures.
        spec: The pixels are those of the model's own preprocessing.
    """
    fitted_on = sorted(train, key=lambda item: item.digest)[:MAX_TRAINING_PICTURES]
    if not test or len({item.label for item in fitted_on}) < 2:
        return majority_accuracy(train, test)
    try:
        from sklearn.linear_model import LogisticRegression
    except ModuleNotFoundError as cause:
        raise MissingExtraError("scikit-learn", "train") from cause
    model = LogisticRegression(C=30.0, max_iter=200)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # not converged is good enough for a baseline
        model.fit(_histograms(fitted_on, blobs, spec), [item.label for item in fitted_on])
    said = model.predict(_histograms(test, blobs, spec))
    right = sum(bool(label == item.label) for label, item in zip(said, test, strict=True))
    return 100 * right / len(test)


def colour_histogram(pixels: ByteArray) -> FloatRows:
    """Square roots of the shares of 8 x 8 x 8 colours.

    Args:
        pixels: uint8 (height, width, 3), RGB.

    Returns:
        float32 (512,); its squares add up to 1.
    """
    import numpy as np

    cells = (pixels >> 5).reshape(-1, 3).astype(np.int64) @ np.array((BINS * BINS, BINS, 1))
    shares = np.bincount(cells, minlength=BINS**3) / len(cells)
    return np.sqrt(shares).astype(np.float32)


def _histograms(items: Sequence[SnapshotItem], blobs: BlobStore, spec: PreprocessSpec) -> FloatRows:
    import numpy as np

    return np.stack(list(_each_histogram(items, blobs, spec)))


def _each_histogram(items: Sequence[SnapshotItem], blobs: BlobStore, spec: PreprocessSpec) -> Iterator[FloatRows]:
    from edge.preprocess import preprocess_pixels

    for item in items:
        pixels, _ = preprocess_pixels(blobs.path(item.digest), spec)
        yield colour_histogram(pixels)
