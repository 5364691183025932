"""What is watched while a phase runs: best weights, patience, losses gone wrong."""

import math

import numpy as np
import pytest
from networks import assert_same_weights, small_classifier, values

import kerastl
from kerastl.training.watching import (
    BestWeights,
    PhaseMonitor,
    moved_paths,
    restore,
    snapshot,
)


@pytest.fixture
def model():
    model = small_classifier()
    model.optimizer.build(model.trainable_variables)
    return model


def bias(model, value=None):
    """The head's bias, a mark by which weights are told apart."""
    dense = model.get_layer("head_dense")
    if value is not None:
        dense.bias.assign(np.full(3, value))
    return float(np.array(dense.bias)[0])


def test_a_snapshot_is_a_copy(model):
    taken = snapshot(model)
    # On JAX the next step gives the variables' own memory away.
    assert all(array.flags.writeable for array in taken)
    before = [array.copy() for array in taken]
    bias(model, 5.0)
    for now, then in zip(taken, before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_restore_puts_every_weight_back(model):
    before = snapshot(model)
    for layer in model.layers:
        layer.set_weights([weight + 1 for weight in layer.get_weights()])
    restore(model, before)
    assert_same_weights(model, before)


def test_moved_paths_are_those_whose_bits_differ(model):
    before = snapshot(model)
    assert moved_paths(model, before) == ()
    variance = model.get_layer("bn2").moving_variance
    variance.assign(np.nextafter(np.array(variance), np.float32(2)))
    bias(model, 1.0)
    assert moved_paths(model, before) == ("bn2/moving_variance", "head_dense/bias")


def test_weights_that_are_not_numbers_have_not_moved_by_themselves(model):
    bias(model, math.nan)
    assert moved_paths(model, snapshot(model)) == ()


def offered(model, monitor, rows):
    """The index of the best of several epochs' logs, and the mark of its weights."""
    tracker = BestWeights(model, monitor)
    for number, logs in enumerate(rows):
        bias(model, float(number))
        tracker.update(logs, "phase", number)
    if tracker.best is None:
        return None
    restore(model, tracker.weights)
    assert bias(model) == tracker.best.epoch
    assert tracker.best.value == rows[tracker.best.epoch][monitor]
    return tracker.best.epoch


def rows(name, *numbers):
    return [{name: number} for number in numbers]


@pytest.mark.parametrize("name", ["val_accuracy", "val_auc"])
def test_scores_are_maximised(model, name):
    assert offered(model, name, rows(name, 0.1, 0.7, 0.5)) == 1


@pytest.mark.parametrize(
    "name", ["val_loss", "val_mse", "val_mae", "val_mean_absolute_error"]
)
def test_losses_and_errors_are_minimised(model, name):
    assert offered(model, name, rows(name, 0.7, 0.1, 0.5)) == 1


def test_the_earlier_of_equals_is_kept(model):
    assert offered(model, "val_accuracy", rows("val_accuracy", 0.5, 0.5)) == 0


def test_of_equals_the_lower_loss_is_better(model):
    logs = [{"val_accuracy": 0.5, "val_loss": loss} for loss in (0.3, 0.2, 0.25)]
    assert offered(model, "val_accuracy", logs) == 1


def test_of_equals_a_loss_that_is_no_number_is_worst(model):
    losses = (0.2, math.nan, 0.3, math.inf)
    logs = [{"val_accuracy": 0.5, "val_loss": loss} for loss in losses]
    assert offered(model, "val_accuracy", logs) == 0


def test_results_that_are_no_numbers_are_never_best(model):
    logs = rows("val_loss", math.nan, 0.5, math.inf, -math.inf)
    assert offered(model, "val_loss", logs) == 1
    assert offered(model, "val_loss", rows("val_loss", math.nan)) is None


def test_what_was_not_measured_is_never_best(model):
    assert offered(model, "val_loss", rows("loss", 1.0)) is None


def phase(name, patience=None):
    return kerastl.Phase(
        name, trainable="head", epochs=9, learning_rate=1.0, patience=patience
    )


def watch(model, monitor="val_accuracy", patience=None, ceiling=None, history=None):
    made = PhaseMonitor(
        BestWeights(model, monitor),
        {} if history is None else history,
        phase("phase", patience),
        ceiling,
    )
    made.set_model(model)
    model.stop_training = False
    return made


def run(monitor, results, loss=1.0):
    """Epochs with these validation accuracies, until the monitor stops them."""
    for number, result in enumerate(results):
        bias(monitor.model, float(number))
        monitor.on_epoch_begin(number)
        logs = {"loss": loss}
        if result is not None:
            logs["val_accuracy"] = result
        monitor.on_epoch_end(number, logs)
        if monitor.model.stop_training:
            break
    return monitor.epochs


def test_patience_counts_epochs_without_a_better_result(model):
    monitor = watch(model, patience=2)
    assert run(monitor, [0.1, 0.3, 0.2, 0.25, 0.9]) == 4
    assert monitor.stopped == "no better result in 2 epochs"
    restore(model, monitor.best_in_phase)
    assert bias(model) == 1.0


def test_a_better_result_starts_the_count_again(model):
    assert run(watch(model, patience=2), [0.1, 0.0, 0.2, 0.1, 0.3, 0.2]) == 6


def test_without_patience_nothing_stops(model):
    monitor = watch(model)
    assert run(monitor, [0.5, 0.4, 0.3]) == 3
    assert monitor.stopped == ""


def test_where_nothing_is_measured_patience_waits_for_nothing(model):
    assert run(watch(model, patience=1), [None] * 4) == 4


def test_patience_is_the_phases_and_not_the_runs(model):
    history = {}
    first = watch(model, history=history)
    run(first, [0.9])
    second = PhaseMonitor(first.tracker, history, phase("second", 2), None)
    second.set_model(model)
    assert run(second, [0.1, 0.2, 0.3, 0.2, 0.1]) == 5
    assert first.tracker.best.phase == "phase"


def test_history_grows_by_one_value_an_epoch(model):
    history = {}
    run(watch(model, history=history), [0.1, 0.2])
    assert history["val_accuracy"] == [0.1, 0.2]
    assert history["loss"] == [1.0, 1.0]
    np.testing.assert_allclose(history["learning_rate"], 1e-3, rtol=1e-6)
    assert all(seconds >= 0 for seconds in history["seconds"])


def test_columns_have_a_value_for_every_epoch(model):
    history = {}
    run(watch(model, history=history), [None, 0.2, None])
    np.testing.assert_array_equal(history["val_accuracy"], [math.nan, 0.2, math.nan])
    assert {len(column) for column in history.values()} == {3}


def test_epochs_are_numbered_over_all_phases(model):
    monitor = watch(model, history={"loss": [1.0, 1.0]})
    run(monitor, [0.5])
    assert monitor.tracker.best.epoch == 2


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_phase(model, loss):
    monitor = watch(model)
    assert run(monitor, [0.5, 0.5], loss=loss) == 1
    assert monitor.diverged
    assert monitor.stopped == "stopped in epoch 1: the loss is not finite"
    assert monitor.tracker.best is None


def test_a_loss_above_the_ceiling_stops_the_phase(model):
    monitor = watch(model, ceiling=2.0)
    monitor.on_epoch_begin(0)
    monitor.on_train_batch_end(0, {"loss": 0.9})
    monitor.on_train_batch_end(16, {"loss": 1.9})
    assert not monitor.diverged
    monitor.on_train_batch_end(32, {"loss": 2.1})
    assert monitor.diverged
    assert model.stop_training
    assert monitor.stopped == "stopped in epoch 1, step 33: the loss is 2.1, above 2"


def test_a_phase_that_begins_above_the_ceiling_stops_where_its_loss_doubles(model):
    monitor = watch(model, ceiling=2.0)
    monitor.on_epoch_begin(0)
    monitor.on_train_batch_end(0, {"loss": 3.0})
    monitor.on_train_batch_end(16, {"loss": 5.9})
    assert not monitor.diverged
    monitor.on_train_batch_end(32, {"loss": 6.1})
    assert monitor.stopped == "stopped in epoch 1, step 33: the loss is 6.1, above 6"


def test_only_the_first_step_of_a_phase_is_where_it_begins(model):
    monitor = watch(model, ceiling=2.0)
    run(monitor, [0.5], loss=1.0)
    monitor.on_epoch_begin(1)
    monitor.on_train_batch_end(0, {"loss": 2.1})
    assert monitor.diverged


def test_the_loss_is_read_now_and_then_only(model):
    monitor = watch(model)
    monitor.on_train_batch_end(1, {"loss": math.nan})
    assert not monitor.diverged


def test_a_name_that_is_not_measured_is_refused(model):
    monitor = watch(model, "val_acuracy")
    with pytest.raises(ValueError, match=r"one of .*Did you mean 'val_accuracy'"):
        run(monitor, [0.5])


def test_watching_changes_no_weight(model):
    before = values(model)
    monitor = watch(model, patience=2)
    monitor.on_epoch_begin(0)
    monitor.on_epoch_end(0, {"loss": 1.0, "val_accuracy": 0.5})
    assert_same_weights(model, before)


def test_where_a_phase_stopped_is_counted_from_one(model):
    history = {}
    run(watch(model, history=history), [0.1])
    second = PhaseMonitor(BestWeights(model, "val_loss"), history, phase("b"), 5.0)
    second.set_model(model)
    # `fit` counts over all phases, the message within this one.
    second.on_epoch_begin(1)
    second.on_train_batch_end(0, {"loss": 1.0})
    second.on_train_batch_end(16, {"loss": 50.0})
    words = "stopped in epoch 1, step 17: the loss is 50, above 5"
    assert second.stopped == words
