"""What the examples share: pictures, boxes, and a network for `--tiny`."""

from pathlib import Path

import keras
import numpy as np
from keras import layers

import kerastl

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


def boxes(count, size):
    """Drawn shapes as detectors take them: images, padded boxes and classes, names."""
    images, _ = kerastl.make_shapes(count, objects=(1, 3), image_size=size)
    most = max(len(boxes) for boxes in images.labels.boxes)
    labels = {
        "boxes": np.full((count, most, 4), -1.0, "float32"),
        "labels": np.full((count, most), -1.0, "float32"),
    }
    pairs = zip(images.labels.boxes, images.labels.classes, strict=True)
    for row, (found, classes) in enumerate(pairs):
        labels["boxes"][row, : len(found)] = found
        labels["labels"][row, : len(found)] = classes
    return images.images.astype("float32"), labels, images.class_names
