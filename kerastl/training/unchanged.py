"""Lending a model to work that must leave nothing behind in it."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np

from kerastl._compat import sublayers


@contextmanager
def left_as_found(model: keras.Model) -> Iterator[None]:
    """Put back all of a model that training on its layers changes, whatever happens.

    Weights, statistics, the seeds of dropout, the state of metrics, and what trains.
    The model's optimizer is safe by itself: what is fitted is another model, on the
    same layers.

    Args:
        model: The model that is lent.
    """
    # Freezing may change a layer's class: see `make_freezable`.
    layers = [(layer, type(layer), layer.trainable) for layer in sublayers(model)]
    variables = {id(v): v for v in (*model.variables, *model.metrics_variables)}
    # A copy: on JAX the buffer behind the view is given away by the next step.
    kept = [
        (variable, np.array(keras.ops.convert_to_numpy(variable)), variable.trainable)
        for variable in variables.values()
    ]
    try:
        yield
    finally:
        for layer, cls, _ in layers:
            if type(layer) is not cls:
                layer.__class__ = cls
        # Outermost first: setting a layer sets all inside it.
        for layer, _, flag in layers:
            layer.trainable = flag
        for variable, value, flag in kept:
            variable.assign(value)
            variable.trainable = flag
