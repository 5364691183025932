"""Two classifiers on the same images."""

import numpy as np
import pytest
from networks import CLASSES, outputs, pixels, small_classifier, small_network
from scipy.stats import binomtest

import kerastl
from kerastl.comparison import compare
from kerastl.comparison.paired import detectable_difference

NAMES = ("no", "yes")


@pytest.fixture(scope="module")
def models():
    """Two of other weights, drawn alike on each backend."""
    found = []
    for seed in (1, 2):
        model, rng = small_classifier(), np.random.default_rng(seed)
        for weight in model.weights:
            if len(weight.shape) > 1:
                weight.assign(rng.normal(0, 0.5, weight.shape))
        found.append(model)
    return found


@pytest.fixture(scope="module")
def data(models):
    """Labels that the first model gives two in three of, and the second as it comes."""
    images = pixels(90)
    given = outputs(models[0], images).argmax(axis=1)
    drawn = np.random.default_rng(0).integers(0, 3, 90)
    return kerastl.ImageSet(images, np.where(np.arange(90) % 3, given, drawn), CLASSES)


def hits(model, data):
    return kerastl.predict(model, data).indices == data.labels


def test_the_numbers_are_those_of_the_two_models(models, data):
    found = compare(*models, data)
    one, two = (hits(model, data) for model in models)
    assert found.paired.accuracy_a == one.mean()
    assert found.paired.accuracy_b == two.mean()
    only_a, only_b = (one & ~two).sum(), (two & ~one).sum()
    p = binomtest(only_b, only_a + only_b).pvalue
    assert found.paired.p_value == pytest.approx(p)
    recalls = [
        np.mean([right[data.labels == c].mean() for c in np.unique(data.labels)])
        for right in (one, two)
    ]
    assert found.balanced == pytest.approx(recalls[1] - recalls[0])
    low, high = found.interval
    assert low < found.paired.difference < high
    assert "probably not have been seen" in str(found)
    assert found.to_dict()["paired"]["only_a"] == only_a


def test_the_other_way_round_is_its_opposite(models, data):
    there, back = compare(*models, data), compare(*models[::-1], data)
    assert back.paired.difference == -there.paired.difference
    assert back.interval == pytest.approx((-there.interval[1], -there.interval[0]))
    assert back.detectable == there.detectable


def test_copies_in_a_group_tell_nothing_new(models, data):
    few = data.subset(np.arange(30))
    copied = data.subset(np.repeat(np.arange(30), 9))
    groups = np.repeat(np.arange(30), 9)
    alone = compare(*models, few, resamples=400)
    grouped = compare(*models, copied, groups=groups, resamples=400)
    careless = compare(*models, copied, resamples=400)
    width = [high - low for low, high in (alone.interval, grouped.interval)]
    assert width[1] == pytest.approx(width[0], rel=0.02)
    assert careless.interval[1] - careless.interval[0] < width[0] / 2
    assert grouped.groups == 30
    assert "bootstrap over 30 groups" in str(grouped)


@pytest.mark.parametrize(("images", "differing"), [(400, 0.2), (1500, 0.1)])
def test_what_could_be_seen_is_seen_in_four_of_five_tries(images, differing):
    gain = detectable_difference(differing, images)
    rng = np.random.default_rng(0)
    shares = [(differing + gain) / 2, (differing - gain) / 2]
    found = 0
    for _ in range(500):
        only_b, only_a, _ = rng.multinomial(images, [*shares, 1 - differing])
        found += binomtest(only_b, only_a + only_b).pvalue < 0.05
    # The exact test is a little more careful than the formula.
    assert 0.72 < found / 500 < 0.86


def test_where_nothing_differs_six_images_would():
    assert detectable_difference(0.0, 100) == pytest.approx(0.06)
    assert binomtest(6, 6).pvalue < 0.05 < binomtest(5, 5).pvalue


def test_other_models_are_refused(models, data):
    numbers = kerastl.build_regressor(small_network(), [1.0, 2.0], preprocessing="tf")
    with pytest.raises(ValueError, match="`model_b` must be a classifier"):
        compare(models[0], numbers, data)
    other = small_classifier(("ash", "oak", "fir"))
    with pytest.raises(ValueError, match="of the model's classes"):
        compare(models[0], other, data)


def test_the_order_of_the_classes_may_differ(data, models):
    turned = small_classifier(CLASSES[::-1])
    weights = models[0].get_weights()
    for old, new in zip(weights, turned.weights, strict=True):
        last = new.shape[-1:] == (3,) and "head_dense" in new.path
        new.assign(old[..., ::-1] if last else old)
    found = compare(models[0], turned, data)
    assert (found.paired.only_a, found.paired.only_b) == (0, 0)
    assert found.balanced == 0
