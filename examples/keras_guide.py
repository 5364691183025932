"""Keras's guide to transfer learning, with a base that is as frozen as it says.

The guide: https://keras.io/guides/transfer_learning/, in our own words. Lines that
differ from it are marked. There, `training=False` is to keep dropout off and
BatchNorm's statistics in place; `fit` ignores it, and in the second phase all move.
"""

import sys

import keras
from keras import layers
from tiny import SIZE, network, pictures

import kerastl


def main(tiny=False):
    """Tell circles from squares: first a new head, then the whole network."""
    size = SIZE if tiny else 150
    train, validation = pictures(size, classes=["circle", "square"], tiny=tiny)
    if tiny:
        base = network()
    else:
        base = keras.applications.Xception(
            include_top=False, weights="imagenet", input_shape=(size, size, 3)
        )

    inputs = keras.Input((size, size, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    x = base(x)  # changed from: base(x, training=False)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.2)(x)
    model = keras.Model(inputs, layers.Dense(1)(x))

    kerastl.freeze(model)  # changed from: base.trainable = False
    compile_model(model, 1e-3)
    model.fit(train, validation_data=validation, epochs=1 if tiny else 10)

    # changed from: base.trainable = True
    kerastl.unfreeze(model, "all", batch_norm="affine")
    compile_model(model, 1e-5)
    model.fit(train, validation_data=validation, epochs=1 if tiny else 5)
    return model


def compile_model(model, learning_rate):
    """One logit, right above 0."""
    model.compile(
        keras.optimizers.Adam(learning_rate),
        keras.losses.BinaryCrossentropy(from_logits=True),
        metrics=[keras.metrics.BinaryAccuracy(threshold=0)],
    )


if __name__ == "__main__":
    main("--tiny" in sys.argv)
