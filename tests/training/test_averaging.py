"""Weights between two models: the ends, the middle, and the best of them."""

import keras
import numpy as np
import pytest
from networks import (
    assert_same_weights,
    coloured,
    outputs,
    pixels,
    small_classifier,
    values,
)

from kerastl.evaluation.figures import alt_text
from kerastl.models.freezing import unfreeze
from kerastl.models.lora import add_lora
from kerastl.models.record import read_record, set_temperature
from kerastl.training.averaging import interpolate_weights, wise_ft


def arrays(seed):
    generator = np.random.default_rng(seed)
    return [generator.normal(size=(3, 2)).astype("float32"), np.array([seed, 7])]


@pytest.mark.parametrize(("alpha", "seed"), [(0.0, 1), (0, 1), (1.0, 2), (1, 2)])
def test_the_ends_come_back_bit_by_bit(alpha, seed):
    mixed = interpolate_weights(arrays(1), arrays(2), alpha)
    np.testing.assert_array_equal(mixed[0], arrays(seed)[0])


def test_the_middle_is_the_mean():
    one, two = arrays(1), arrays(2)
    (mixed, _) = interpolate_weights(one, two, 0.5)
    np.testing.assert_allclose(mixed, (one[0] + two[0]) / 2, rtol=1e-6)
    assert mixed.dtype == np.float32


def test_a_quarter_is_nearer_to_the_start():
    assert interpolate_weights([np.zeros(1)], [np.ones(1)], 0.25)[0] == 0.25


def test_whole_numbers_are_those_of_the_end():
    for alpha in (0.0, 0.5, 1.0):
        assert interpolate_weights(arrays(1), arrays(2), alpha)[1].tolist() == [2, 7]


def test_nothing_is_shared_with_what_came_in():
    one, two = [np.zeros(2)], [np.ones(2)]
    for alpha in (0.0, 1.0):
        interpolate_weights(one, two, alpha)[0][:] = 9.0
    assert one[0].tolist() == [0, 0]
    assert two[0].tolist() == [1, 1]


def test_models_and_their_arrays_are_the_same_to_it():
    one, two = small_classifier(learnt=True), small_classifier()
    mixed = interpolate_weights(one, two, 0.3)
    wanted = interpolate_weights(values(one), values(two), 0.3)
    for array, other in zip(mixed, wanted, strict=True):
        np.testing.assert_array_equal(array, other)


def test_a_linear_models_predictions_are_averaged_with_its_weights():
    x = keras.Input((5,))
    model = keras.Model(x, keras.layers.Dense(3)(x))
    generator = np.random.default_rng(0)
    ends = [[generator.normal(size=(5, 3)), generator.normal(size=3)] for _ in range(2)]
    rows = generator.normal(size=(7, 5)).astype("float32")

    def predictions(weights):
        model.set_weights(weights)
        return keras.ops.convert_to_numpy(model(rows))

    mixed = predictions(interpolate_weights(*ends, 0.3))
    wanted = 0.7 * predictions(ends[0]) + 0.3 * predictions(ends[1])
    np.testing.assert_allclose(mixed, wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("start", "end", "alpha", "error", "words"),
    [
        ([np.zeros(2)], [np.zeros(2)], 1.1, ValueError, "at most 1"),
        ([np.zeros(2)], [np.zeros(2)], -0.1, ValueError, "at least 0"),
        ([np.zeros(2)], [np.zeros(3)], 0.5, ValueError, r"array 0 of shape \(2,\)"),
        ([np.zeros(2)], [np.zeros(2)] * 2, 0.5, ValueError, "1 arrays, and 2"),
        ("weights", [np.zeros(2)], 0.5, TypeError, "a model or a list"),
    ],
)
def test_bad_ends_are_named(start, end, alpha, error, words):
    with pytest.raises(error, match=words):
        interpolate_weights(start, end, alpha)


def pair():
    """A classifier, and weights from which it might have come."""
    model = small_classifier(learnt=True)
    start = values(model)
    generator = np.random.default_rng(3)
    for weight in model.weights:
        if "conv" in weight.path or "head" in weight.path:
            noise = generator.normal(size=weight.shape) * 0.3
            weight.assign_add(noise * np.std(np.array(weight)))
    return model, start


def scores(model, images, labels):
    """Accuracy and loss with the formulas of a textbook."""
    logits = outputs(model, images).astype("float64")
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    right = (logits.argmax(axis=1) == labels).mean()
    return right, -np.log(chances[np.arange(len(labels)), labels]).mean()


def test_each_step_is_scored_with_its_own_weights():
    model, start = pair()
    end, (images, labels) = values(model), coloured()
    found = wise_ft(model, start, (images, labels), alphas=[0.0, 0.4, 1.0])
    for row in found.rows():
        mixed = interpolate_weights(start, end, row["alpha"])
        for weight, value in zip(model.weights, mixed, strict=True):
            weight.assign(value)
        accuracy, loss = scores(model, images, labels)
        np.testing.assert_allclose(row["accuracy"], accuracy)
        np.testing.assert_allclose(row["loss"], loss, rtol=1e-5)


def test_the_model_has_the_weights_of_the_best_step():
    model, start = pair()
    end = values(model)
    found = wise_ft(model, start, coloured())
    assert found.alphas == tuple(np.round(np.arange(11) / 10, 1).tolist())
    keys = [(-row["accuracy"], row["loss"]) for row in found.rows()]
    assert found.best == keys.index(min(keys))
    assert_same_weights(model, interpolate_weights(start, end, found.alpha))


