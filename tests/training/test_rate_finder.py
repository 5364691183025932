"""The sweep: each batch's own loss at its own rate, and nothing left in the model."""

import random

import keras
import numpy as np
import pytest
from keras import layers
from keras.src.random.seed_generator import global_seed_generator
from networks import CLASSES, coloured, outputs, small_classifier, values

import kerastl
from kerastl._compat import sublayers
from kerastl.data.batches import epoch_order
from kerastl.data.sets import ImageSet
from kerastl.models.record import read_record, set_temperature
from kerastl.training import rate_finder
from kerastl.training.rate_finder import find_learning_rate, rising_rate

SWEEP = {"steps": 12, "batch_size": 8}


def classifier(**options):
    """A compiled classifier that has been trained a little."""
    model = small_classifier(learnt=True, **options)
    images, labels = coloured()
    model.train_on_batch(images.astype("float32"), labels)
    return model


@pytest.fixture(scope="module")
def model():
    """One for many searches: none may leave anything in it."""
    return classifier(dropout=0.5)


@pytest.fixture(scope="module")
def plain():
    """The same without noise."""
    return classifier(dropout=0.0)


def test_the_rates_rise_by_one_factor_from_end_to_end(plain):
    curve = find_learning_rate(plain, coloured(), low=1e-9, high=1e-7, **SWEEP)
    np.testing.assert_allclose(curve.rates, np.geomspace(1e-9, 1e-7, 12))
    schedule = rising_rate(1e-9, 1e-7, 12)
    used = [float(schedule(step)) for step in range(12)]
    np.testing.assert_allclose(used, curve.rates, rtol=1e-4)
    assert curve.stopped == ""


@pytest.mark.parametrize("cache", ["auto", "off"])
def test_each_loss_is_that_of_its_own_batch(cache, plain):
    images, labels = coloured(7)  # 21 images: two batches of 8, and one of 5
    # At these rates the weights stay where they are.
    found = find_learning_rate(
        plain, (images, labels), low=1e-15, high=1e-14, seed=3, cache=cache, **SWEEP
    )
    expected = []
    for epoch in range(4):
        order = epoch_order(21, 3, epoch)
        for start in (0, 8, 16):
            batch = order[start : start + 8]
            inputs = images[batch].astype("float32")
            scores = plain.evaluate(inputs, labels[batch], verbose=0, return_dict=True)
            expected.append(scores["loss"])
    np.testing.assert_allclose(found.losses, expected, rtol=1e-5)


def quadratic(curvature):
    """A model of one weight, 1 at first, and the loss h w^2 / 2."""
    x = keras.Input((1,))
    dense = layers.Dense(1, use_bias=False, kernel_initializer="ones")
    model = keras.Model(x, dense(x))
    return model, lambda y, w: 0.5 * curvature * keras.ops.square(w)


@pytest.mark.parametrize("curvature", [0.5, 8.0])
def test_on_a_parabola_the_loss_turns_where_gradient_descent_diverges(curvature):
    model, loss = quadratic(curvature)
    ones = np.ones((4, 1))
    curve = find_learning_rate(
        model,
        (ones, ones),
        trainable=None,
        loss=loss,
        optimizer=keras.optimizers.SGD(),
        low=1e-3,
        high=1e2,
        steps=200,
        smoothing=0.0,
    )
    # Descent multiplies w by 1 - h r: it diverges above r = 2 / h.
    edge, lowest = 2 / curvature, int(curve.losses.argmin())
    assert curve.rates[lowest - 1] <= edge < curve.rates[lowest]
    assert curve.rates[-1] > edge
    shrink = np.cumprod(np.r_[1.0, (1 - curvature * curve.rates[:40]) ** 2])
    np.testing.assert_allclose(curve.losses[:41], 0.5 * curvature * shrink, rtol=1e-3)
    # It stops with the first loss above four times the lowest.
    assert curve.losses[-1] > 4 * curve.losses.min()
    assert curve.losses[-2] <= 4 * curve.losses.min()
    assert curve.diverged
    assert "4 times the lowest" in curve.stopped


def test_the_suggestions_lie_below_divergence():
    model, loss = quadratic(1.0)
    ones = np.ones((4, 1))
    rule = keras.optimizers.SGD()
    curve = find_learning_rate(
        model, (ones, ones), trainable=None, loss=loss, optimizer=rule, low=1e-4
    )
    assert set(curve.suggestions) == {"valley", "steepest", "minimum"}
    assert all(0 < rate < 2.0 for rate in curve.suggestions.values())


