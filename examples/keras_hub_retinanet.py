"""RetinaNet of keras-hub on drawn shapes: the encoder frozen, then its top opened.

keras-hub: https://keras.io/keras_hub/guides/object_detection_retinanet/. The network is
made from a configuration, with random weights, so that nothing is downloaded;
`from_preset` brings trained ones. Lines that differ from keras-hub's guide are marked.
"""

import sys

import keras
import keras_hub
from tiny import boxes

import kerastl


def main(tiny=False):
    """Find the shapes: first with a new pyramid and heads, then with the top too."""
    size = 64 if tiny else 128
    images, labels, names = boxes(4 if tiny else 200, size)
    encoder = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3 if tiny else 7],
        stackwise_num_filters=[64, 64, 64] if tiny else [64, 128, 256],
        stackwise_num_blocks=[1, 1, 1] if tiny else [2, 2, 2],
        stackwise_num_strides=[1, 2, 2],
        block_type="basic_block",
        image_shape=(size, size, 3),
    )
    levels = {"min_level": 3, "max_level": 4}
    backbone = keras_hub.models.RetinaNetBackbone(
        image_encoder=encoder, use_p5=False, image_shape=(size, size, 3), **levels
    )
    # added: the default's smallest anchor is 32 pixels wide, and where no anchor fits
    # an object this detector trains on nothing, with a loss of 0
    anchors = keras_hub.layers.AnchorGenerator(
        bounding_box_format="xyxy",
        num_scales=2,
        aspect_ratios=[1.0],
        anchor_size=2.0,
        **levels,
    )
    model = keras_hub.models.RetinaNetObjectDetector(
        backbone=backbone,
        num_classes=len(names),
        bounding_box_format="xyxy",
        preprocessor=None,
        anchor_generator=anchors,
    )

    kerastl.freeze(encoder)  # changed from: model.backbone.trainable = False
    compile_model(model, 1e-3)
    model.fit(images, labels, batch_size=2, epochs=1 if tiny else 20)

    kerastl.unfreeze(encoder, 1)  # changed from: model.backbone.trainable = True
    print(kerastl.trainable_report(encoder))
    compile_model(model, 1e-4)
    # added: it ends a `fit` that would not train what the flags say
    guard = kerastl.TrainableGuard()
    epochs = 1 if tiny else 20
    model.fit(images, labels, batch_size=2, epochs=epochs, callbacks=[guard])
    return model


def compile_model(model, learning_rate):
    """The detector's own losses; without XLA, which compiles for minutes."""
    model.compile(keras.optimizers.Adam(learning_rate), jit_compile=False)


if __name__ == "__main__":
    main("--tiny" in sys.argv)
