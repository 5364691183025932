"""BatchNorm statistics computed anew, against NumPy."""

import keras
import numpy as np
import pytest
from keras import layers
from networks import (
    assert_same_weights,
    outputs,
    pixels,
    small_classifier,
    trains,
    values,
)

from kerastl.data.sets import ImageSet
from kerastl.models.freezing import train_only, unfreeze
from kerastl.models.layers import is_holding_statistics
from kerastl.training.batch_statistics import moved_statistics, recompute_batchnorm


def one_norm():
    """One BatchNorm on feature maps of 5 channels."""
    x = keras.Input((4, 3, 5))
    return keras.Model(x, layers.BatchNormalization(name="norm", momentum=0.9)(x))


def rows(n=23, seed=0):
    generator = np.random.default_rng(seed)
    # Each image has a mean of its own: much of the variance lies between batches.
    return (
        generator.normal(size=(n, 4, 3, 5)) + 3 * generator.normal(size=(n, 1, 1, 5))
    ).astype("float32")


def statistics(model, name="norm"):
    layer = model.get_layer(name)
    return np.array(layer.moving_mean), np.array(layer.moving_variance)


@pytest.mark.parametrize("batch_size", [2, 8, 23, 64])
def test_mean_and_variance_are_those_of_all_images(batch_size):
    model, data = one_norm(), rows()
    recompute_batchnorm(model, data, batch_size=batch_size)
    mean, variance = statistics(model)
    exact = data.astype("float64")
    np.testing.assert_allclose(mean, exact.mean(axis=(0, 1, 2)), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(variance, exact.var(axis=(0, 1, 2)), rtol=2e-6)


def test_a_second_call_changes_nothing():
    model, images = small_classifier(), pixels(20)
    unfreeze(model, "all", batch_norm="train")
    recompute_batchnorm(model, images, batch_size=8)
    before = values(model)
    recompute_batchnorm(model, images, batch_size=8)
    assert_same_weights(model, before)


def test_statistics_that_are_not_finite_are_mended():
    model = one_norm()
    model.get_layer("norm").moving_mean.assign(np.full(5, np.nan))
    recompute_batchnorm(model, rows())
    np.testing.assert_allclose(
        statistics(model)[0], rows().mean(axis=(0, 1, 2)), atol=1e-6
    )


def test_later_layers_see_what_earlier_ones_normalise_by_batch():
    model, images = small_classifier(), pixels(12)
    unfreeze(model, "all", batch_norm="train")
    recompute_batchnorm(model, images, batch_size=6)
    first = keras.Model(model.input, model.get_layer("conv1").output)
    second = keras.Model(
        model.get_layer("relu1").output, model.get_layer("conv2").output
    )
    inputs = []
    for part in np.split(outputs(first, images).astype("float64"), 2):
        spread = np.sqrt(part.var(axis=(0, 1, 2)) + 1e-3)
        normal = np.maximum((part - part.mean(axis=(0, 1, 2))) / spread, 0)
        inputs.append(outputs(second, normal))
    inputs = np.concatenate(inputs)
    mean, variance = statistics(model, "bn2")
    np.testing.assert_allclose(mean, inputs.mean(axis=(0, 1, 2)), atol=1e-5)
    np.testing.assert_allclose(variance, inputs.var(axis=(0, 1, 2)), rtol=1e-4)


def test_only_statistics_move_and_only_where_they_train():
    model = small_classifier(learnt=True)
    unfreeze(model, ("bn2",), batch_norm="train")
    before = values(model)
    recompute_batchnorm(model, pixels())
    changed = {
        weight.path
        for weight, old, new in zip(model.weights, before, values(model), strict=True)
        if not np.array_equal(old, new)
    }
    assert changed == {"bn2/moving_mean", "bn2/moving_variance"}


@pytest.mark.parametrize("mode", ["frozen", "affine"])
def test_layers_that_are_named_need_not_train(mode):
    model = small_classifier()
    unfreeze(model, "all", batch_norm=mode)
    kinds = [type(layer) for layer in model.layers]
    paths = [variable.path for variable in model.trainable_variables]
    recompute_batchnorm(model, pixels(), layers=["bn1"])
    assert np.abs(statistics(model, "bn1")[0]).max() > 0
    assert np.abs(statistics(model, "bn2")[0]).max() == 0
    assert [type(layer) for layer in model.layers] == kinds
    assert [variable.path for variable in model.trainable_variables] == paths
    assert is_holding_statistics(model.get_layer("bn1")) == (mode == "affine")
    assert model.get_layer("bn1").momentum == 0.99


@pytest.mark.parametrize("kind", ["bias", "norm"])
def test_single_weights_that_were_off_stay_off(kind):
    model = small_classifier()
    train_only(model, kind)
    before = trains(model)
    recompute_batchnorm(model, pixels(), layers=["bn1"])
    assert trains(model) == before


def test_dropout_is_off_and_comes_back():
    def dropping(x):
        return layers.Dropout(0.5, name="drop")(x)

    plain, noisy = small_classifier(), small_classifier(extra=dropping)
    for weight, value in zip(noisy.weights, values(plain), strict=True):
        weight.assign(value)
    for model in (plain, noisy):
        unfreeze(model, "all", batch_norm="train")
        recompute_batchnorm(model, pixels(12))
    assert_same_weights(noisy, values(plain))
    assert noisy.get_layer("drop").trainable
    calm, wild = (outputs(noisy, pixels(), training=flag) for flag in (False, True))
    noisy_features = keras.Model(noisy.input, noisy.get_layer("drop").output)
    calm, wild = (
        outputs(noisy_features, pixels(), training=flag) for flag in (False, True)
    )
    assert (wild == 0).sum() > 1.2 * (calm == 0).sum()


def test_an_error_on_the_way_leaves_the_model_as_it_was():
    model = small_classifier()
    unfreeze(model, "all", batch_norm="train")
    before = values(model)

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        recompute_batchnorm(model, pixels(), progress=interrupt)
    assert_same_weights(model, before)
    assert model.get_layer("bn1").momentum == 0.99


def test_image_sets_arrays_and_pairs_give_the_same():
    found = []
    images = pixels(10)
    forms = (
        images,
        (images, np.zeros(10)),
        ImageSet(images, None, ()),
        ImageSet(images, np.zeros(10, int), ("one",)),
    )
    for data in forms:
        keras.utils.set_random_seed(0)
        model = small_classifier()
        unfreeze(model, "all", batch_norm="train")
        recompute_batchnorm(model, data)
        found.append(statistics(model, "bn3"))
    for each in found[1:]:
        np.testing.assert_array_equal(each, found[0])


def test_progress_counts_images_in_batches_of_like_size():
    seen = []
    options = {"progress": lambda *counts: seen.append(counts)}
    recompute_batchnorm(one_norm(), rows(9), batch_size=4, **options)
    assert seen == [(3, 9), (6, 9), (9, 9)]


def test_moved_statistics_are_those_of_which_one_differs():
    model = small_classifier()
    first = values(model)
    model.get_layer("bn2").moving_variance.assign(np.full(4, 2.0))
    model.get_layer("bn3").gamma.assign(np.full(4, 2.0))
    assert moved_statistics(model, [first, first, values(model)]) == ("bn2",)
    assert moved_statistics(model, [first, first]) == ()


@pytest.mark.parametrize(
    ("data", "options", "error", "words"),
    [
        (rows(1), {}, ValueError, "at least two images"),
        (rows(), {"batch_size": 1}, ValueError, "`batch_size` must be at least 2"),
        (rows(), {"layers": ["nrm"]}, ValueError, "Did you mean 'norm'"),
        ("rows", {}, TypeError, "`data` must be an ImageSet"),
    ],
)
def test_bad_arguments_are_named(data, options, error, words):
    with pytest.raises(error, match=words):
        recompute_batchnorm(one_norm(), data, **options)


def test_a_model_of_frozen_statistics_needs_nothing_and_says_so():
    with pytest.raises(ValueError, match="Frozen statistics never moved"):
        recompute_batchnorm(small_classifier(), pixels())
