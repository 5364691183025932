"""Whether maps follow what was learnt, and whether they meet the object."""

import keras
import numpy as np
import pytest
from keras import layers
from networks import CLASSES, pixels, small_network, values
from scipy.stats import spearmanr

import kerastl
from kerastl.explain import explain, mass_inside, sanity_check


@pytest.fixture(scope="module")
def model():
    """Of 48 pixels, so that the last map has 6 x 6 cells; its head is not zeros."""
    network = small_network(size=48)
    model = kerastl.build_classifier(network, CLASSES, preprocessing="tf")
    rng = np.random.default_rng(1)
    for weight in model.weights:
        if len(weight.shape) > 1:
            fan_in = np.prod(weight.shape[:-1])
            weight.assign(rng.normal(0, np.sqrt(2 / fan_in), weight.shape))
    return model


def test_an_edge_detector_fails(model):
    report = sanity_check(model, pixels(3, 48), method="edges", stages=3, seeds=2)
    np.testing.assert_allclose(report.correlations, 1.0)
    assert not report.passed
    assert "failed" in str(report)
    assert report.to_dict()["passed"] is False


def test_maps_of_the_last_features_pass(model):
    report = sanity_check(model, pixels(3, 48), method="gradcam", stages=3, seeds=2)
    assert report.stages[0] == "head"
    assert report.stages[-1] == next(iter(kerastl.models.blocks.blocks(model)))
    assert report.passed
    assert "passed" in str(report)


def test_the_weights_come_back_bit_by_bit(model):
    before = values(model)
    sanity_check(model, pixels(2, 48), stages=2, seeds=1)
    for old, new in zip(before, values(model), strict=True):
        np.testing.assert_array_equal(old, new)

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sanity_check(model, pixels(2, 48), stages=2, seeds=1, progress=stop)
    for old, new in zip(before, values(model), strict=True):
        np.testing.assert_array_equal(old, new)


def test_each_stage_draws_the_kernels_above_it_and_no_other(model):
    start = dict(zip((w.path for w in model.weights), values(model), strict=True))
    seen = []

    def look(done, total):
        now = zip(model.weights, values(model), strict=True)
        seen.append(
            {w.path for w, new in now if not np.array_equal(start[w.path], new)}
        )

    sanity_check(model, pixels(1, 48), stages=3, seeds=1, progress=look)
    kernels = [{p for p in start if f"{n}/kernel" in p} for n in ("head_dense",)]
    kernels += [{p for p in start if f"conv{k}/kernel" in p} for k in (3, 2, 1)]
    expected = [set().union(*kernels[: n + 1]) for n in range(4)]
    assert seen == expected


def test_the_correlation_is_spearmans_of_the_magnitudes(model):
    images, kept = pixels(2, 48), {}
    first = explain(model, images, method="occlusion")

    def keep(done, total):
        # Here the head is drawn anew.
        kept.setdefault(
            "maps",
            explain(model, images, method="occlusion", target=first.targets).maps,
        )

    report = sanity_check(
        model, images, method="occlusion", stages=1, seeds=1, progress=keep
    )
    pairs = zip(first.maps, kept["maps"], strict=True)
    rank = [spearmanr(*(np.abs(m).ravel() for m in pair))[0] for pair in pairs]
    assert (first.maps < 0).any()
    expected = np.mean(rank)
    assert report.correlations[0, 0] == pytest.approx(expected, abs=1e-6)


def object_finder(size=32):
    """A classifier that sees nothing but what is bright."""
    images = keras.Input((size, size, 3), name="pixels")
    bright = layers.Conv2D(1, 1, activation="relu", name="bright")(images)
    logits = layers.Dense(2, name="logits")(layers.GlobalAveragePooling2D()(bright))
    model = keras.Model(images, logits)
    kernel = np.full((1, 1, 3, 1), 1 / 3)
    model.set_weights([kernel, np.zeros(1), np.array([[1.0, -1.0]]), np.zeros(2)])
    return kerastl.adapt_model(model, ["there", "not"])


def test_the_mass_of_a_network_that_sees_the_shape_alone_lies_on_it():
    _, factors = kerastl.make_shapes(4, image_size=32, seed=1)
    images = np.repeat(255 * factors.masks[..., None], 3, axis=-1).astype("uint8")
    found = mass_inside(explain(object_finder(), images, target=0), factors.masks)
    np.testing.assert_allclose(found.mass, 1.0)
    np.testing.assert_allclose(found.area, factors.masks.mean(axis=(1, 2)))
    assert found.hit.all()
    assert "100% of the mass on the object" in str(found)


def test_a_map_of_one_value_has_the_objects_share_of_the_image():
    _, factors = kerastl.make_shapes(3, objects=3, image_size=64)
    found = mass_inside(np.ones((3, 64, 64)), factors.masks)
    np.testing.assert_allclose(found.mass, (factors.masks > 0).mean(axis=(1, 2)))
    np.testing.assert_allclose(found.mass, found.area)


def test_masks_of_another_size_are_brought_to_the_maps():
    mask = np.zeros((1, 4, 4), bool)
    mask[:, :2, :2] = True
    maps = np.zeros((1, 8, 8))
    maps[:, 3, 3] = 3.0
    maps[:, 4, 4] = 1.0
    assert mass_inside(maps, mask).mass.tolist() == [0.75]


def test_nothing_for_the_class_is_no_number():
    found = mass_inside(-np.ones((1, 2, 2)), np.eye(2)[None])
    assert np.isnan(found.mass[0])
    assert not found.hit[0]


@pytest.mark.parametrize(
    ("masks", "words"),
    [(np.zeros((1, 2, 2)), "none in image 0"), (np.ones((2, 2)), "one an image")],
)
def test_masks_that_do_not_fit_are_said(masks, words):
    with pytest.raises(ValueError, match=words):
        mass_inside(np.ones((1, 2, 2)), masks)


def test_it_says_what_does_not_fit(model):
    for options in ({"stages": 0}, {"seeds": 0}, {"limit": 1.5}, {"method": "no"}):
        with pytest.raises(ValueError, match="must be"):
            sanity_check(model, pixels(1, 48), **options)
