import numpy as np
import pytest

from kerastl.selection.transferability import SCORES

#: Images, features, classes: features outnumber images.
FEW = [(30, 512, 5), (60, 256, 3), (100, 600, 10)]


def mixed(codes, d, generator):
    """What an untrained layer makes of codes: mixed, noisy, cut at 0."""
    mix = generator.normal(size=(codes.shape[1], d)) / np.sqrt(codes.shape[1])
    noise = 0.3 * generator.normal(size=(len(codes), d))
    return np.maximum(codes @ mix + noise, 0)


def informative(labels, d, seed):
    generator = np.random.default_rng(seed)
    centres = 1.5 * generator.normal(size=(labels.max() + 1, 12))
    codes = centres[labels] + generator.normal(size=(len(labels), 12))
    return mixed(codes, d, generator)


def random(labels, d, seed):
    return np.maximum(np.random.default_rng(seed).normal(size=(len(labels), d)), 0)


def untrained(labels, d, seed):
    """As structured as the informative ones, and blind to the labels."""
    generator = np.random.default_rng(seed)
    return mixed(1.8 * generator.normal(size=(len(labels), 40)), d, generator)


@pytest.mark.parametrize("useless", [random, untrained])
@pytest.mark.parametrize(("n", "d", "classes"), FEW)
@pytest.mark.parametrize("name", SCORES)
def test_features_that_know_nothing_never_win(name, n, d, classes, useless):
    labels = np.arange(n) % classes
    score = SCORES[name]
    good = [score(informative(labels, d, seed), labels) for seed in range(3)]
    bad = [score(useless(labels, d, seed), labels) for seed in range(10, 13)]
    assert min(good) > max(bad)


@pytest.mark.parametrize("name", SCORES)
def test_the_order_of_the_images_does_not_count(name):
    labels = np.arange(60) % 3
    features = informative(labels, 20, 0)
    order = np.random.default_rng(0).permutation(60)
    found = SCORES[name](features[order], labels[order])
    # The mixture of NLEEP starts from images that the seed picks by position.
    tolerance = 0.2 if name == "nleep" else 1e-9
    assert found == pytest.approx(SCORES[name](features, labels), abs=tolerance)


@pytest.mark.parametrize("name", SCORES)
def test_a_score_is_a_float_and_leaves_its_arguments_alone(name):
    labels = np.arange(30) % 3
    features = informative(labels, 20, 0).astype("float32")
    before = features.copy(), labels.copy()
    assert type(SCORES[name](features, labels)) is float
    np.testing.assert_array_equal(features, before[0])
    np.testing.assert_array_equal(labels, before[1])


@pytest.mark.parametrize("name", SCORES)
def test_better_features_score_higher(name):
    labels = np.arange(120) % 3
    noise = np.random.default_rng(5).normal(size=(120, 24))
    features = informative(labels, 24, 0)
    found = [SCORES[name](features + level * noise, labels) for level in (0, 3, 30)]
    assert found[0] > found[1] > found[2]
