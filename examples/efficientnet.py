"""Keras's example of fine-tuning EfficientNet, with the whole of it frozen at first.

The example:
https://keras.io/examples/vision/image_classification_efficientnet_fine_tuning/, in our
own words. Lines that differ from it are marked. There, dropout inside the frozen
network stays on.
"""

import sys

import keras
from keras import layers
from tiny import SIZE, network, pictures

import kerastl

AUGMENTATION = [
    layers.RandomRotation(0.15),
    layers.RandomTranslation(0.1, 0.1),
    layers.RandomFlip(),
    layers.RandomContrast(0.1),
]


def main(tiny=False):
    """Name the shapes: first a new head with BatchNorm of its own, then 20 layers."""
    size = SIZE if tiny else 224
    train, validation = pictures(size, one_hot=True, tiny=tiny)
    train = train.map(lambda images, labels: (augment(images), labels))

    inputs = keras.Input((size, size, 3))
    if tiny:
        base = network(input_tensor=inputs)
    else:
        base = keras.applications.EfficientNetB0(
            include_top=False, weights="imagenet", input_tensor=inputs
        )
    x = layers.GlobalAveragePooling2D()(base.output)
    x = layers.BatchNormalization(name="top_bn")(x)
    x = layers.Dropout(0.2)(x)
    x = layers.Dense(6, activation="softmax")(x)
    model = keras.Model(inputs, x)

    kerastl.freeze(model)  # changed from: base.trainable = False
    compile_model(model, 1e-2)
    model.fit(train, validation_data=validation, epochs=1 if tiny else 25)

    # changed from: for layer in model.layers[-20:]: ..., BatchNorm left out by hand
    first = base.layers[-4 if tiny else -16]
    kerastl.unfreeze(model, first.name, batch_norm="frozen")
    compile_model(model, 1e-5)
    model.fit(train, validation_data=validation, epochs=1 if tiny else 4)
    return model


def augment(images):
    """Rotated, shifted, mirrored, of another contrast."""
    for layer in AUGMENTATION:
        images = layer(images)
    return images


def compile_model(model, learning_rate):
    """Probabilities against one-hot rows."""
    model.compile(
        keras.optimizers.Adam(learning_rate),
        "categorical_crossentropy",
        metrics=["accuracy"],
    )


if __name__ == "__main__":
    main("--tiny" in sys.argv)
