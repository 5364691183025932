"""What cannot work is refused before anything trains, and leaves no trace."""

import keras
import numpy as np
import pytest
from networks import assert_same_weights, coloured, small_classifier, trains, values

import kerastl
from kerastl.features.sources import make_source
from kerastl.models.record import read_record, set_temperature
from kerastl.tasks.classification import ClassAccuracy
from kerastl.tasks.compiling import objective
from kerastl.tasks.task import bind
from kerastl.training.checks import (
    check_callbacks,
    check_mixing,
    check_monitor,
    check_phases,
)
from kerastl.training.watching import monitored

DATA = coloured(4)


def phase(name="some", **settings):
    given = {"trainable": "head", "epochs": 1, "learning_rate": 0.01, **settings}
    return kerastl.Phase(name, **given)


def traces(model):
    """All that a run could change: weights and seeds, flags, the temperature."""
    seeds = [np.array(keras.ops.convert_to_numpy(v)) for v in model.variables]
    return [*values(model), *seeds], trains(model), read_record(model).temperature


@pytest.mark.parametrize(
    ("settings", "options", "sentence"),
    [
        ({"trainable": "blokk_1"}, {}, "Did you mean 'block_1'"),
        ({"trainable": "lora"}, {}, "something that the backbone has"),
        ({"trainable": 4}, {}, "`trainable` must be at most 3"),
        ({"optimizer": "adamx"}, {}, "a Keras optimizer or its name"),
        ({"weight_decay": -1.0}, {}, "`weight_decay` must be at least 0"),
        ({"trainable": 1, "multipliers": {"block_1": 2}}, {}, "of what trains"),
        (
            {"optimizer": keras.optimizers.SGD(gradient_accumulation_steps=2)},
            {},
            "steps within the 1 batches of phase 'next'.*accumulation_steps=2",
        ),
        ({}, {"monitor": "val_acuracy"}, "Did you mean 'val_accuracy'"),
        ({}, {"metrics": [], "monitor": "val_accuracy"}, "one of 'val_loss'"),
        ({}, {"label_smoothing": 2.0}, "`label_smoothing` must be"),
        ({}, {"class_weight": {"ash": 1.0}}, "`class_weight` must be given for every"),
    ],
)
def test_a_refused_run_leaves_no_trace(settings, options, sentence):
    model = small_classifier(learnt=True, dropout=0.5)
    set_temperature(model, 3.0)
    arrays, flags, temperature = traces(model)
    phases = [phase(), phase("next", **settings)]
    with pytest.raises(ValueError, match=sentence) as caught:
        kerastl.run_phases(model, DATA, DATA, phases=phases, seed=7, **options)
    # A run that had begun would say what it left behind.
    assert not hasattr(caught.value, "__notes__")
    for old, new in zip(arrays, traces(model)[0], strict=True):
        np.testing.assert_array_equal(old, new)
    assert traces(model)[1:] == (flags, temperature)


@pytest.mark.parametrize("ruined", [True, False])
def test_the_temperature_goes_with_the_weights_it_was_for(ruined, recwarn):
    model = small_classifier(learnt=True)
    set_temperature(model, 3.0)
    before = values(model)
    wild = {"learning_rate": 1e30, "optimizer": "sgd", "epochs": 2}
    settings = wild if ruined else {}
    kerastl.run_phases(model, DATA, phases=phase(**settings), seed=0)
    said = [
        str(each.message) for each in recwarn if "calibrate it" in str(each.message)
    ]
    assert len(said) == (0 if ruined else 1)
    assert read_record(model).temperature == (3.0 if ruined else 1.0)
    if ruined:
        assert_same_weights(model, before)
        logits = model.predict(DATA[0].astype("float32"), verbose=0)
        set_temperature(model, 1.0)
        plain = model.predict(DATA[0].astype("float32"), verbose=0)
        np.testing.assert_allclose(3 * logits, plain, rtol=1e-4, atol=1e-5)


