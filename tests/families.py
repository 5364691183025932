"""What the structural tests know of each family, counted by hand from its paper."""

import functools
from dataclasses import dataclass

import keras
import numpy as np
import pytest

from kerastl.models.backbones import build_backbone

#: Inside the network of families that scale by themselves: last scaling layer's kind.
BUILT_IN = {
    "MobileNetV3Small": "tf",
    "EfficientNetB0": "torch",
    "EfficientNetV2B0": "torch",
    "ConvNeXtTiny": "torch",
}


@dataclass(frozen=True)
class Member:
    """One network: its size, its channels, its blocks, its cut points."""

    name: str
    size: int
    channels: int
    blocks: int
    cuts: int
    module: str
    slow: bool = False


# Blocks: stem + units of the paper (+ top where convolutions follow the last unit).
# Cuts: single-tensor separators of the bare network as measured with another program,
# + 1 for the preprocessing layer (EfficientNet: + 1 more for its input scaling).
MEMBERS = (
    Member("VGG16", 32, 512, 5, 19 + 1, "vgg16"),
    Member("ResNet50", 32, 2048, 1 + 3 + 4 + 6 + 3, 39 + 1, "resnet"),
    Member("ResNet50V2", 32, 2048, 1 + 3 + 4 + 6 + 3, 31 + 1, "resnet_v2"),
    Member("InceptionV3", 75, 2048, 1 + 11, 29 + 1, "inception_v3"),
    Member("Xception", 71, 2048, 14, 25 + 1, "xception"),
    Member("MobileNet", 32, 1024, 1 + 13, 86 + 1, "mobilenet"),
    Member("MobileNetV2", 32, 1280, 1 + 17 + 1, 74 + 1, "mobilenet_v2"),
    Member("MobileNetV3Small", 32, 576, 1 + 11 + 1, 59 + 1, "mobilenet_v3"),
    Member("DenseNet121", 32, 1024, 1 + 4 + 3, 79 + 1, "densenet"),
    Member("NASNetMobile", 32, 1056, 1 + 2 + 12 + 2, 5 + 1, "nasnet"),
    Member("EfficientNetB0", 32, 1280, 1 + 16 + 1, 83 + 2, "efficientnet"),
    Member("EfficientNetV2B0", 32, 1280, 1 + 21 + 1, 64 + 1, "efficientnet_v2"),
    Member("ConvNeXtTiny", 32, 768, 1 + 3 + 3 + 9 + 3, 25 + 1, "convnext"),
    Member(
        "InceptionResNetV2",
        75,
        1536,
        1 + 1 + 10 + 1 + 20 + 1 + 10 + 1,
        103 + 1,
        "inception_resnet_v2",
        slow=True,
    ),
)

#: JAX compiles each shape it meets: there the others wait for the slow run.
LIGHT_ON_JAX = ("VGG16", "MobileNet", "EfficientNetB0", "ConvNeXtTiny")


def speed(name, slow=False):
    """The marks of a test that builds this network."""
    heavy = keras.backend.backend() == "jax" and name not in LIGHT_ON_JAX
    return [pytest.mark.slow] if slow or heavy else []


def heavy_on_jax(test):
    """Leave a test of a large network to the slow run, on JAX."""
    return pytest.mark.slow(test) if keras.backend.backend() == "jax" else test


PARAMS = [pytest.param(m, id=m.name, marks=speed(m.name, m.slow)) for m in MEMBERS]


@functools.cache
def build(name, size):
    """The family's member with random weights; shared, so do not change it."""
    return build_backbone(name, image_size=size, weights=None)


def pixels(size, seed=0):
    """Two random RGB images, uint8."""
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (2, size, size, 3)).astype("uint8")
