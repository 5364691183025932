"""Penalties added to the loss."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras import ops

from kerastl._checks import check_number, fail
from kerastl._compat import held_array
from kerastl.models.freezing import head_layers, leaf_layers


class PullToStart(keras.regularizers.Regularizer):
    """`strength / 2 * ||w - w0||²`, summed over one variable's elements.

    It is set on the variable, not on its layer, so no `.keras` file knows of it. The
    start lies outside the model: a compiled step reads it where it is, and no list of
    the model's weights shows it.

    Args:
        strength: Factor, at least 0.
        start: Where the variable began, of its shape; None stands for zeros.
        inherited: The variable's regularizer of before, whose penalty is added; None
            where it had none.

    Reference:
        Li, Grandvalet & Davoine (2018), Explicit Inductive Bias for Transfer Learning
        with Convolutional Networks, arXiv:1802.01483, eq. 2.
    """

    def __init__(
        self,
        strength: float,
        start: np.ndarray | None = None,
        inherited: Callable[[Any], Any] | None = None,
    ) -> None:
        """See the class."""
        self.strength = strength
        self._start = None if start is None else held_array(start)
        self.inherited = inherited

    def __call__(self, x: Any) -> Any:
        """The whole penalty of a variable's value."""
        penalty = self.pull(x)
        return penalty if self.inherited is None else penalty + self.inherited(x)

    def pull(self, x: Any) -> Any:
        """The pull alone, without the inherited penalty."""
        # A sum of millions of squares: in half precision it would overflow.
        stored = keras.backend.standardize_dtype(x.dtype)
        dtype = keras.backend.result_type(stored, "float32")
        offset = ops.cast(x, dtype)
        if self._start is not None:
            offset = offset - ops.cast(self._start(), dtype)
        return 0.5 * self.strength * ops.sum(ops.square(offset))


def l2_sp(
    model: keras.Model,
    *,
    alpha: float = 0.1,
    beta: float = 0.01,
    start: Sequence[np.ndarray] | None = None,
) -> None:
    """Hold the backbone near its present weights, and the head near zero.

    Adds `alpha / 2 ||w - w0||² + beta / 2 ||w_head||²` to the loss. Take it in place
    of weight decay, which pulls the same weights to zero. Set what trains first and
    compile afterwards; `model.evaluate` then reports the loss with the penalty in it.
    The start is one copy of the weights that train, beside the model.

    Args:
        model: A classifier from `build_classifier`, or any functional model.
        alpha: Pull of every weight of the backbone that trains, biases, gamma and beta
            included, at least 0. The paper tries 0.1, 0.01, ...; its optimizer is SGD.
            Under Adam the pull is rescaled as every gradient is.
        beta: Pull of every weight of the head, at least 0.
        start: Where to pull to, in the order of `model.weights`; None: to where the
            weights are now.

    Raises:
        ValueError: If a number is negative, nothing trains, or `start` does not fit.
        TypeError: If the model is not functional.

    Example:
        >>> import kerastl
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_classifier(backbone, ["cat", "dog", "owl"])
        >>> kerastl.unfreeze(model, 1)
        >>> l2_sp(model, alpha=0.1)
        >>> layer = model.get_layer("conv_pw_13")
        >>> layer.set_weights([layer.get_weights()[0] + 1.0])
        >>> l2_sp_penalty(model)
        3276.8
        >>> remove_l2_sp(model)

    Reference:
        Li, Grandvalet & Davoine (2018), Explicit Inductive Bias for Transfer Learning
        with Convolutional Networks, arXiv:1802.01483, eq. 3, squares summed,
        not averaged. All weights that came with the network are held; the authors' code
        can do that too, but by default holds kernels only.
    """
    check_number("alpha", alpha, 0.0)
    check_number("beta", beta, 0.0)
    head = set(head_layers(model))
    if not model.trainable_variables:
        hint = "Choose what trains with kerastl.unfreeze first."
        fail("model", "a model with a weight that trains", model.name, hint)
    goals = _goals(model, start)
    remove_l2_sp(model)
    for layer in leaf_layers(model):
        for variable in layer.trainable_variables:
            if isinstance(variable.regularizer, PullToStart):
                continue  # A layer that is called twice is listed twice.
            goal = None if layer.name in head else goals[id(variable)]
            strength = beta if layer.name in head else alpha
            pull = PullToStart(float(strength), goal, variable.regularizer)
            variable.regularizer = pull


def remove_l2_sp(model: keras.Model) -> None:
    """Take the penalty of `l2_sp` off again; regularizers of before come back.

    Compile afterwards: a compiled model keeps the penalty that it was compiled with.

    Args:
        model: Any model; without a penalty nothing happens.

    Example:
        >>> x = keras.Input((2,))
        >>> model = keras.Model(x, keras.layers.Dense(1)(x))
        >>> l2_sp(model)
        >>> len(model.losses)
        2
        >>> remove_l2_sp(model)
        >>> len(model.losses)
        0
    """
    for variable, pull in _pulled(model.variables):
        variable.regularizer = pull.inherited


@contextmanager
def pulled_to(
    start: Sequence[np.ndarray], model: keras.Model, alpha: float | None
) -> Iterator[None]:
    """`l2_sp` for as long as a phase runs.

    Args:
        start: Where to pull to, in the order of `model.weights`.
        model: What is trained.
        alpha: Pull of the backbone; None: nothing is done, and a penalty that
            somebody else has set stays.
    """
    if alpha is None:
        yield
        return
    before = [(variable, variable.regularizer) for variable in model.variables]
    l2_sp(model, alpha=alpha, start=start)
    try:
        yield
    finally:
        for variable, regularizer in before:
            variable.regularizer = regularizer


def l2_sp_penalty(model: keras.Model) -> float:
    """What `l2_sp` adds to the loss now; 0 without it.

    Subtract it from a validation loss to compare that with one measured without it.

    Args:
        model: Any model.

    Returns:
        A number of at least 0, over the weights that train.

    Example:
        >>> x = keras.Input((2,))
        >>> model = keras.Model(x, keras.layers.Dense(1)(x))
        >>> l2_sp_penalty(model)
        0.0
    """
    pulled = _pulled(model.trainable_variables)
    return float(sum(float(pull.pull(variable)) for variable, pull in pulled))


def _goals(
    model: keras.Model, start: Sequence[np.ndarray] | None
) -> dict[int, np.ndarray]:
    """Where each weight is pulled to, by its `id`."""
    weights = model.weights
    if start is None:
        train = {id(variable) for variable in model.trainable_variables}
        return {
            id(w): np.array(keras.ops.convert_to_numpy(w))
            for w in weights
            if id(w) in train
        }
    found = [np.shape(array) for array in start]
    wanted = [tuple(weight.shape) for weight in weights]
    if found != wanted:
        hint = "Take them from this model before training: model.get_weights()."
        fail("start", f"{len(wanted)} arrays, as model.weights", _odd(found), hint)
    return {id(w): np.asarray(a) for w, a in zip(weights, start, strict=True)}


def _odd(shapes: list[tuple[int, ...]]) -> str:
    """A few words about arrays that do not fit."""
    return f"{len(shapes)} arrays of the shapes {shapes[:3]}..."


def _pulled(variables: Sequence[Any]) -> Iterator[tuple[Any, PullToStart]]:
    """The variables that are held, with what holds them."""
    for variable in variables:
        if isinstance(variable.regularizer, PullToStart):
            yield variable, variable.regularizer
