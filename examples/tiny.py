"""What the examples share: the bundled pictures, and a network for `--tiny`."""

from pathlib import Path

import keras
from keras import layers

SIZE = 32


def pictures(size, *, classes=None, one_hot=False, tiny=False):
    """Datasets of batches to train on and to validate on, as in the tutorials."""
    train, validation = keras.utils.image_dataset_from_directory(
        Path(__file__).parents[1] / "data" / "shapes",
        class_names=classes,
        label_mode="categorical" if one_hot else "int",
        image_size=(size, size),
        batch_size=16 if tiny else 32,
        validation_split=0.2,
        subset="both",
        seed=0,
        verbose=False,
    )
    return (train.take(2), validation.take(1)) if tiny else (train, validation)


def network(input_tensor=None):
    """A random network of three blocks, called as those of `keras.applications`."""
    inputs = keras.Input((SIZE, SIZE, 3)) if input_tensor is None else input_tensor
    x = inputs
    for number in (1, 2, 3):
        x = layers.Conv2D(8, 3, strides=2, padding="same", name=f"conv{number}")(x)
        x = layers.BatchNormalization(name=f"bn{number}")(x)
        x = layers.ReLU(name=f"relu{number}")(x)
        x = layers.Dropout(0.1, name=f"drop{number}")(x)
    return keras.Model(inputs, x, name="tiny")
