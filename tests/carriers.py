"""Four small networks that carry the invariants, and images for them."""

from functools import cache

import keras
import numpy as np
from keras import layers

import kerastl
from kerastl.models.blocks import cut_points, truncate

SIZE = 32
CLASSES = ("ash", "beech", "cedar")


def residual_network():
    """Three blocks with BatchNorm, a shortcut and dropout, as a user might write it."""
    inputs = keras.Input((SIZE, SIZE, 3))
    x = layers.Conv2D(6, 3, strides=2, padding="same", name="stem")(inputs)
    x = layers.BatchNormalization(name="stem_bn")(x)
    x = layers.ReLU(name="stem_relu")(x)
    for number in (1, 2):
        y = layers.Conv2D(6, 3, padding="same", name=f"conv{number}")(x)
        y = layers.BatchNormalization(name=f"bn{number}")(y)
        y = layers.Dropout(0.5, name=f"drop{number}")(y)
        x = layers.Add(name=f"add{number}")([x, y])
    return keras.Model(inputs, x, name="residual")


@cache
def first_efficientnet_start():
    """The first blocks of EfficientNetB0, its drop-connect among them."""
    whole = kerastl.build_backbone("EfficientNetB0", image_size=SIZE, weights=None)
    return truncate(whole, "block2b_add")


def mobilenet():
    return kerastl.build_backbone(
        "MobileNet", alpha=0.25, image_size=SIZE, weights="tiny"
    )


@cache
def first_convnext_start():
    """The first stage of ConvNeXt: LayerNorm, no BatchNorm."""
    whole = kerastl.build_backbone("ConvNeXtTiny", image_size=SIZE, weights=None)
    # The additions are named by Keras, differently in each session.
    additions = [name for name in cut_points(whole) if name.startswith("add")]
    start = truncate(whole, additions[1])
    for layer in start.layers:
        if "layer_scale" in layer.name:
            # 1e-6 at first: gradients below would be lost in rounding.
            layer.set_weights([np.ones_like(layer.get_weights()[0])])
    return start


def copy(network):
    """Another network with the same layers and weights, and seeds of its dropout."""
    other = keras.models.clone_model(network)
    for new, old in zip(other.variables, network.variables, strict=True):
        # On JAX training gives away the array that a variable holds.
        new.assign(keras.ops.convert_to_numpy(old))
    for layer in other.layers:
        if isinstance(layer, layers.Normalization):
            # It computes with constants that are made of its weights.
            layer.finalize_state()
    return other


# The start of a large network is cut off once: the rest of it is most of the work.
BACKBONES = {
    "residual": residual_network,
    "mobilenet": mobilenet,
    "efficientnet": lambda: copy(first_efficientnet_start()),
    "convnext": lambda: copy(first_convnext_start()),
}


def build(name="residual", **options):
    keras.utils.set_random_seed(0)
    preprocessing = "tf" if name == "residual" else None
    return kerastl.build_classifier(
        BACKBONES[name](), CLASSES, preprocessing=preprocessing, seed=0, **options
    )


def paths(variables):
    return {variable.path for variable in variables}


def values(model):
    return [np.array(keras.ops.convert_to_numpy(w)) for w in model.weights]


def moved(model, before):
    """Paths of the weights that differ from an earlier `values(model)`."""
    return {
        weight.path
        for weight, old, new in zip(model.weights, before, values(model), strict=True)
        if not np.array_equal(old, new)
    }
