"""A classifier of keras-hub, fine-tuned block by block.

keras-hub: https://keras.io/keras_hub/. The network is made from a configuration, with
random weights, so that nothing is downloaded; `ImageClassifier.from_preset` brings
trained ones. Lines that differ from keras-hub's guides are marked.
"""

import sys

import keras
import keras_hub
from tiny import SIZE, pictures

import kerastl


def main(tiny=False):
    """Name the shapes: first a new head, then the last block too."""
    size = SIZE if tiny else 96
    train, validation = pictures(size, tiny=tiny)
    backbone = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64, 64] if tiny else [64, 128, 256, 512],
        stackwise_num_blocks=[1, 1] if tiny else [2, 2, 2, 2],
        stackwise_num_strides=[1, 2] if tiny else [1, 2, 2, 2],
        block_type="basic_block",
        image_shape=(size, size, 3),
    )
    model = keras_hub.models.ImageClassifier(backbone, num_classes=6)

    kerastl.freeze(model)  # changed from: backbone.trainable = False
    compile_model(model, 1e-3)
    model.fit(train, validation_data=validation, epochs=1 if tiny else 5)

    # changed from: backbone.trainable = True
    kerastl.unfreeze(model, 1, batch_norm="affine")
    compile_model(model, 1e-4)
    model.fit(train, validation_data=validation, epochs=1 if tiny else 5)
    return model


def compile_model(model, learning_rate):
    """Logits against class numbers."""
    model.compile(
        keras.optimizers.Adam(learning_rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )


if __name__ == "__main__":
    main("--tiny" in sys.argv)