def everything(model):
    """All that training could change, as values that compare."""
    arrays = {f"weight {w.path} {i}": w for i, w in enumerate(model.weights)}
    arrays |= {f"state {v.path} {i}": v for i, v in enumerate(model.variables)}
    arrays |= {f"metric {i}": v for i, v in enumerate(model.metrics_variables)}
    arrays |= {f"rule {i}": v for i, v in enumerate(model.optimizer.variables)}
    found = {
        name: np.array(keras.ops.convert_to_numpy(v)) for name, v in arrays.items()
    }
    found["flags"] = [(x.name, type(x), x.trainable) for x in sublayers(model)]
    found["opened"] = [(v.path, v.trainable) for v in model.variables]
    found["objects"] = [
        id(x)
        for x in (model.optimizer, model.loss, model.train_function, model.metrics[0])
    ]
    # Before the others: Keras makes it when it is first asked for.
    found["keras"] = np.array(keras.ops.convert_to_numpy(global_seed_generator().state))
    found["numpy"] = np.random.get_state()[1].tolist()  # noqa: NPY002
    found["python"] = random.getstate()
    return found


def assert_same(after, before):
    assert after.keys() == before.keys()
    for name, value in before.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(after[name], value, err_msg=name)
        else:
            assert after[name] == value, name


@pytest.mark.parametrize(
    ("trainable", "batch_norm"),
    [("head", "auto"), ("all", "affine"), (("bn2",), "train"), (None, "auto")],
)
def test_nothing_is_left_in_the_model(trainable, batch_norm, model):
    before = everything(model)
    curve = find_learning_rate(
        model, coloured(), trainable=trainable, batch_norm=batch_norm, **SWEEP
    )
    assert np.ptp(curve.losses) > 0
    assert_same(everything(model), before)


def test_nothing_is_left_in_a_model_with_single_weights_frozen():
    model = classifier()
    kerastl.unfreeze(model, "all", batch_norm="affine")
    model.get_layer("conv2").kernel.trainable = False
    before = everything(model)
    find_learning_rate(model, coloured(), trainable="all", **SWEEP)
    assert_same(everything(model), before)


@pytest.mark.parametrize("trainable", ["head", "all"])
def test_nothing_is_left_after_an_interruption(trainable, model):
    before = everything(model)

    def interrupt(done, total):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find_learning_rate(
            model, coloured(), trainable=trainable, progress=interrupt, **SWEEP
        )
    assert_same(everything(model), before)


def test_a_loss_that_is_no_number_ends_the_sweep_and_leaves_nothing(model):
    before = everything(model)
    curve = find_learning_rate(
        model,
        coloured(),
        trainable="all",
        loss=lambda y, logits: keras.ops.sum(logits, axis=-1) * float("nan"),
        **SWEEP,
    )
    assert len(curve.losses) == 1
    assert curve.stopped == "stopped there: the loss is not finite"
    assert curve.suggestion is None
    assert_same(everything(model), before)


def test_training_goes_on_as_if_nobody_had_searched():
    images, labels = coloured()
    ends = []
    for searched in (False, True):
        keras.utils.set_random_seed(0)
        model = classifier(dropout=0.5, seed=0)
        if searched:
            find_learning_rate(model, (images, labels), trainable="all", **SWEEP)
        model.train_on_batch(images.astype("float32"), labels)
        ends.append(values(model))
    for with_search, without in zip(*ends, strict=True):
        np.testing.assert_array_equal(with_search, without)


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, "memory"), ({"cache": "off"}, "off"), ({"trainable": "all"}, "off")],
)
def test_the_frozen_part_is_computed_once(options, expected, plain, monkeypatch):
    modes = []
    real = rate_finder.cached_part

    def watched(*arguments, **settings):
        found = real(*arguments, **settings)
        modes.append(found.plan.mode)
        return found

    monkeypatch.setattr(rate_finder, "cached_part", watched)
    find_learning_rate(plain, coloured(), **SWEEP, **options)
    assert modes == [expected]


