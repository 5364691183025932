"""A penalty of one's own is one class: the run, the history and decay follow it."""

from contextlib import contextmanager

import keras
import numpy as np
import pytest
from networks import coloured, timid_classifier, values

import kerastl
from kerastl.penalties import L2SP, Penalty

DATA = coloured(8)


class Shrink(Penalty):
    """`strength * sum |w|` over the kernels that train."""

    def __init__(self, strength, replaces_weight_decay=False):
        self.strength = strength
        self.replaces_weight_decay = replaces_weight_decay

    @contextmanager
    def applied(self, model, start):
        self.start = start
        kernels = self.kernels(model)
        for kernel in kernels:
            kernel.regularizer = keras.regularizers.L1(self.strength)
        yield
        for kernel in kernels:
            kernel.regularizer = None

    def kernels(self, model):
        return [v for v in model.trainable_variables if v.name == "kernel"]

    def value(self, model):
        kernels = [np.array(kernel) for kernel in self.kernels(model)]
        return self.strength * float(sum(np.abs(kernel).sum() for kernel in kernels))


def run(*penalties, trainable="all", cache="auto", epochs=2, learning_rate=0.01):
    model = timid_classifier()
    before = values(model)
    phase = kerastl.Phase(
        "one",
        trainable=trainable,
        epochs=epochs,
        learning_rate=learning_rate,
        optimizer=keras.optimizers.SGD(),
        penalties=penalties,
    )
    settings = {"batch_size": 8, "seed": 0, "monitor": "val_loss", "cache": cache}
    history = kerastl.run_phases(model, DATA, DATA, phases=[phase], **settings)
    return model, history, before


def test_a_penalty_of_ones_own_is_in_the_loss_and_leaves_nothing_behind():
    # At this rate no weight moves: the losses differ by the penalties alone.
    still = {"epochs": 1, "learning_rate": 1e-12}
    plain = run(**still)[1].history["loss"][0]
    own, pull = Shrink(0.02), L2SP(0.1, beta=3.0)
    model, history, before = run(own, pull, **still)
    assert all(variable.regularizer is None for variable in model.variables)
    for given, first in zip(own.start, before, strict=True):
        np.testing.assert_array_equal(given, first)
    head = sum(float(np.square(w).sum()) for w in model.layers[-2].get_weights())
    cost = own.value(model) + 1.5 * head
    assert cost > 0.5
    np.testing.assert_allclose(history.history["loss"][0] - plain, cost, rtol=1e-4)


@pytest.mark.parametrize("cache", ["off", "memory"])
def test_the_validation_loss_is_told_without_it(cache):
    # So weak that each epoch is better than the start: the last one is kept.
    model, history, _ = run(Shrink(0.001), trainable=1, cache=cache)
    images, labels = DATA
    loss = model.evaluate(images.astype("float32"), labels, verbose=0)[0]
    assert history.phases[0].cached == (cache == "memory")
    assert history.best.phase == "one"
    np.testing.assert_allclose(history.best.value, loss, rtol=1e-5)


@pytest.mark.parametrize(("replaces", "decay"), [(False, 0.004), (True, 0.0)])
def test_it_says_whether_weights_decay_beside_it(replaces, decay):
    model = timid_classifier()
    phase = kerastl.Phase(
        "one",
        trainable="head",
        epochs=1,
        learning_rate=1e-3,
        penalties=[Shrink(0.01, replaces)],
    )
    assert phase.penalties[0].replaces_weight_decay == replaces
    kerastl.run_phases(model, DATA, phases=phase, seed=0)
    assert model.optimizer.weight_decay == decay


def test_what_it_costs_is_no_explosion():
    # The penalty is a hundred times what knowing nothing costs.
    _, history, _ = run(Shrink(10.0), trainable="head", epochs=1, learning_rate=1e-6)
    assert history.phases[0].stopped == ""
