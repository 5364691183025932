"""A callback that refuses to train another set of weights than was compiled."""

from typing import Any

import keras

from kerastl.models.compiling import compiled_paths, trainable_paths


class TrainableGuard(keras.callbacks.Callback):
    """Stops `fit` before its first step if `trainable` changed since `compile`.

    Keras says nothing then: depending on what ran before, it ignores the change,
    obeys it, or crashes, on JAX with the weights lost. `run_phases` adds the guard
    by itself; it is for your own `model.fit`.

    Args:
        model: Give the model right after `model.compile` where Keras before 3.15
            compiled it; models compiled by kerastl need nothing.

    Example:
        >>> import keras, numpy, kerastl
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> guard = kerastl.TrainableGuard(model)
        >>> model.layers[0].trainable = False
        >>> x = numpy.zeros((4, 2))
        >>> model.fit(x, x[:, :1], verbose=0, callbacks=[guard])
        Traceback (most recent call last):
            ...
        ValueError: `model` must train what it was compiled to train. ...
    """

    def __init__(self, model: keras.Model | None = None) -> None:
        """See the class."""
        super().__init__()
        self._compiled = None if model is None else trainable_paths(model)
        self._optimizer = getattr(model, "optimizer", None)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Compare what trains now with what was compiled."""
        self._check()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Compare again: another callback may have changed it."""
        self._check()

    def _check(self) -> None:
        model = self.model
        known = compiled_paths(model)
        if self._compiled is not None and model.optimizer is self._optimizer:
            known = self._compiled
        if known is not None:
            check_unchanged(model, known)


def check_unchanged(model: keras.Model, compiled: tuple[str, ...]) -> None:
    """Raise unless exactly the compiled variables train.

    Raises:
        ValueError: If a layer was frozen or unfrozen since `compile`.
    """
    before, now = set(compiled), set(trainable_paths(model))
    if before == now:
        return
    changes = [
        f"{len(paths)} {word} since compile ({', '.join(sorted(paths)[:3])}"
        f"{', ...' if len(paths) > 3 else ''})"
        for word, paths in (("unfrozen", now - before), ("frozen", before - now))
        if paths
    ]
    raise ValueError(
        "`model` must train what it was compiled to train. "
        f"Received: {' and '.join(changes)}. "
        "Call model.compile again, or train with kerastl.run_phases, which does."
    )
