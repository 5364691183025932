"""Penalties added to the loss of a phase."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from kerastl._checks import check_number, fail
from kerastl._compat import held_array
from kerastl.models.freezing import head_layers, leaf_layers


class Penalty(ABC):
    """What a phase adds to its loss; derive your own from it.

    The usual way is a regularizer on the variables that train, as Keras's own are:
    what is fitted may be the part of the model above a cached one, and shares them.

    Attributes:
        replaces_weight_decay: Whether the phase trains without weight decay.

    Example:
        >>> from contextlib import contextmanager
        >>> class Smaller(Penalty):
        ...     @contextmanager
        ...     def applied(self, model, start):
        ...         kernel = model.layers[-1].kernel
        ...         before, kernel.regularizer = kernel.regularizer, self.cost
        ...         yield
        ...         kernel.regularizer = before
        ...
        ...     def cost(self, kernel):
        ...         return 0.1 * ops.sum(ops.abs(kernel))
        ...
        ...     def value(self, model):
        ...         return float(self.cost(model.layers[-1].kernel))
        >>> Smaller().replaces_weight_decay
        False
    """

    replaces_weight_decay: bool = False

    @abstractmethod
    def applied(
        self, model: keras.Model, start: Sequence[np.ndarray]
    ) -> AbstractContextManager[None]:
        """Add the penalty for the time of the block, before the model is compiled.

        Args:
            model: The whole model; what trains is set.
            start: The weights that the run began with, in the order of
                `model.weights`.
        """

    @abstractmethod
    def value(self, model: keras.Model) -> float:
        """What it adds to the loss now; validation losses are told without it."""


@dataclass(frozen=True)
class L2SP(Penalty):
    """`l2_sp` for a phase: its start is where the whole run began.

    It stands in place of weight decay, which pulls the same weights to zero.

    Attributes:
        alpha: Pull of the backbone's weights that train, at least 0.
        beta: Pull of the head's weights to zero, at least 0.

    Example:
        >>> import kerastl
        >>> phase = kerastl.Phase(
        ...     "all",
        ...     trainable="all",
        ...     epochs=8,
        ...     learning_rate=5e-4,
        ...     penalties=(L2SP(0.01),),
        ... )
    """

    alpha: float
    beta: float = 0.01
    replaces_weight_decay: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the numbers."""
        check_number("alpha", self.alpha, 0.0)
        check_number("beta", self.beta, 0.0)

    @contextmanager
    def applied(
        self, model: keras.Model, start: Sequence[np.ndarray]
    ) -> Iterator[None]:
        """Hold the weights that train; the regularizers of before come back."""
        before = [(variable, variable.regularizer) for variable in model.variables]
        l2_sp(model, alpha=self.alpha, beta=self.beta, start=start)
        try:
            yield
        finally:
            for variable, regularizer in before:
                variable.regularizer = regularizer

    def value(self, model: keras.Model) -> float:
        """The pull of all weights that train."""
        return l2_sp_penalty(model)


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

    Adds `alpha / 2 ||w - w0||² + beta / 2 ||w_head||²` to the loss of a `fit` of your
    own; for phases take `L2SP`. It stands in place of weight decay, which pulls the
    same weights to zero. Set what trains first and compile afterwards; `model.evaluate`
    then reports the loss with the penalty in it. The start is one copy of the weights
    that train, beside the model.

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
        received = f"{len(found)} arrays of the shapes {found[:3]}..."
        fail("start", f"{len(wanted)} arrays, as model.weights", received, hint)
    return {id(w): np.asarray(a) for w, a in zip(weights, start, strict=True)}


def _pulled(variables: Sequence[Any]) -> Iterator[tuple[Any, PullToStart]]:
    """The variables that are held, with what holds them."""
    for variable in variables:
        if isinstance(variable.regularizer, PullToStart):
            yield variable, variable.regularizer
