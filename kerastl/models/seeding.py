"""Drawing a network's random weights anew, from a seed."""

import keras

from kerastl._compat import sublayers

#: Weight attribute -> attribute that holds its initializer.
_INITIALIZERS = {
    "kernel": ("depthwise_initializer", "kernel_initializer"),
    "depthwise_kernel": ("depthwise_initializer",),
    "pointwise_kernel": ("pointwise_initializer",),
}


def draw_weights(model: keras.Model, seed: int) -> None:
    """Draw every random kernel of a model again, each from a seed of its own.

    `keras.applications` takes no seed, and Keras's global one is not ours to set.

    Args:
        model: Network with random weights; changed in place.
        seed: Non-negative integer.
    """
    number = 0
    for layer in sublayers(model):
        for weight_name, names in _INITIALIZERS.items():
            weight = getattr(layer, weight_name, None)
            held = [getattr(layer, name, None) for name in names]
            rule = next((found for found in held if found is not None), None)
            if weight is None or rule is None or "seed" not in rule.get_config():
                continue
            config = {**rule.get_config(), "seed": (seed * 100_003 + number) % 2**31}
            weight.assign(type(rule).from_config(config)(weight.shape, weight.dtype))
            number += 1
