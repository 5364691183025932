"""YOLOV8 of keras-cv on drawn shapes: the backbone frozen, then its top opened.

keras-cv: https://keras.io/guides/keras_cv/object_detection_keras_cv/. The network is
made from a configuration, with random weights, so that nothing is downloaded;
`YOLOV8Backbone.from_preset` brings trained ones. Lines that differ from keras-cv's
guide are marked.
"""

import sys

import keras
import keras_cv
from tiny import boxes

import kerastl


def main(tiny=False):
    """Find the shapes: first with a new neck and head, then with the top blocks too."""
    size = 64 if tiny else 128
    images, labels, names = boxes(4 if tiny else 200, size)
    backbone = keras_cv.models.YOLOV8Backbone(
        stackwise_channels=[8, 8, 8, 8] if tiny else [32, 64, 128, 256],
        stackwise_depth=[1, 1, 1, 1] if tiny else [1, 2, 2, 1],
        include_rescaling=True,
        input_shape=(size, size, 3),
    )
    model = keras_cv.models.YOLOV8Detector(
        num_classes=len(names),
        bounding_box_format="xyxy",
        backbone=backbone,
        fpn_depth=1,
    )
    labels = {"boxes": labels["boxes"], "classes": labels["labels"]}

    kerastl.freeze(backbone)  # changed from: backbone.trainable = False
    compile_model(model, 1e-3)
    model.fit(images, labels, batch_size=2, epochs=1 if tiny else 20)

    kerastl.unfreeze(backbone, 2)  # changed from: backbone.trainable = True
    print(kerastl.trainable_report(backbone))
    compile_model(model, 1e-4)
    # added: it ends a `fit` that would not train what the flags say
    guard = kerastl.TrainableGuard()
    epochs = 1 if tiny else 20
    model.fit(images, labels, batch_size=2, epochs=epochs, callbacks=[guard])
    return model


def compile_model(model, learning_rate):
    """The guide's losses; without XLA, which compiles this network for minutes."""
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate, clipnorm=10.0),
        classification_loss="binary_crossentropy",
        box_loss="ciou",
        jit_compile=False,
    )


if __name__ == "__main__":
    main("--tiny" in sys.argv)
