"""A run within its limits: a full memory, minutes, and what it says at the end."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from networks import (
    assert_same_weights,
    coloured,
    small_classifier,
    small_network,
    timid_classifier,
    values,
)

import kerastl
from kerastl.training.watching import is_out_of_memory

DATA = coloured(4)


def phase(name="head", **options):
    given = {"trainable": "head", "epochs": 1, "learning_rate": 0.05, **options}
    return kerastl.Phase(name, optimizer=keras.optimizers.SGD(), **given)


def run(model, *phases, validation=DATA, **options):
    options = {"batch_size": 8, "seed": 0, "verbose": 0, **options}
    return kerastl.run_phases(model, DATA, validation, phases=phases, **options)


class Full(keras.callbacks.Callback):
    """A memory that is full in the first steps of some fits."""

    def __init__(self, error, times, epoch=0):
        super().__init__()
        self.error, self.times, self.epoch, self.now = error, times, epoch, 0

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if self.now == self.epoch and self.times > 0:
            self.times -= 1
            raise self.error


ERRORS = [
    MemoryError("Unable to allocate 9.00 GiB"),
    tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"),
    RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes."),
    type("OutOfMemoryError", (RuntimeError,), {})("CUDA error"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_full_memory_is_known_by_what_each_backend_calls_it(error):
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error", [ValueError("no"), KeyboardInterrupt("out of memory")]
)
def test_other_errors_are_not_taken_for_it(error):
    assert not is_out_of_memory(error)


@pytest.mark.filterwarnings("ignore:The memory does not hold:RuntimeWarning")
@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("cache", ["memory", "off"])
def test_smaller_batches_make_the_same_steps(times, cache, recwarn):
    """Means of gradients over parts of a batch are the gradient of the batch."""
    trained = []
    for full in ([], [Full(ERRORS[times], times)]):
        keras.utils.set_random_seed(0)
        model = small_classifier(dropout=0.0)
        given = {"batch_size": 4, "callbacks": full, "cache": cache}
        history = run(model, phase(epochs=2), **given)
        assert len(history.history["loss"]) == 2
        trained.append(model.get_layer("head_dense").get_weights())
    said = [str(w.message) for w in recwarn if "goes on with batches of" in str(w)]
    assert len(said) == times
    assert f"batches of {4 // 2**times}, and gathers the gradients" in said[-1]
    for one, other in zip(*trained, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore:The memory does not hold:RuntimeWarning")
@pytest.mark.parametrize(
    ("times", "epoch", "kept"),
    [
        (9, 0, "the weights that the run began with"),
        (1, 1, "the best weights so far"),
    ],
)
def test_a_memory_that_stays_full_is_told_in_a_sentence(times, epoch, kept):
    model = small_classifier()
    full = Full(ERRORS[1], times, epoch)
    with pytest.raises(MemoryError, match="The memory is full at batches of") as caught:
        run(model, phase(epochs=2), callbacks=[full])
    assert len(str(caught.value).splitlines()) == 1
    assert kept in caught.value.__notes__[0]


def test_the_minutes_end_an_epoch_and_leave_phases_out():
    model = timid_classifier()
    phases = phase("a", epochs=5), phase("b", trainable="all")
    with pytest.warns(UserWarning, match="phases are left out: 'b'"):
        history = run(model, *phases, minutes=1e-9)
    (record,) = history.phases
    assert record.stopped == "stopped in time; no time for 'b'"
    assert len(history.history["val_loss"]) == 1
    assert history.best.phase == "a"


def test_minutes_that_suffice_change_nothing():
    ends = []
    for minutes in (None, 60):
        model = timid_classifier()
        run(model, phase(epochs=2), minutes=minutes)
        ends.append(values(model))
    assert_same_weights(model, ends[0])


@pytest.mark.parametrize("minutes", [0, -1.0])
def test_minutes_are_above_zero(minutes):
    with pytest.raises(ValueError, match="`minutes` must be above 0"):
        run(small_classifier(), phase(), minutes=minutes)


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        ({"epochs": 2}, {"cache": "memory"}),
        ({}, {"cache": "off"}),
        ({}, {"augment": "light"}),
        ({"mixup": 0.2, "trainable": 1}, {}),
    ],
)
def test_training_images_are_scored_as_they_are(settings, options):
    model = timid_classifier()
    history = run(model, phase(**settings), batch_size=4, **options)
    clean = history.phases[0].clean
    assert history.best.epoch == history.phases[0].stop - 1
    loss, accuracy = model.evaluate(DATA[0].astype("float32"), DATA[1], verbose=0)
    assert clean["images"] == len(DATA[1])
    assert clean["loss"] == pytest.approx(loss, rel=1e-4)
    assert clean["accuracy"] == pytest.approx(accuracy)
    assert "12 training images without augmentation and dropout" in str(history)


WORSE = "is above that of validation, .*, as it is taken under both"


@pytest.mark.parametrize(
    ("build", "settings", "options"),
    [
        ({"dropout": 0.95}, {}, {}),
        ({}, {"mixup": 5.0, "trainable": 1}, {}),
        ({}, {"trainable": "all", "learning_rate": 0.02}, {"cache": "off"}),
    ],
)
def test_a_training_loss_above_that_of_validation_is_explained(
    build, settings, options
):
    keras.utils.set_random_seed(0)
    model = small_classifier(**build)
    history = run(model, phase(**settings), batch_size=4, **options)
    last = {name: history.history[name][-1] for name in ("loss", "val_loss")}
    # All three are as usual; what is scored as it is agrees with validation.
    assert last["loss"] > last["val_loss"]
    assert history.phases[0].clean["loss"] == pytest.approx(last["val_loss"], rel=1e-4)
    assert re.search(WORSE, str(history))


def test_a_training_loss_below_that_of_validation_needs_no_words():
    history = run(timid_classifier(), phase(epochs=3))
    history.history["val_loss"][-1] = history.history["loss"][-1] + 0.1
    assert "above that of validation" not in str(history)
    history.history["val_loss"][-1] = history.history["loss"][-1] - 0.1
    assert "above that of validation" in str(history)


def test_without_validation_there_is_nothing_to_compare_with():
    history = run(timid_classifier(), phase(), validation=None)
    assert history.phases[0].clean == {}
    assert "training images" not in str(history)


def compiled(loss="mse", metrics=("mae",)):
    network = small_network()
    flat = keras.layers.GlobalAveragePooling2D()(network.output)
    model = keras.Model(network.input, keras.layers.Dense(1, name="age")(flat))
    model.compile("adam", loss, metrics=list(metrics))
    return model


AGES = DATA[0].astype("float32") / 255.0, np.arange(12.0)


@pytest.mark.parametrize("metrics", [("mae",), (keras.metrics.MeanSquaredError(),), ()])
def test_a_compiled_model_brings_its_loss_and_metrics(metrics):
    model = compiled(metrics=metrics)
    phases = [phase(trainable=["age"])]
    history = kerastl.run_phases(model, AGES, AGES, phases=phases, seed=0, verbose=0)
    assert "loss" in history.history
    named = {getattr(each, "name", each) for each in metrics}
    assert named <= set(history.history)
    expected = np.square(model.predict(AGES[0], verbose=0)[:, 0] - AGES[1]).mean()
    assert history.history["val_loss"][0] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    "call",
    [
        lambda model: kerastl.fine_tune(
            model, AGES, recipe="linear_probe", epochs=1, verbose=0
        ),
        lambda model: kerastl.rates.find_learning_rate(model, AGES, steps=10),
        lambda model: kerastl.rates.relative_gradient_norms(model, AGES, batches=1),
    ],
)
def test_whatever_takes_a_loss_takes_the_compiled_one(call):
    call(compiled())
    with pytest.raises(ValueError, match="`loss` must be given for this model"):
        plain = compiled()
        call(keras.Model(plain.input, plain.output))
