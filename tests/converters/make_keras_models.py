"""Writes small Keras files: `python make_keras_models.py FOLDER`, with the Python of the environment `keras`.

`colours.keras` and `colours.h5` name the colour of a picture; the others are what an import must refuse.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np

SIZE = (24, 32, 3)


def colours() -> keras.Model:
    """Mean red, green and blue as scores; with the layers that converters stumble over."""
    picture = keras.Input(SIZE)
    x = keras.layers.Rescaling(1 / 255)(picture)
    x = keras.layers.Conv2D(3, 3, strides=2, padding="same", use_bias=False, activation="swish", name="conv")(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(picture, keras.layers.Dense(3, activation="softmax", name="scores")(x))
    kernel = np.zeros((3, 3, 3, 3), np.float32)
    kernel[1, 1] = np.eye(3)
    model.get_layer("conv").set_weights([kernel])
    model.get_layer("scores").set_weights([10 * np.eye(3, dtype=np.float32), np.zeros(3, np.float32)])
    return model


def other(layer: keras.layers.Layer, shape: tuple[int | None, ...] = SIZE) -> keras.Model:
    """A model of one layer and a mean."""
    picture = keras.Input(shape)
    return keras.Model(picture, keras.layers.GlobalAveragePooling2D()(layer(picture)))


def main(folder: Path) -> None:
    for suffix in (".keras", ".h5"):
        colours().save(folder / f"colours{suffix}")
        other(keras.layers.Lambda(lambda x: 2 * x)).save(folder / f"lambda{suffix}")
    other(keras.layers.ReLU(), (None, None, 3)).save(folder / "dynamic.keras")
    other(keras.layers.UpSampling2D(interpolation="bicubic")).save(folder / "bicubic.keras")
    colours().save_weights(folder / "only.weights.h5")
    (folder / "truncated.h5").write_bytes((folder / "colours.h5").read_bytes()[:4000])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
