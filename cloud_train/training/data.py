"""Pictures of a snapshot as tensors: decoded and resized once by the device's own code, then kept in memory."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, RandomSampler

from cloud_train.store.blobs import BlobStore
from cloud_train.training.augment import augment
from cloud_train.training.lightning_ready import lightning
from cloud_train.types import DatasetSnapshot, SnapshotItem, Split
from edge.bundle.manifest import PreprocessSpec
from edge.errors import EdgeloopError, UsageError
from edge.preprocess import preprocess_pixels
from model_zoo.types import TrainRecipe

Batch = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureSet:
    """One split in memory.

    Attributes:
        pixels: uint8 (N, 3, H, W), RGB.
        labels: int64 (N,), position in the snapshot's classes.
    """

    pixels: torch.Tensor
    labels: torch.Tensor


class PictureBatches(Dataset[Batch]):
    """A `PictureSet` that is indexed by whole batches."""

    def __init__(self, pictures: PictureSet) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures.labels)

    def __getitem__(self, index: int) -> Batch:
        return self.pictures.pixels[index], self.pictures.labels[index]

    def __getitems__(self, indices: list[int]) -> Batch:
        """What a DataLoader asks for when it can: one batch in one go."""
        chosen = torch.as_tensor(indices)
        return self.pictures.pixels[chosen], self.pictures.labels[chosen]


class SnapshotData(lightning.LightningDataModule):
    """Training and validation batches; training pictures are augmented batch by batch.

    Args:
        train: The training split.
        val: The validation split.
        recipe: Batch size, augmentation and seed.
        layout: Memory layout of the batches, that of the network.
    """

    def __init__(self, train: PictureSet, val: PictureSet, recipe: TrainRecipe, layout: torch.memory_format) -> None:
        super().__init__()
        self._layout = layout
        self._train, self._val, self._recipe = train, val, recipe
        self._order = torch.Generator().manual_seed(recipe.seed)
        self._changes = torch.Generator().manual_seed(recipe.seed + 1)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled by the recipe's seed; a last batch that is not full is left out of this pass."""
        pictures = PictureBatches(self._train)
        return DataLoader(
            pictures,
            batch_size=self._recipe.batch_size,
            sampler=RandomSampler(pictures, generator=self._order),
            drop_last=len(pictures) > self._recipe.batch_size,
            collate_fn=_as_it_is,
        )

    def val_dataloader(self) -> DataLoader[Batch]:
        """In the snapshot's order."""
        return DataLoader(PictureBatches(self._val), batch_size=256, collate_fn=_as_it_is)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augments training pictures; all become float32 in 0 to 255."""
        pixels, labels = batch
        pictures = pixels.float()
        if self.trainer is not None and self.trainer.training:
            pictures = augment(pictures, self._recipe.augment, self._changes)
        return pictures.contiguous(memory_format=self._layout), labels


def require_trainable(snapshot: DatasetSnapshot) -> None:
    """Refuses a snapshot that nothing can be learnt from.

    Raises:
        UsageError: Fewer than two classes, an empty training or validation split, or a class without training pictures.
    """
    if len(snapshot.classes) < 2:
        raise UsageError(
            f"snapshot {snapshot.name!r} has {len(snapshot.classes)} class, training needs at least 2",
            hint="add a folder of pictures of another class",
        )
    counts = Counter((item.split, item.label) for item in snapshot.items)
    for split in (Split.TRAIN, Split.VAL):
        if not any(counts[split, label] for label in snapshot.classes):
            raise UsageError(f"snapshot {snapshot.name!r} has no {split.value} pictures", hint="add pictures")
    empty = [label for label in snapshot.classes if not counts[Split.TRAIN, label]]
    if empty:
        raise UsageError(
            f"snapshot {snapshot.name!r} has no train pictures of {', '.join(empty)}",
            hint="add pictures of them, or leave the class out",
        )


def load_split(snapshot: DatasetSnapshot, split: Split, blobs: BlobStore, spec: PreprocessSpec) -> PictureSet:
    """Decodes one split, in the snapshot's order; pictures of classes that the snapshot does not teach are left out.

    Args:
        snapshot: The data set.
        split: Which part.
        blobs: Holds the pictures.
        spec: Size and crop policy.

    Raises:
        EdgeloopError: A picture is missing in the store or cannot be decoded; names it.
    """
    positions = {label: position for position, label in enumerate(snapshot.classes)}
    items = [item for item in snapshot.of(split) if item.label in positions]
    pixels = np.empty((len(items), spec.height, spec.width, 3), dtype=np.uint8)
    for row, item in enumerate(items):
        pixels[row] = _decode(item, blobs, spec)
    labels = torch.tensor([positions[item.label] for item in items], dtype=torch.int64)
    return PictureSet(pixels=torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), labels=labels)


def class_weights(labels: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Inverse square root of each class's count, mean 1 over the pictures; float32 (num_classes,)."""
    counts = torch.bincount(labels, minlength=num_classes).clamp(min=1).float()
    weights = counts.rsqrt()
    return weights * counts.sum() / (weights * counts).sum()


def _decode(item: SnapshotItem, blobs: BlobStore, spec: PreprocessSpec) -> np.ndarray:
    try:
        path = blobs.path(item.digest)
    except KeyError as cause:
        raise EdgeloopError(
            f"picture {item.digest[:12]} ({item.origin}) is not in the blob store",
            hint="make the snapshot again with this store",
        ) from cause
    pixels, _ = preprocess_pixels(path, spec, name=f"picture {item.digest[:12]} ({item.origin})")
    return pixels


def _as_it_is(batch: Batch) -> Batch:
    return batch
