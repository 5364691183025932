"""Segmentation of CamVid by transfer, against what tutorials and peers do.

Sides, each with the same images and the same encoder (MobileNet 0.25):

- `kerastl`: `fine_tune` as it is by default: the decoder first, then encoder and
  decoder, statistics held. It runs first; the others then get as much processor time as
  it took, their best epoch by mean IoU on the validation images counts.
- `scratch`: the U-Net of keras.io's tutorial, from random weights, rmsprop.
- `at_once`: the same decoder, everything open from the first step.
- `moving`: the encoder frozen by `trainable=False` under BatchNorm that moves.
- `free_norm`: the encoder frozen but for BatchNorm, whose weights and statistics train.

    python benchmarks/segmentation.py ../camvid --images 25 --seeds 0 --sides scratch

The folder has the parts `train`, `validation` and `test`, each with `images` and
`masks`. Of CamVid, frames of one drive may lie in two of them, which flatters all sides
alike.
"""

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers

import kerastl
from kerastl.data.sets import ImageSet
from kerastl.tasks.compiling import jit_mode
from kerastl.tasks.segmentation import MaskLoss, MeanOverlap, build_segmenter

SIZE = (192, 256)
BATCH = 4


def sample(images: ImageSet, count: int, seed: int) -> ImageSet:
    """Some training images; of equal seeds the larger sample holds the smaller."""
    order = np.random.default_rng(seed).permutation(len(images))
    return images.subset(np.sort(order[:count]))


def ours(classes: tuple[str, ...], options: argparse.Namespace, seed: int) -> Any:
    """The segmenter as it is built by default."""
    given = {"weights": options.weights, "alpha": 0.25, "image_size": SIZE}
    given |= {"decoder": options.decoder, "width": options.width, "seed": seed}
    given["objective"] = options.objective
    return build_segmenter("MobileNet", classes, **given)


def keras_io(classes: tuple[str, ...], options: argparse.Namespace, seed: int) -> Any:
    """The U-Net of keras.io/examples/vision/oxford_pets_image_segmentation."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((*SIZE, 3))
    x = layers.Rescaling(1 / 255)(inputs)
    x = layers.Conv2D(32, 3, strides=2, padding="same")(x)
    x = layers.Activation("relu")(layers.BatchNormalization()(x))
    before = x
    for filters in (64, 128, 256):
        for _ in range(2):
            x = layers.Activation("relu")(x)
            x = layers.SeparableConv2D(filters, 3, padding="same")(x)
            x = layers.BatchNormalization()(x)
        x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
        residual = layers.Conv2D(filters, 1, strides=2, padding="same")(before)
        before = x = layers.add([x, residual])
    for filters in (256, 128, 64, 32):
        for _ in range(2):
            x = layers.Activation("relu")(x)
            x = layers.Conv2DTranspose(filters, 3, padding="same")(x)
            x = layers.BatchNormalization()(x)
        x = layers.UpSampling2D(2)(x)
        residual = layers.UpSampling2D(2)(before)
        residual = layers.Conv2D(filters, 1, padding="same")(residual)
        before = x = layers.add([x, residual])
    return keras.Model(inputs, layers.Conv2D(len(classes), 3, padding="same")(x))


def plain_fit(
    model: Any,
    train: ImageSet,
    check: ImageSet,
    optimizer: Any,
    seconds: float,
    seed: int,
) -> None:
    """Keras's own `fit` until the time is over; the best weights by validation stay."""
    begun = time.process_time()
    model.compile(
        optimizer,
        loss=MaskLoss(),
        metrics=[MeanOverlap(len(train.class_names))],
        jit_compile=jit_mode(),
    )
    given = {"image_size": SIZE, "batch_size": BATCH, "seed": seed}
    batches = kerastl.batches(train, augment="light", shuffle=True, **given)
    checked = kerastl.batches(check, **given)
    best, weights = -1.0, model.get_weights()
    while time.process_time() - begun < seconds:
        history = model.fit(batches, validation_data=checked, verbose=0)
        score = history.history["val_mean_iou"][-1]
        if score > best:
            best, weights = score, model.get_weights()
    model.set_weights(weights)


def run_kerastl(model: Any, train: Any, check: Any, seconds: float, seed: int) -> None:
    """The library's defaults, whatever time they take."""
    kerastl.fine_tune(model, train, check, augment="light", seed=seed, verbose=0)


def at_once(model: Any, train: Any, check: Any, seconds: float, seed: int) -> None:
    """All weights from the first step, as a tutorial's model.trainable = True."""
    for layer in model.layers:
        layer.trainable = True
    plain_fit(model, train, check, keras.optimizers.Adam(1e-3), seconds, seed)


def moving(model: Any, train: Any, check: Any, seconds: float, seed: int) -> None:
    """Kernels frozen, statistics of a BatchNorm that is called in training move."""
    _thaw_norms(model, affine=False)
    plain_fit(model, train, check, keras.optimizers.Adam(1e-3), seconds, seed)


def free_norm(model: Any, train: Any, check: Any, seconds: float, seed: int) -> None:
    """segmentation_models' encoder_freeze: all frozen but BatchNorm."""
    _thaw_norms(model, affine=True)
    plain_fit(model, train, check, keras.optimizers.Adam(1e-4), seconds, seed)


def _thaw_norms(model: Any, *, affine: bool) -> None:
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.trainable = True
            layer.gamma.trainable = layer.beta.trainable = affine


def scratch(model: Any, train: Any, check: Any, seconds: float, seed: int) -> None:
    """The tutorial's own optimizer."""
    plain_fit(model, train, check, keras.optimizers.RMSprop(1e-3), seconds, seed)


SIDES: dict[str, tuple[Callable, Callable]] = {
    "kerastl": (ours, run_kerastl),
    "scratch": (keras_io, scratch),
    "at_once": (ours, at_once),
    "moving": (ours, moving),
    "free_norm": (ours, free_norm),
}


def score(model: Any, test: ImageSet) -> float:
    """Mean IoU of all frames, pooled, in percent."""
    confusion = 0
    for start in range(0, len(test), BATCH):
        rows = test.subset(np.arange(start, min(start + BATCH, len(test))))
        given = {"image_size": SIZE, "batch_size": BATCH}
        for images, masks in kerastl.batches(rows, **given):
            answers = np.argmax(model.predict_on_batch(np.asarray(images)), -1)
            confusion = confusion + kerastl.metrics.pixel_confusion(
                np.asarray(masks), answers, len(test.class_names)
            )
    return round(100 * float(np.nanmean(kerastl.metrics.iou(confusion))), 2)


def main() -> None:
    """Print one JSON line a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--images", type=int, nargs="+", default=[25, 100, 367])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--sides", nargs="*", default=list(SIDES)[1:], choices=SIDES)
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--decoder", default="unet")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--objective", default="crossentropy")
    parser.add_argument("--test-images", type=int, default=10_000)
    options = parser.parse_args()
    parts = kerastl.open_data(options.data)
    held = sample(parts.test, options.test_images, 0)
    for count in options.images:
        for seed in options.seeds:
            train = sample(parts.train, count, seed)
            seconds = 0.0
            for side in ["kerastl", *options.sides]:
                build, fit = SIDES[side]
                model = build(parts.class_names, options, seed)
                begun = time.process_time()
                fit(model, train, parts.validation, seconds, seed)
                spent = time.process_time() - begun
                seconds = seconds or spent
                row = {"side": side, "images": count, "seed": seed}
                row |= {"seconds": round(spent, 1), "miou": score(model, held)}
                print(json.dumps(row), flush=True)
                keras.backend.clear_session()


if __name__ == "__main__":
    main()
