"""What is kept of one network is used where it is right, and nowhere else."""

import keras
import numpy as np
import pytest
from keras import layers
from networks import pixels

from kerastl.data.images import PixelStore
from kerastl.data.sets import ImageSet
from kerastl.data.sources import ImageSource
from kerastl.features.cache import FeatureCache

IMAGES = keras.Input((8, 8, 3))
WIDE = layers.Conv2D(4, 3, padding="same", name="wide")(IMAGES)
DEEP = layers.Conv2D(6, 3, 2, padding="same", name="deep")(WIDE)


@pytest.fixture(scope="module")
def source():
    images = ImageSet(pixels(5, 8), np.arange(5) % 2, ("a", "b"))
    return ImageSource(images, PixelStore(images, image_size=8))


@pytest.fixture
def probed(source):
    """A cache that holds what passes two places of a network."""
    cache, top = FeatureCache(), layers.GlobalAveragePooling2D()(DEEP)
    network = keras.Model(IMAGES, top)
    cache.probe(network, top, ["wide", "deep"], source, batch_size=4)
    return cache


def outputs(cache, network, source):
    """Each output of the network for all images."""
    blocks = list(cache.outputs(network, source, batch_size=4))
    parts = zip(*map(keras.tree.flatten, blocks), strict=True)
    return [np.concatenate(part) for part in parts]


def test_a_network_of_several_outputs_gives_all_of_them(probed, source):
    network = keras.Model(IMAGES, [WIDE, DEEP])
    plain = outputs(FeatureCache(), network, source)
    made = outputs(probed, network, source)
    assert len(made) == len(plain) == 2
    for one, other in zip(made, plain, strict=True):
        np.testing.assert_array_equal(one, other)


def test_code_that_no_key_stands_for_is_computed(probed, source):
    class Half(layers.Layer):
        def call(self, x):
            return x / 2

    halved = layers.Conv2D(4, 3, name="wide")(Half()(IMAGES))
    network = keras.Model(IMAGES, halved)
    (made,) = outputs(probed, network, source)
    expected = network.predict(source.rows(np.arange(5))["images"], verbose=0)
    np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-4)