class Unforeseen(keras.metrics.Mean):
    """A metric of the user's, that may return whatever it likes."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        super().update_state(y_pred)


def of_shares(labels, outputs):
    """A metric that is a function."""
    return keras.ops.mean(outputs, axis=-1)


@pytest.mark.parametrize(
    ("metrics", "monitor"),
    [
        (None, "auto"),
        (None, "val_accuracy"),
        (None, "loss"),
        (["acc"], "val_accuracy"),
        ([of_shares], "val_of_shares"),
        (["mse"], "val_mse"),
        (["mse"], "val_mean_squared_error"),
        ([keras.metrics.AUC(name="area")], "val_area"),
        ([Unforeseen(name="one")], "val_other"),
        ([keras.metrics.AUC(name="a"), keras.metrics.AUC(name="a")], "val_a_1"),
    ],
)
def test_what_may_be_logged_may_be_monitored(metrics, monitor):
    model = small_classifier()
    check_monitor(model, objective(model, metrics=metrics)[1], monitor)


@pytest.mark.parametrize(
    ("metrics", "monitor"),
    [
        (None, "val_accuracy"),
        ([], "val_loss"),
        (["mse"], "val_loss"),
        (["acc"], "val_accuracy"),
        ([keras.metrics.BinaryAccuracy()], "val_binary_accuracy"),
        ([keras.metrics.CategoricalAccuracy(name="hits_acc")], "val_hits_acc"),
        (["mse", "sparse_categorical_accuracy"], "val_sparse_categorical_accuracy"),
        (
            [
                keras.metrics.SparseTopKCategoricalAccuracy(2),
                ClassAccuracy(name="own"),
                keras.metrics.SparseCategoricalAccuracy(name="accuracy"),
            ],
            "val_accuracy",
        ),
    ],
)
def test_an_accuracy_of_any_kind_is_what_auto_means(metrics, monitor):
    settings = {"loss": None, "metrics": metrics, "label_smoothing": 0.0}
    assert monitored(bind(small_classifier()), settings, "auto") == monitor


def large_rates(recwarn):
    return [str(w.message) for w in recwarn if "has learnt nothing" in str(w.message)]


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({"trainable": "all", "learning_rate": 1e-2}, 1),
        ({"trainable": "all", "learning_rate": 0.1, "optimizer": "rmsprop"}, 1),
        ({"trainable": 1, "learning_rate": 1e-2}, 0),
        ({"trainable": "all", "learning_rate": 0.5, "optimizer": "sgd"}, 1),
        ({"trainable": "all", "learning_rate": 1e-2, "optimizer": "sgd"}, 0),
        ({"trainable": "norm", "learning_rate": 1e-2}, 0),
        ({"trainable": "head", "learning_rate": 1e-2}, 0),
        ({"trainable": "all", "learning_rate": 1e-3}, 0),
    ],
)
def test_a_large_rate_under_a_new_head_is_warned_of(settings, count, recwarn):
    check_phases(bind(small_classifier()), [phase(**settings)])
    assert len(large_rates(recwarn)) == count


def test_under_a_head_that_has_learnt_rates_are_the_users_affair(recwarn):
    phases = [phase(trainable="all", learning_rate=1e-2)]
    check_phases(bind(small_classifier(learnt=True)), phases)
    check_phases(bind(small_classifier()), [phase(), *phases])
    assert not large_rates(recwarn)


class Writes(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.model.optimizer.learning_rate = 0.1


class Assigns(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        rule = self.model.optimizer
        rule.learning_rate.assign(0.1)


class Plateau(keras.callbacks.ReduceLROnPlateau):
    pass


class Notes(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.learning_rate = float(self.model.optimizer.learning_rate)


@pytest.mark.parametrize(
    ("callback", "refused"),
    [
        (keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate), True),
        (Plateau(), True),
        (Writes(), True),
        (Assigns(), True),
        (Notes(), False),
        (keras.callbacks.LambdaCallback(on_epoch_end=print), False),
    ],
    ids=lambda each: type(each).__name__,
)
def test_whoever_sets_a_rate_goes_with_constant_phases_alone(callback, refused):
    check_callbacks([phase()], [callback])
    scheduled = [phase(schedule="cosine")]
    if not refused:
        check_callbacks(scheduled, [callback])
        return
    sentence = f"without {type(callback).__name__}, as phase 'some' schedules its rate"
    with pytest.raises(ValueError, match=sentence):
        check_callbacks(scheduled, [callback])


def test_gradients_may_gather_over_as_many_batches_as_there_are():
    gathering = keras.optimizers.Adam(gradient_accumulation_steps=4)
    phases = [phase(optimizer=gathering, epochs=2)]
    check_phases(bind(small_classifier()), phases, 2)
    check_phases(bind(small_classifier()), phases, None)
    with pytest.raises(ValueError, match="within the 2 batches"):
        check_phases(bind(small_classifier()), phases, 1)


def test_what_a_callback_may_log_is_not_refused_early():
    model, stop = small_classifier(), keras.callbacks.LambdaCallback()
    options = {"monitor": "val_mine", "callbacks": [stop], "seed": 0}
    with pytest.raises(ValueError, match="`monitor` must be one of") as caught:
        kerastl.run_phases(model, DATA, DATA, phases=phase(), **options)
    assert hasattr(caught.value, "__notes__")


@pytest.mark.parametrize(
    "options",
    [
        {"loss": "sparse_categorical_crossentropy"},
        {"loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True)},
        {"loss": keras.losses.sparse_categorical_crossentropy},
        {"metrics": ["accuracy", "sparse_top_k_categorical_accuracy"]},
        {"metrics": [keras.metrics.SparseTopKCategoricalAccuracy(2)]},
    ],
)
def test_mixed_labels_are_no_class_indices(options):
    phases = [phase(), phase("mixed", trainable="all", mixup=0.2)]
    sentence = "of one-hot labels with the mixed images of 'mixed'.*rows of shares"
    with pytest.raises(ValueError, match=sentence) as caught:
        kerastl.run_phases(small_classifier(), DATA, phases=phases, **options)
    assert not hasattr(caught.value, "__notes__")


def test_losses_and_metrics_that_take_shares_may_be_mixed():
    model = small_classifier()
    source = make_source(model, DATA, "train")
    own, metrics = objective(model)
    for loss in (None, own, "categorical_crossentropy"):
        for given in (None, metrics, ["accuracy"], ["categorical_accuracy"]):
            check_mixing([phase(mixup=0.2)], source, None, loss, given)
    # Without mixing labels stay as they are.
    check_mixing([phase()], source, None, "sparse_categorical_crossentropy", None)
