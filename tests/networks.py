"""Small networks and images that several tests start from."""

import keras
import numpy as np
from keras import layers

import kerastl
from kerastl.models.backbones import using_precision

CLASSES = ("ash", "beech", "cedar")


def small_network(name="small", size=16, extra=None):
    """Three blocks of convolution, BatchNorm and ReLU; `extra` ends the second."""
    x = images = keras.Input((size, size, 3), name="pixels")
    for number in (1, 2, 3):
        x = layers.Conv2D(
            4, 3, strides=2, padding="same", use_bias=False, name=f"conv{number}"
        )(x)
        x = layers.BatchNormalization(name=f"bn{number}")(x)
        x = layers.ReLU(name=f"relu{number}")(x)
        if extra is not None and number == 2:
            x = extra(x)
    return keras.Model(images, x, name=name)


def small_classifier(classes=CLASSES, *, extra=None, learnt=False, **options):
    """A classifier on `small_network`; `learnt`: its head is not all zeros."""
    with using_precision(options.get("precision")):
        network = small_network(extra=extra)
    model = kerastl.build_classifier(network, classes, preprocessing="tf", **options)
    if learnt:
        teach_head(model)
    return model


def teach_head(model, seed=0):
    """Give the last dense layer random weights under which images differ clearly."""
    dense = model.get_layer("head_dense")
    kernel = np.random.default_rng(seed).normal(size=dense.kernel.shape)
    dense.set_weights([kernel, np.zeros(dense.bias.shape)])
    logits = outputs(model, pixels(24, model.input_shape[1], seed=1))
    center, spread = logits.mean(axis=0), logits.std(axis=0) / 2
    dense.set_weights([kernel / spread, -center / spread])


def grey_classifier(seed=0):
    """A classifier of grey images of 32 pixels that has learnt something."""
    options = {"alpha": 0.25, "image_size": 32, "weights": "tiny", "channels": 1}
    backbone = kerastl.build_backbone("MobileNet", **options)
    model = kerastl.build_classifier(backbone, CLASSES)
    dense = model.get_layer("head_dense")
    kernel = np.random.default_rng(seed).normal(size=dense.kernel.shape)
    dense.set_weights([kernel, np.zeros(dense.bias.shape)])
    return model


def timid_classifier(seed=0):
    """A classifier that begins near chance, and whose every weight has a gradient."""
    keras.utils.set_random_seed(seed)
    model = small_classifier()
    dense = model.get_layer("head_dense")
    kernel = 0.1 * np.random.default_rng(seed).normal(size=dense.kernel.shape)
    dense.set_weights([kernel, np.zeros(dense.bias.shape)])
    return model


def pixels(count=6, size=16, seed=0):
    """Random images, uint8."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, size, size, 3)).astype("uint8")


def coloured(per_class=4, size=16, seed=0):
    """Images of three classes told by their colour, and their labels."""
    labels = np.arange(3 * per_class) % 3
    images = pixels(len(labels), size, seed) // 4
    images[np.arange(len(labels)), :, :, labels] += 150
    return images, labels


def outputs(model, images, training=False):
    """What a network makes of images, as an array."""
    images = images.astype("float32")
    return keras.ops.convert_to_numpy(model(images, training=training))


def values(model):
    """Every weight of a model, as arrays."""
    return [np.array(keras.ops.convert_to_numpy(weight)) for weight in model.weights]


def assert_same_weights(model, before):
    for weight, old, new in zip(model.weights, before, values(model), strict=True):
        np.testing.assert_array_equal(old, new, err_msg=weight.path)


def trains(model):
    """Paths of the variables that train."""
    return {variable.path for variable in model.trainable_variables}
