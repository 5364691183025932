"""A flag toggled behind a compiled model's back is caught before the first step."""

import keras
import numpy as np
import pytest
from networks import assert_same_weights, coloured, small_classifier, values

import kerastl
from kerastl.training.watching import check_unchanged

IMAGES, LABELS = coloured(2)


def fit(model, *callbacks):
    data = IMAGES.astype("float32"), LABELS
    model.fit(*data, batch_size=3, verbose=0, callbacks=list(callbacks))


class Steps(keras.callbacks.Callback):
    """Counts the steps that were taken."""

    count = 0

    def on_train_batch_begin(self, batch, logs=None):
        self.count += 1


@pytest.mark.parametrize("fitted", [False, True])
def test_a_thawed_layer_is_caught_with_the_weights_intact(fitted):
    model = small_classifier()
    if fitted:
        fit(model)
    before, steps = values(model), Steps()
    model.get_layer("conv3").trainable = True
    with pytest.raises(ValueError, match=r"1 unfrozen since compile \(conv3/kernel\)"):
        fit(model, kerastl.TrainableGuard(), steps)
    assert steps.count == 0
    assert_same_weights(model, before)


def test_a_frozen_layer_is_caught():
    model = small_classifier(hidden=(4,))
    before = values(model)
    model.get_layer("head_hidden_1").trainable = False
    with pytest.raises(ValueError, match=r"2 frozen since compile \(head_hidden_1/"):
        fit(model, kerastl.TrainableGuard())
    assert_same_weights(model, before)


def test_unfreeze_without_compile_is_caught():
    model = small_classifier()
    kerastl.unfreeze(model, "all", batch_norm="affine")
    with pytest.raises(ValueError, match=r"9 unfrozen .*, \.\.\.\)\. Call model.comp"):
        fit(model, kerastl.TrainableGuard())


def own_model():
    """A model that somebody else built and compiled."""
    images = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(2, 3, name="conv")(images)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(images, keras.layers.Dense(3, name="dense")(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss)
    return model


def test_the_users_own_compile_is_watched_too():
    model = own_model()
    guard = kerastl.TrainableGuard(model)
    model.get_layer("conv").trainable = False
    before = values(model)
    with pytest.raises(ValueError, match="2 frozen since compile"):
        fit(model, guard)
    assert_same_weights(model, before)


def test_a_compile_after_the_toggle_is_accepted():
    model = own_model()
    guard = kerastl.TrainableGuard(model)
    model.get_layer("conv").trainable = False
    model.compile("sgd", model.loss)
    conv = np.array(model.get_layer("conv").kernel)
    dense = np.array(model.get_layer("dense").kernel)
    fit(model, guard)
    np.testing.assert_array_equal(model.get_layer("conv").kernel, conv)
    assert not np.array_equal(model.get_layer("dense").kernel, dense)


def test_toggling_there_and_back_is_no_change():
    model = small_classifier()
    model.get_layer("conv3").trainable = True
    model.get_layer("conv3").trainable = False
    before = values(model)
    fit(model, kerastl.TrainableGuard())
    assert not np.array_equal(values(model)[-1], before[-1])


def test_one_set_in_another_order_is_no_change():
    model = small_classifier()
    check_unchanged(model, ("head_dense/bias", "head_dense/kernel"))


def nested_model():
    """Somebody's model: a base with two layers inside, and a head."""
    x = keras.Input((4,))
    y = keras.layers.Dense(3, name="inner")(x)
    base = keras.Model(x, keras.layers.Dense(3, name="outer")(y), name="base")
    images = keras.Input((4,))
    model = keras.Model(images, keras.layers.Dense(2, name="top")(base(images)))
    return model, base


def fit_rows(model, guard):
    model.compile("sgd", "mse")
    model.fit(np.ones((4, 4)), np.ones((4, 2)), verbose=0, callbacks=[guard])


def test_a_flag_that_was_true_already_opens_nothing_and_that_is_said():
    model, base = nested_model()
    base.trainable = False
    # As `model.trainable = True` does on TensorFlow, and on no other backend.
    assert model.trainable
    before = values(model)
    words = r"Received: inner, outer frozen\. On TensorFlow `x\.trainable = True` does"
    with pytest.raises(ValueError, match=words):
        fit_rows(model, kerastl.TrainableGuard(trainable="all"))
    assert_same_weights(model, before)
    base.trainable = True
    fit_rows(model, kerastl.TrainableGuard(trainable="all"))


def test_what_keras_did_with_the_flag_decides_the_verdict():
    model, base = nested_model()
    base.trainable = False
    model.trainable = True
    opened = len(model.trainable_variables) == 6
    assert opened == (keras.backend.backend() != "tensorflow")
    if opened:
        fit_rows(model, kerastl.TrainableGuard(trainable="all"))
    else:
        with pytest.raises(ValueError, match="where it is True already"):
            fit_rows(model, kerastl.TrainableGuard(trainable="all"))


def test_what_trains_beyond_what_is_meant_is_named():
    model = small_classifier()
    kerastl.unfreeze(model, 2, batch_norm="frozen")
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    fit(model, kerastl.TrainableGuard(trainable=2))
    with pytest.raises(ValueError, match="Received: conv2 that train too"):
        fit(model, kerastl.TrainableGuard(trainable=1))


def test_a_layer_opened_inside_a_frozen_model_is_caught():
    model, base = nested_model()
    base.trainable = False
    base.get_layer("outer").trainable = True
    before = values(model)
    with pytest.raises(ValueError, match="Received: outer inside 'base', which is fro"):
        fit_rows(model, kerastl.TrainableGuard())
    assert_same_weights(model, before)
    base.trainable = True
    base.get_layer("inner").trainable = False
    fit_rows(model, kerastl.TrainableGuard())
