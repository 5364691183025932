"""Phases that are held near the start, through `run_phases`."""

import keras
import numpy as np
import pytest
from networks import coloured, timid_classifier, values

import kerastl
from kerastl.penalties import L2SP

DATA = coloured(8)


def run(alpha, *, seed=0, checked=False, **options):
    """How far the backbone went, what the history says, and the model."""
    model = timid_classifier()
    before = values(model)
    phase = kerastl.Phase(
        "all",
        trainable="all",
        epochs=3,
        learning_rate=0.01,
        optimizer=keras.optimizers.SGD(),
        batch_norm="frozen",
        penalties=() if alpha is None else (L2SP(alpha),),
        **options,
    )
    data = DATA, DATA if checked else None
    history = kerastl.run_phases(
        model, *data, phases=[phase], batch_size=8, seed=seed, monitor="val_loss"
    )
    pairs = zip(model.weights, before, values(model), strict=True)
    far = sum(
        float(np.sum((new - old) ** 2))
        for weight, old, new in pairs
        if not weight.path.startswith("head")
    )
    return far, history, model


def test_a_stronger_pull_keeps_the_backbone_nearer_to_the_start():
    free, weak, strong = (run(pull)[0] for pull in (None, 0.5, 20.0))
    assert 0 < strong < weak < free


def test_nothing_of_the_pull_is_left_behind():
    model = run(0.5)[2]
    assert model.losses == []
    assert all(variable.regularizer is None for variable in model.variables)


def test_the_validation_loss_is_told_without_the_penalty():
    _, history, model = run(2.0, checked=True)
    images, labels = DATA
    loss = model.evaluate(images.astype("float32"), labels, verbose=0)[0]
    np.testing.assert_allclose(history.best.value, loss, rtol=1e-5)


def test_a_later_phase_is_held_to_the_start_of_the_run():
    model = timid_classifier()
    before = values(model)
    sgd = keras.optimizers.SGD()
    first = kerastl.Phase(
        "free", trainable="all", epochs=2, learning_rate=0.02, optimizer=sgd
    )
    # So strong that one step of SGD without momentum nearly undoes the first phase.
    held = kerastl.Phase(
        "held",
        trainable="all",
        epochs=1,
        learning_rate=0.001,
        optimizer=sgd,
        penalties=(L2SP(300.0),),
    )

    def distance(phases):
        history = kerastl.run_phases(model, DATA, phases=phases, batch_size=24, seed=0)
        assert len(history.phases) == len(phases)
        weight = model.get_layer("conv1").get_weights()[0]
        place = [w.path for w in model.weights].index("conv1/kernel")
        far = np.linalg.norm(weight - before[place])
        for variable, value in zip(model.weights, before, strict=True):
            variable.assign(value)
        return far

    assert distance([first, held]) < 0.9 * distance([first])


@pytest.mark.parametrize("numbers", [(-1.0,), (0.1, -0.1)])
def test_a_pull_below_zero_is_refused(numbers):
    with pytest.raises(ValueError, match="must be at least 0"):
        L2SP(*numbers)


def test_what_is_no_penalty_is_refused():
    with pytest.raises(TypeError, match="`penalties` must be a tuple of penalties"):
        kerastl.Phase("a", trainable=1, epochs=1, learning_rate=1, penalties=(0.1,))


def test_two_pulls_are_refused():
    penalties = (L2SP(0.1), L2SP(0.2))
    with pytest.raises(ValueError, match="`penalties` must be at most one L2SP"):
        kerastl.Phase("a", trainable=1, epochs=1, learning_rate=1, penalties=penalties)


def test_the_pull_and_weight_decay_exclude_each_other():
    with pytest.raises(ValueError, match="`weight_decay` must be None with L2SP"):
        kerastl.Phase(
            "a",
            trainable="all",
            epochs=1,
            learning_rate=1,
            penalties=(L2SP(1),),
            weight_decay=0.1,
        )


def test_the_pull_replaces_the_optimizers_own_weight_decay():
    phase = {"trainable": "all", "epochs": 1, "learning_rate": 1e-3}
    for penalties, decay in (((), 0.004), ((L2SP(0.1),), 0.0)):
        model = timid_classifier()
        phases = [kerastl.Phase("a", penalties=penalties, **phase)]
        kerastl.run_phases(model, DATA, phases=phases, seed=0)
        assert model.optimizer.weight_decay == decay


def test_a_pull_that_the_user_has_set_comes_back():
    model = timid_classifier()
    kerastl.unfreeze(model, "all", batch_norm="frozen")
    kerastl.penalties.l2_sp(model, alpha=0.3)
    held = [variable.regularizer for variable in model.variables]
    phases = [
        kerastl.Phase(
            "a",
            trainable="all",
            epochs=1,
            learning_rate=1e-3,
            penalties=(L2SP(0.1),),
        )
    ]
    kerastl.run_phases(model, DATA, phases=phases, seed=0)
    assert [variable.regularizer for variable in model.variables] == held
