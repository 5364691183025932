"""Drift of features and weights, block by block, against plain formulas."""

import keras
import numpy as np
import pytest
from networks import (
    assert_same_weights,
    outputs,
    pixels,
    small_classifier,
    small_network,
    values,
)

from kerastl.comparison.drift import _block_ends, feature_drift, linear_cka
from kerastl.evaluation.figures import alt_text


def moved(model, *names, seed=0):
    """Weights before; afterwards the named layers' are others."""
    before = values(model)
    generator = np.random.default_rng(seed)
    for name in names:
        for weight in model.get_layer(name).weights:
            weight.assign_add(0.3 * generator.normal(size=weight.shape))
    return before


def averages(model, cut, images):
    part = keras.Model(model.input, model.get_layer(cut).output)
    return outputs(part, images).astype("float64").mean(axis=(1, 2))


def test_a_model_has_not_drifted_from_itself():
    model = small_classifier()
    drift = feature_drift(values(model), model, pixels())
    assert drift.blocks == ("block_1", "block_2", "block_3")
    assert drift.cuts == ("relu1", "relu2", "relu3")
    np.testing.assert_allclose(drift.cka, 1.0, atol=1e-12)
    np.testing.assert_allclose(drift.cosines, 1.0, atol=1e-12)
    assert drift.distances == drift.weight_distances == (0.0, 0.0, 0.0)
    assert drift.images == 6


def test_each_number_is_its_formula():
    model, images = small_classifier(), pixels(12)
    old = {cut: averages(model, cut, images) for cut in ("relu1", "relu2", "relu3")}
    before = moved(model, "conv1", "conv2", "conv3")
    drift = feature_drift(before, model, images)
    for row in drift.rows():
        one, two = old[row["cut"]], averages(model, row["cut"], images)
        distance = np.linalg.norm(two - one) / np.linalg.norm(one)
        cosines = (one * two).sum(1) / np.linalg.norm(one, axis=1)
        cosines = cosines / np.linalg.norm(two, axis=1)
        np.testing.assert_allclose(row["cka"], linear_cka(one, two), rtol=1e-5)
        np.testing.assert_allclose(row["distance"], distance, rtol=1e-5)
        np.testing.assert_allclose(row["cosine"], cosines.mean(), rtol=1e-5)


def test_only_blocks_above_a_change_see_it_and_only_its_own_weights_moved():
    model = small_classifier()
    before = moved(model, "conv2")
    drift = feature_drift(before, model, pixels(12))
    assert drift.distances[0] == 0.0
    assert min(drift.distances[1:]) > 0.01
    paths = [weight.path for weight in model.weights]
    inside = [i for i, path in enumerate(paths) if path.startswith(("conv2", "bn2"))]
    after = values(model)
    gap = np.sqrt(sum(np.square(after[i] - before[i]).sum() for i in inside))
    size = np.sqrt(sum(np.square(before[i]).sum() for i in inside))
    np.testing.assert_allclose(
        drift.weight_distances, [0.0, gap / size, 0.0], rtol=1e-5
    )


def test_statistics_count_as_weights():
    model = small_classifier()
    before = values(model)
    model.get_layer("bn2").moving_mean.assign(np.full(4, 0.5))
    assert feature_drift(before, model, pixels()).weight_distances[1] > 0


def test_a_scaled_layer_keeps_direction_and_alignment():
    model = small_classifier()
    before = values(model)
    norm = model.get_layer("bn3")
    norm.gamma.assign(2 * np.array(norm.gamma))
    drift = feature_drift(before, model, pixels(12))
    np.testing.assert_allclose(drift.cka[2], 1.0, atol=1e-6)
    np.testing.assert_allclose(drift.cosines[2], 1.0, atol=1e-6)
    np.testing.assert_allclose(drift.distances[2], 1.0, rtol=1e-5)


def test_before_and_after_are_not_mixed_up():
    model = small_classifier()
    before = values(model)
    norm = model.get_layer("bn3")
    norm.gamma.assign(4 * np.array(norm.gamma))
    assert feature_drift(before, model, pixels()).distances[2] == pytest.approx(3.0)


def test_another_model_is_as_good_as_weights():
    model, other = small_classifier(), small_classifier()
    for weight, value in zip(other.weights, values(model), strict=True):
        weight.assign(value)
    before = moved(model, "conv2")
    found = feature_drift(other, model, pixels())
    assert found == feature_drift(before, model, pixels())


def test_no_weight_changes_even_if_it_is_interrupted():
    model = small_classifier()
    before = moved(model, "conv2")
    after = values(model)
    feature_drift(before, model, pixels())
    assert_same_weights(model, after)

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        feature_drift(before, model, pixels(), progress=interrupt)
    assert_same_weights(model, after)


def test_a_backbone_of_ones_own_is_taken_as_it_is():
    model = small_network()
    before = moved(model, "conv1")
    assert min(feature_drift(before, model, pixels()).distances) > 0


def test_the_last_layer_of_each_block_is_compared():
    assert list(_block_ends(small_network()).values()) == ["relu1", "relu2", "relu3"]


def test_a_sum_written_with_a_plus_ends_its_block():
    x = images = keras.Input((8, 8, 3))
    for number in (1, 2):
        name = f"conv{number}"
        x = x + keras.layers.Conv2D(3, 3, padding="same", name=name)(x)
    ends = _block_ends(keras.Model(images, x))
    assert len(ends) == 2
    assert all(name.startswith("add") for name in ends.values())


def test_it_prints_as_a_table_and_draws():
    model = small_classifier()
    drift = feature_drift(moved(model, "conv3"), model, pixels())
    lines = str(drift).splitlines()
    assert lines[1].split() == ["block_1", "1.000", "0.000", "1.000", "0.000"]
    assert "6 images" in lines[-1]
    assert "Most in block_3" in alt_text(drift.plot())


@pytest.mark.parametrize(
    ("before", "error", "words"),
    [
        ([np.zeros(3)], ValueError, "of the structure of `after`, 17 weights"),
        ("weights", TypeError, "a model or a list of arrays"),
        (3, TypeError, "a model or a list of arrays"),
    ],
)
def test_another_structure_is_refused(before, error, words):
    with pytest.raises(error, match=words):
        feature_drift(before, small_classifier(), pixels())


def test_no_image_is_refused():
    model = small_classifier()
    with pytest.raises(ValueError, match="at least one image"):
        feature_drift(values(model), model, pixels(0))