def test_ties_go_to_the_start():
    model, _ = pair()
    found = wise_ft(model, values(model), coloured(), alphas=[1.0, 0.2, 0.6])
    assert found.alphas == (0.2, 0.6, 1.0)
    assert found.alpha == 0.2


def test_a_copy_of_the_classifier_is_as_good_as_its_weights():
    model, start = pair()
    other = small_classifier()
    for weight, value in zip(other.weights, start, strict=True):
        weight.assign(value)
    end = values(model)
    first = wise_ft(model, start, coloured(), alphas=[0.3])
    for weight, value in zip(model.weights, end, strict=True):
        weight.assign(value)
    assert wise_ft(model, other, coloured(), alphas=[0.3]) == first


def test_statistics_that_moved_are_computed_anew_between_the_ends():
    model, start = pair()
    layer = model.get_layer("bn1")
    layer.moving_mean.assign(np.array(layer.moving_mean) + 3.0)
    images, labels = coloured()
    wise_ft(model, start, (images, labels), alphas=[0.5], statistics=images)
    conv = keras.Model(model.input, model.get_layer("conv1").output)
    wanted = outputs(conv, images).mean(axis=(0, 1, 2))
    np.testing.assert_allclose(np.array(layer.moving_mean), wanted, atol=1e-5)
    # That of the next layer never moved, and stays.
    assert np.array(model.get_layer("bn2").moving_mean).tolist() == [0.0] * 4


def test_the_ends_keep_their_own_statistics():
    model, start = pair()
    layer = model.get_layer("bn1")
    layer.moving_mean.assign(np.array(layer.moving_mean) + 3.0)
    images, labels = coloured()
    end = values(model)
    wise_ft(model, start, (images, labels), alphas=[1.0], statistics=images)
    assert_same_weights(model, end)


def test_an_interrupted_sweep_leaves_the_fine_tuned_weights():
    model, start = pair()
    end = values(model)

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        wise_ft(model, start, coloured(), progress=interrupt)
    assert_same_weights(model, end)


def test_an_interrupted_sweep_leaves_the_temperature():
    model, start = pair()
    set_temperature(model, 2.5)

    def interrupt(done, total):
        raise KeyboardInterrupt

    with (
        pytest.warns(UserWarning, match="calibrated for other weights"),
        pytest.raises(KeyboardInterrupt),
    ):
        wise_ft(model, start, coloured(), progress=interrupt)
    assert read_record(model).temperature == 2.5


def test_adapters_whose_factors_have_no_middle_are_refused():
    model, other = small_classifier(), small_classifier()
    add_lora(model, rank=2)
    start = values(model)
    with pytest.raises(ValueError, match=r"`model` must be .*without.*lora\.merge"):
        wise_ft(model, start, coloured())
    with pytest.raises(ValueError, match=r"`start` must be .*without.*lora\.merge"):
        wise_ft(other, model, coloured())
    with pytest.raises(ValueError, match=r"`end` must be .*without.*lora\.merge"):
        interpolate_weights(start, model, 0.5)


def test_a_start_of_other_layers_is_refused():
    model, start = pair()
    other = small_classifier(pooling="max")
    other.set_weights(start)
    with pytest.raises(ValueError, match=r"`start` must be .*GlobalMaxPooling2D"):
        wise_ft(model, other, coloured())


def test_progress_counts_the_steps():
    model, start = pair()
    seen = []
    options = {"progress": lambda *counts: seen.append(counts)}
    wise_ft(model, start, coloured(), alphas=[0.0, 1.0], **options)
    assert seen == [(1, 2), (2, 2)]


def test_it_prints_as_a_table_and_draws_both_curves():
    model, start = pair()
    found = wise_ft(model, start, coloured(), alphas=[0.0, 1.0])
    lines = str(found).splitlines()
    assert len(lines) == 4
    assert lines[1 + found.best].startswith("*")
    assert f"at a share of {found.alpha:g}" in alt_text(found.plot())


def test_weights_of_another_start_are_refused():
    model, _ = pair()
    keras.utils.set_random_seed(1)
    stranger = small_classifier()
    with pytest.raises(ValueError, match="fine-tuned from one start"):
        wise_ft(model, stranger, coloured())


def test_another_head_is_refused_before_anything_is_scored():
    model, _ = pair()
    with pytest.raises(ValueError, match="weights of one structure"):
        wise_ft(model, small_classifier(("oak", "elm")), coloured())


@pytest.mark.parametrize("alphas", [[], [1.5], "all", [[0.5]]])
def test_bad_shares_are_named(alphas):
    model, start = pair()
    with pytest.raises(ValueError, match="`alphas` must be"):
        wise_ft(model, start, coloured(), alphas=alphas)


def test_batches_of_a_stream_are_refused():
    model, start = pair()
    with pytest.raises(ValueError, match=r"`validation` must be an \(images, labels\)"):
        wise_ft(model, start, [(pixels(), np.zeros(6))] * 2 + [None])


def test_after_a_sweep_the_model_trains_as_before():
    model, start = pair()
    unfreeze(model, "all")
    paths = [variable.path for variable in model.trainable_variables]
    wise_ft(model, start, coloured(), alphas=[0.5], statistics=coloured()[0])
    assert [variable.path for variable in model.trainable_variables] == paths
