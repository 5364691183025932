"""Invariant 6: the final weights are the best over all phases, whatever happens."""

import keras
import numpy as np
import pytest
from carriers import build, values

import kerastl
from kerastl import Phase


def accuracy(model, data):
    predicted = kerastl.predict(model, data[0]).indices
    return float(np.mean(predicted == data[1]))


GOOD = Phase("good", trainable="head", epochs=6, learning_rate=0.1)
# A rate at which one step wipes out what was learnt, without exploding.
BAD = Phase("bad", trainable="all", epochs=2, learning_rate=0.1)


# Where its loss rises above that of knowing nothing it is stopped, and that is said.
@pytest.mark.filterwarnings("ignore:Phase 'bad' stopped")
def test_a_ruinous_phase_cannot_lower_the_result(data):
    model = build()
    kerastl.run_phases(model, data, data, phases=[GOOD], seed=0)
    good = accuracy(model, data)
    history = kerastl.run_phases(model, data, data, phases=[GOOD, BAD], seed=0)
    assert accuracy(model, data) >= good
    assert accuracy(model, data) == pytest.approx(history.best.value)
    assert min(history.history["val_accuracy"][6:]) < history.best.value


def test_best_is_the_maximum_of_the_history(data):
    model = build()
    history = kerastl.run_phases(model, data, data, phases=[GOOD, BAD], seed=0)
    assert history.best.value == max(history.history["val_accuracy"])


def test_training_on_returns_nothing_worse_than_the_start(data):
    model = build()
    kerastl.run_phases(model, data, data, phases=[GOOD], seed=0)
    before = accuracy(model, data)
    history = kerastl.run_phases(model, data, data, phases=[BAD], seed=0)
    assert accuracy(model, data) >= before
    assert history.best.phase == "start" or history.best.value >= before


def test_an_explosion_is_stopped_undone_and_explained(data):
    model = build()
    wild = Phase("wild", trainable="all", epochs=3, learning_rate=1e6, optimizer="sgd")
    with pytest.warns(RuntimeWarning, match="'wild' stopped in epoch"):
        history = kerastl.run_phases(model, data, data, phases=[GOOD, wild], seed=0)
    assert history.phases[1].stop - history.phases[1].start < 3
    assert history.best.phase == "good"
    assert all(np.isfinite(value).all() for value in values(model))


class Interrupt(keras.callbacks.Callback):
    """Ctrl-C in the middle of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.at = epoch
        self.epoch = 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch += 1

    def on_train_batch_end(self, batch, logs=None):
        if self.epoch == self.at and batch == 1:
            raise KeyboardInterrupt


@pytest.mark.parametrize("validated", [True, False])
def test_an_interruption_leaves_the_best_weights(data, validated):
    finished = build()
    phase = Phase("head", trainable="head", epochs=2, learning_rate=0.1)
    checked = data if validated else None
    options = {"phases": [phase], "seed": 0, "batch_size": 6, "cache": "off"}
    kerastl.run_phases(finished, data, checked, **options)

    model = build()
    long = Phase("head", trainable="head", epochs=9, learning_rate=0.1)
    with pytest.raises(KeyboardInterrupt) as raised:
        kerastl.run_phases(
            model,
            data,
            checked,
            **{**options, "phases": [long]},
            callbacks=[Interrupt(epoch=3)],
        )
    for kept, expected in zip(values(model), values(finished), strict=True):
        np.testing.assert_array_equal(kept, expected)
    assert "The model has" in raised.value.__notes__[0]


def test_an_interruption_before_the_first_epoch_leaves_the_start(data):
    model = build()
    before = values(model)
    with pytest.raises(KeyboardInterrupt):
        kerastl.run_phases(
            model,
            data,
            data,
            phases=[BAD],
            seed=0,
            batch_size=6,
            callbacks=[Interrupt(epoch=1)],
        )
    for old, new in zip(before, values(model), strict=True):
        np.testing.assert_array_equal(old, new)


def test_patience_stops_and_returns_to_the_best_of_the_phase(data):
    model = build()
    # Steps too small to be seen in the loss: the first epoch stays the best.
    patient = Phase("idle", trainable="all", epochs=9, learning_rate=1e-30, patience=2)
    history = kerastl.run_phases(
        model, data, data, phases=[patient], monitor="val_loss", seed=0
    )
    assert history.phases[0].stop == 3
    assert "no better result in 2 epochs" in history.phases[0].stopped


def test_without_validation_the_last_weights_are_kept(data):
    model = build()
    history = kerastl.run_phases(model, data, phases=[GOOD], seed=0)
    assert history.best is None
    assert not np.array_equal(values(model)[-1], 0 * values(model)[-1])


@pytest.mark.parametrize("weights", [{"ash": 10, "beech": 10, "cedar": 10}, "balanced"])
def test_class_weights_are_no_explosion(data, weights):
    model = build(l2=0.01, hidden=(64,))
    history = kerastl.run_phases(
        model, data, data, phases=[GOOD], seed=0, class_weight=weights
    )
    assert history.phases[0].stopped == ""


def test_patience_without_validation_is_refused(data):
    phase = Phase("head", trainable="head", epochs=2, learning_rate=0.1, patience=1)
    with pytest.raises(ValueError, match="`validation` must be given"):
        kerastl.run_phases(build(), data, phases=[phase])


def test_a_dataset_of_unknown_length_is_counted(data):
    import tensorflow as tf

    def rows():
        for start in range(0, 18, 6):
            yield data[0][start : start + 6], data[1][start : start + 6]

    signature = (
        tf.TensorSpec((None, 32, 32, 3), tf.uint8),
        tf.TensorSpec((None,), tf.int64),
    )
    batches = tf.data.Dataset.from_generator(rows, output_signature=signature)
    phase = Phase(
        "head", trainable="head", epochs=3, learning_rate=0.1, schedule="cosine"
    )
    history = kerastl.run_phases(build(), batches, phases=[phase], seed=0)
    rates = history.history["learning_rate"]
    np.testing.assert_allclose(rates, [0.075, 0.025, 0.0], atol=1e-6)


def test_a_generator_is_refused(data):
    with pytest.raises(ValueError, match="more than once"):
        kerastl.run_phases(build(), (batch for batch in [data]), phases=[GOOD])
