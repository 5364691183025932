"""The two phases of Keras's transfer-learning guide, in plain Keras.

The base is called with `training=False`, as the guide does to hold BatchNorm still.
Adam at 1e-3 trains the head; then everything is unfrozen and Adam at 1e-5 goes on.
No augmentation. The guide may report its best epoch *on the test images*: a generous
reading, since no honest run may choose by them.
"""

import argparse
import json
import sys
import time

import keras
import numpy as np
import tensorflow as tf

BATCH_SIZE = 32


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", required=True, help="folder of class folders")
    parser.add_argument("--test", required=True, help="folder of class folders")
    parser.add_argument("--image-size", type=int, default=144)
    parser.add_argument("--alpha", type=float, default=0.25)
    parser.add_argument("--weights", default="imagenet", help="imagenet or none")
    parser.add_argument("--epochs", type=int, nargs=2, default=(5, 5))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def read(folder: str, image_size: int, seed: int | None) -> tf.data.Dataset:
    """The images of a folder, decoded once; shuffled anew each epoch with a seed."""
    images = keras.utils.image_dataset_from_directory(
        folder,
        image_size=(image_size, image_size),
        batch_size=None,
        shuffle=seed is not None,
        seed=seed,
        verbose=False,
    ).cache()
    if seed is not None:
        images = images.shuffle(10_000, seed=seed)
    return images.batch(BATCH_SIZE).prefetch(tf.data.AUTOTUNE)


def num_classes(folder: str) -> int:
    return len(
        keras.utils.image_dataset_from_directory(folder, verbose=False).class_names
    )


def build(arguments: argparse.Namespace) -> tuple[keras.Model, keras.Model]:
    """The guide's model and its base."""
    shape = (arguments.image_size, arguments.image_size, 3)
    base = keras.applications.MobileNet(
        input_shape=shape,
        alpha=arguments.alpha,
        include_top=False,
        weights=None if arguments.weights == "none" else arguments.weights,
    )
    base.trainable = False
    inputs = keras.Input(shape)
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    x = base(x, training=False)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dropout(0.2)(x)
    outputs = keras.layers.Dense(num_classes(arguments.train))(x)
    return keras.Model(inputs, outputs), base


def statistics(base: keras.Model) -> list[np.ndarray]:
    """Every moving mean and variance."""
    return [
        keras.ops.convert_to_numpy(variable)
        for layer in base.layers
        if isinstance(layer, keras.layers.BatchNormalization)
        for variable in (layer.moving_mean, layer.moving_variance)
    ]


def fit(
    model: keras.Model,
    train: tf.data.Dataset,
    test: tf.data.Dataset,
    learning_rate: float,
    epochs: int,
) -> list[float]:
    """Test accuracy after each epoch of one phase."""
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    history = model.fit(
        train, validation_data=test, epochs=epochs, shuffle=False, verbose=0
    )
    return history.history["val_accuracy"]


def main() -> None:
    arguments = parse_arguments()
    keras.utils.set_random_seed(arguments.seed)
    model, base = build(arguments)
    before = statistics(base)

    start = time.perf_counter()
    train = read(arguments.train, arguments.image_size, arguments.seed)
    test = read(arguments.test, arguments.image_size, None)
    first = fit(model, train, test, 1e-3, arguments.epochs[0])
    base.trainable = True
    second = fit(model, train, test, 1e-5, arguments.epochs[1])
    seconds = time.perf_counter() - start

    scores = first + second
    moved = [
        not np.array_equal(old, new)
        for old, new in zip(before, statistics(base), strict=True)
    ]
    result = {
        "accuracy_after_head": round(first[-1], 4),
        "accuracy_after_all": round(second[-1], 4),
        "best_accuracy": round(max(scores), 4),
        "best_epoch": int(np.argmax(scores)) + 1,
        "batch_norm_arrays": len(moved),
        "batch_norm_arrays_moved": sum(moved),
        "seconds": round(seconds, 1),
        "seed": arguments.seed,
    }
    if arguments.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            print(f"{name:24} {value}")


if __name__ == "__main__":
    sys.exit(main())
