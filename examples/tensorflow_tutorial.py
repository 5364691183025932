"""TensorFlow's tutorial on transfer learning, with one history and the best epoch kept.

The tutorial: https://www.tensorflow.org/tutorials/images/transfer_learning, in our own
words. Lines that differ from it are marked. There, the second `fit` moves statistics of
BatchNorm that `training=False` was to hold, and keeps the last epoch, not the best.
"""

import sys

import keras
from keras import layers
from tiny import SIZE, network, pictures

import kerastl


def main(tiny=False):
    """Tell circles from squares: first a new head, then the upper layers too."""
    size = SIZE if tiny else 160
    train, validation = pictures(size, classes=["circle", "square"], tiny=tiny)
    if tiny:
        base = network()
    else:
        base = keras.applications.MobileNetV2(
            include_top=False, weights="imagenet", input_shape=(size, size, 3)
        )

    inputs = keras.Input((size, size, 3))
    x = layers.RandomFlip("horizontal")(inputs)
    x = layers.RandomRotation(0.2)(x)
    x = layers.Rescaling(1 / 127.5, offset=-1)(x)
    x = base(x)  # changed from: base_model(x, training=False)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.2)(x)
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(x))

    # changed from: trainable flags, compile and fit, twice
    history = kerastl.run_phases(
        model,
        train,
        validation,
        loss="binary_crossentropy",
        metrics=[keras.metrics.BinaryAccuracy()],
        phases=[
            kerastl.Phase(
                "head",
                trainable="head",
                epochs=1 if tiny else 10,
                learning_rate=1e-4,
                optimizer="adam",
            ),
            kerastl.Phase(
                "top",
                # changed from: for layer in base_model.layers[:100]: ...
                trainable=base.layers[-4 if tiny else 100].name,
                epochs=1 if tiny else 10,
                learning_rate=1e-5,
                optimizer="rmsprop",
                batch_norm="affine",
            ),
        ],
    )
    print(history)
    return model


if __name__ == "__main__":
    main("--tiny" in sys.argv)
