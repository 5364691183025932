"""Random backbones follow the seed."""

import numpy as np
from networks import CLASSES

import kerastl


def random_classifier(seed):
    model = kerastl.build_classifier(
        "MobileNet", CLASSES, weights=None, alpha=0.25, image_size=32, seed=seed
    )
    return model.get_weights()


def test_the_same_seed_gives_the_same_random_backbone():
    for one, two in zip(random_classifier(3), random_classifier(3), strict=True):
        np.testing.assert_array_equal(one, two)


def test_another_seed_gives_other_kernels_of_the_same_spread():
    one, two = (random_classifier(seed)[0] for seed in (3, 4))
    assert not np.array_equal(one, two)
    np.testing.assert_allclose(one.std(), two.std(), rtol=0.3)


def test_layers_of_one_shape_do_not_start_alike():
    kernels = [w for w in random_classifier(3) if w.shape == (1, 1, 128, 128)]
    assert len(kernels) > 1
    assert not np.array_equal(kernels[0], kernels[1])