@pytest.mark.parametrize("cache", ["auto", "off"])
def test_a_calibrated_model_is_searched_as_it_is_trained(cache):
    model = classifier(dropout=0.0)
    bare = losses(model, coloured(), cache=cache)
    set_temperature(model, 5.0)
    before = everything(model)
    np.testing.assert_array_equal(losses(model, coloured(), cache=cache), bare)
    assert read_record(model).temperature == 5.0
    assert_same(everything(model), before)


def test_what_trains_is_what_was_asked_for(monkeypatch):
    trained = []
    real = rate_finder.compile_model

    def watched(part, **settings):
        trained.append({variable.path for variable in part.trainable_variables})
        real(part, **settings)

    monkeypatch.setattr(rate_finder, "compile_model", watched)
    model = classifier()
    kerastl.unfreeze(model, 1)
    now = {variable.path for variable in model.trainable_variables}
    for trainable in (None, "head"):
        find_learning_rate(model, coloured(), trainable=trainable, **SWEEP)
    assert trained == [now, {"head_dense/kernel", "head_dense/bias"}]


def losses(model, data, **options):
    given = {"low": 1e-4, "high": 1e-2, **SWEEP, **options}
    return find_learning_rate(model, data, **given).losses


def test_the_seed_decides_order_and_dropout(model):
    first = losses(model, coloured(), seed=1)
    np.testing.assert_array_equal(losses(model, coloured(), seed=1), first)
    assert not np.array_equal(losses(model, coloured(), seed=2), first)
    # This moves the state of the dropout layer, which the sweep must not depend on.
    outputs(model, coloured()[0], training=True)
    np.testing.assert_array_equal(losses(model, coloured(), seed=1), first)


def test_augmentation_reaches_the_images(plain):
    bare = losses(plain, coloured(), cache="off")
    assert not np.allclose(losses(plain, coloured(), augment="strong"), bare)


def test_an_image_set_does_as_well_as_arrays(plain):
    images, labels = coloured()
    made = losses(plain, ImageSet(images, labels, CLASSES))
    np.testing.assert_array_equal(made, losses(plain, (images, labels)))


@pytest.mark.parametrize("endless", [False, True])
def test_batches_of_a_dataset_are_passed_again_as_needed(endless, plain):
    import tensorflow as tf

    images, labels = coloured()
    data = tf.data.Dataset.from_tensor_slices((images, labels)).batch(4)
    made = losses(plain, data.repeat() if endless else data)
    assert len(made) == 12


def test_progress_counts_the_steps(plain):
    seen = []
    find_learning_rate(plain, coloured(), progress=lambda *at: seen.append(at), **SWEEP)
    assert seen == [(number, 12) for number in range(1, len(seen) + 1)]
    assert len(seen) > 5


def unlabelled():
    return ImageSet(coloured()[0], None, CLASSES)


def nothing():
    images, labels = coloured()
    return images[:0], labels[:0]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"low": 0.0}, "`low` must be above 0"),
        ({"low": 1.0, "high": 1.0}, "`high` must be above `low`"),
        ({"low": 1.0, "high": 0.1}, "`high` must be above `low`, 1"),
        ({"high": float("inf")}, "`high` must be"),
        ({"steps": 9}, "`steps` must be at least 10"),
        ({"batch_size": 0}, "`batch_size` must be at least 1"),
        ({"smoothing": 1.0}, "`smoothing` must be"),
        ({"seed": -1}, "`seed` must be at least 0"),
        ({"trainable": "conv9"}, "`trainable` must be"),
        ({"optimizer": "adamx"}, "`optimizer` must be"),
        ({"augment": "much"}, "`augment` must be"),
        ({"train": unlabelled()}, "`train` must be labelled"),
        ({"train": nothing()}, "`train` must be"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(options, sentence, model):
    before = everything(model)
    given = {"train": coloured(), **options}
    with pytest.raises(ValueError, match=sentence):
        find_learning_rate(model, **given)
    assert_same(everything(model), before)


def test_a_model_in_which_nothing_trains_is_refused():
    model = classifier()
    model.trainable = False
    with pytest.raises(ValueError, match="with a weight that trains"):
        find_learning_rate(model, coloured(), trainable=None)


def test_a_model_that_is_no_graph_is_refused():
    class Network(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(TypeError, match="`model` must be a functional"):
        find_learning_rate(Network(), coloured())
