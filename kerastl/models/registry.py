"""What is known of each backbone family: names, sizes, weights, blocks. Data only."""

from dataclasses import dataclass
from typing import Any

from kerastl._checks import fail, nearest

#: Means and standard deviations (RGB, 0-1) of the ImageNet training set.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class BlockEnd:
    r"""How the last layer of a block is recognised.

    Attributes:
        pattern: Regular expression that the whole layer name matches. Only names that
            Keras writes into its networks: `add_3` or `conv2d_94` vary by session.
        name: The block's name; `\1` inserts the pattern's first group.
        merge: The block ends at the layer that merges the matching one with another:
            for networks whose merging layers have no name of their own.
    """

    pattern: str
    name: str
    merge: bool = False


_RESNET = (
    BlockEnd("pool1_pool", "stem"),
    BlockEnd(r"(conv\d_block\d+)_out", r"\1"),
)
_EFFICIENTNET = (
    BlockEnd("stem_activation", "stem"),
    BlockEnd(r"(block\d[a-z])_(?:project_bn|project_activation|add)", r"\1"),
)

#: Family -> its block ends. Inception's stems have no named end: see `BackboneSpec`.
BLOCK_ENDS: dict[str, tuple[BlockEnd, ...]] = {
    "VGG": (BlockEnd(r"(block\d)_pool", r"\1"),),
    "ResNet": _RESNET,
    "ResNetV2": _RESNET,
    "Inception": (BlockEnd(r"(mixed\d+)", r"\1"),),
    "InceptionResNet": (
        BlockEnd(r"(mixed_\d[ab])", r"\1"),
        BlockEnd(r"(block\d+_\d+)_conv", r"\1", merge=True),
        BlockEnd(r"(block\d+_\d+)_ac", r"\1"),
    ),
    "Xception": (
        BlockEnd("block1_conv2_act", "stem"),
        BlockEnd(r"(block\d+)_(?:pool|sepconv3_bn)", r"\1", merge=True),
        BlockEnd("block14_sepconv2_act", "block14"),
    ),
    "MobileNet": (
        BlockEnd("conv1_relu", "stem"),
        BlockEnd(r"conv_pw_(\d+)_relu", r"block_\1"),
    ),
    "MobileNetV2": (
        BlockEnd("Conv1_relu", "stem"),
        BlockEnd("expanded_conv_project_BN", "block_0"),
        BlockEnd(r"block_(\d+)_(?:project_BN|add)", r"block_\1"),
    ),
    "MobileNetV3": (
        BlockEnd("conv_bn", "stem"),
        BlockEnd("expanded_conv_project_bn", "block_0"),
        BlockEnd(r"expanded_conv_(\d+)_(?:project_bn|add)", r"block_\1"),
    ),
    # The paper's dense blocks, with its transitions between them.
    "DenseNet": (
        BlockEnd("pool1", "stem"),
        BlockEnd(r"(conv\d)_block\d+_concat", r"\1"),
        BlockEnd(r"(pool\d)_pool", r"\1"),
    ),
    "NASNet": (
        BlockEnd("stem_bn1", "stem"),
        BlockEnd(r"reduction_concat_(stem_\d+)", r"reduction_\1"),
        BlockEnd(r"reduction_concat_reduce_(\d+)", r"reduction_\1"),
        BlockEnd(r"normal_concat_(\d+)", r"normal_\1"),
    ),
    "EfficientNet": _EFFICIENTNET,
    "EfficientNetV2": _EFFICIENTNET,
    "ConvNeXt": (
        BlockEnd(r"convnext_[a-z]+_stem", "stem"),
        BlockEnd(
            r"convnext_[a-z]+_(stage_\d_block_\d+)_(?:identity|stochastic_depth)",
            r"\1",
            merge=True,
        ),
    ),
}


@dataclass(frozen=True)
class BackboneSpec:
    """What is known about one network of `keras.applications`.

    Attributes:
        name: Its name, which is also the function's in `keras.applications`.
        family: The family it belongs to.
        preprocessing: `"tf"`, `"caffe"` or `"torch"`; `"none"`: scales by itself.
        native_size: Image side in pixels it was trained at.
        parameters: Millions of weights without the top, at width 1.
        licence: Licence of the ImageNet weights, as their authors give it.
        weights_source: Who trained them.
        block_ends: How blocks are recognised, see `kerastl.models.blocks`; none: by
            its cut points, as in a network that is not listed.
        minimum_size: Smallest image side in pixels.
        alphas: Widths with ImageNet weights, or None: the width cannot be chosen.
        imagenet_file: How Keras calls the file of its ImageNet weights: see
            `kerastl.models.weights.cached_imagenet_file`. Only to tell which are on
            this machine; empty: that is never told.
        imagenet_sizes: Image sides in pixels with weights of their own, where others
            take those of 224.
        stem_before_fork: The stem has no named last layer: it ends where the first
            block's branches part.
    """

    name: str
    family: str
    preprocessing: str
    native_size: int
    parameters: float
    licence: str
    weights_source: str
    block_ends: tuple[BlockEnd, ...] = ()
    minimum_size: int = 32
    alphas: tuple[float, ...] | None = None
    imagenet_file: str = "{name}_weights_tf_dim_ordering_tf_kernels_notop.h5"
    imagenet_sizes: tuple[int, ...] = ()
    stem_before_fork: bool = False


_GOOGLE = {"licence": "Apache-2.0", "weights_source": "Google"}

#: What the networks of a family share.
_FAMILIES: dict[str, dict[str, Any]] = {
    "VGG": {
        "preprocessing": "caffe",
        "licence": "CC-BY-4.0",
        "weights_source": "Visual Geometry Group, Oxford",
    },
    "ResNet": {
        "preprocessing": "caffe",
        "licence": "MIT",
        "weights_source": "Kaiming He et al.",
    },
    "ResNetV2": {
        "preprocessing": "tf",
        "licence": "BSD",
        "weights_source": "Facebook",
    },
    "Inception": {
        **_GOOGLE,
        "preprocessing": "tf",
        "minimum_size": 75,
        "imagenet_file": "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "stem_before_fork": True,
    },
    "InceptionResNet": {
        **_GOOGLE,
        "preprocessing": "tf",
        "minimum_size": 75,
        "imagenet_file": "inception_resnet_v2_weights_tf_dim_ordering_tf_kernels"
        "_notop.h5",
        "stem_before_fork": True,
    },
    "Xception": {
        "preprocessing": "tf",
        "licence": "MIT",
        "weights_source": "François Chollet",
        "minimum_size": 71,
    },
    "MobileNet": {
        **_GOOGLE,
        "preprocessing": "tf",
        "alphas": (0.25, 0.5, 0.75, 1.0),
        "imagenet_file": "mobilenet_{tenths}_{size}_tf_no_top.h5",
        "imagenet_sizes": (128, 160, 192, 224),
    },
    "MobileNetV2": {
        **_GOOGLE,
        "preprocessing": "tf",
        "alphas": (0.35, 0.5, 0.75, 1.0, 1.3, 1.4),
        "imagenet_file": "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{alpha}_"
        "{size}_no_top.h5",
        "imagenet_sizes": (96, 128, 160, 192, 224),
    },
    "MobileNetV3": {
        **_GOOGLE,
        "preprocessing": "none",
        "alphas": (0.75, 1.0),
        "imagenet_file": "weights_mobilenet_v3_{member}_224_{alpha}_float_no_top_v2.h5",
    },
    "DenseNet": {
        "preprocessing": "torch",
        "licence": "BSD-3-Clause",
        "weights_source": "Gao Huang et al.",
    },
    "NASNet": {
        **_GOOGLE,
        "preprocessing": "tf",
        "imagenet_file": "nasnet_{member}_no_top.h5",
    },
    "EfficientNet": {
        **_GOOGLE,
        "preprocessing": "none",
        "imagenet_file": "{name}_notop.h5",
    },
    "EfficientNetV2": {
        **_GOOGLE,
        "preprocessing": "none",
        "imagenet_file": "efficientnetv2-{member}_notop.h5",
    },
    "ConvNeXt": {
        "preprocessing": "none",
        "licence": "MIT",
        "weights_source": "Meta AI",
        "imagenet_file": "convnext_{member}_notop.h5",
    },
}

#: Family, name, image side it was trained at, millions of weights without the top.
_MEMBERS = (
    ("VGG", "VGG16", 224, 14.7),
    ("VGG", "VGG19", 224, 20.0),
    ("ResNet", "ResNet50", 224, 23.6),
    ("ResNet", "ResNet101", 224, 42.7),
    ("ResNet", "ResNet152", 224, 58.4),
    ("ResNetV2", "ResNet50V2", 224, 23.6),
    ("ResNetV2", "ResNet101V2", 224, 42.6),
    ("ResNetV2", "ResNet152V2", 224, 58.3),
    ("Inception", "InceptionV3", 299, 21.8),
    ("InceptionResNet", "InceptionResNetV2", 299, 54.3),
    ("Xception", "Xception", 299, 20.9),
    ("MobileNet", "MobileNet", 224, 3.2),
    ("MobileNetV2", "MobileNetV2", 224, 2.3),
    ("MobileNetV3", "MobileNetV3Small", 224, 0.9),
    ("MobileNetV3", "MobileNetV3Large", 224, 3.0),
    ("DenseNet", "DenseNet121", 224, 7.0),
    ("DenseNet", "DenseNet169", 224, 12.6),
    ("DenseNet", "DenseNet201", 224, 18.3),
    ("NASNet", "NASNetMobile", 224, 4.3),
    ("NASNet", "NASNetLarge", 331, 84.9),
    ("EfficientNet", "EfficientNetB0", 224, 4.0),
    ("EfficientNet", "EfficientNetB1", 240, 6.6),
    ("EfficientNet", "EfficientNetB2", 260, 7.8),
    ("EfficientNet", "EfficientNetB3", 300, 10.8),
    ("EfficientNet", "EfficientNetB4", 380, 17.7),
    ("EfficientNet", "EfficientNetB5", 456, 28.5),
    ("EfficientNet", "EfficientNetB6", 528, 41.0),
    ("EfficientNet", "EfficientNetB7", 600, 64.1),
    ("EfficientNetV2", "EfficientNetV2B0", 224, 5.9),
    ("EfficientNetV2", "EfficientNetV2B1", 240, 6.9),
    ("EfficientNetV2", "EfficientNetV2B2", 260, 8.8),
    ("EfficientNetV2", "EfficientNetV2B3", 300, 12.9),
    ("EfficientNetV2", "EfficientNetV2S", 384, 20.3),
    ("EfficientNetV2", "EfficientNetV2M", 480, 53.2),
    ("EfficientNetV2", "EfficientNetV2L", 480, 117.7),
    ("ConvNeXt", "ConvNeXtTiny", 224, 27.8),
    ("ConvNeXt", "ConvNeXtSmall", 224, 49.5),
    ("ConvNeXt", "ConvNeXtBase", 224, 87.6),
    ("ConvNeXt", "ConvNeXtLarge", 224, 196.2),
    ("ConvNeXt", "ConvNeXtXLarge", 224, 348.1),
)

REGISTRY: dict[str, BackboneSpec] = {
    name: BackboneSpec(
        name=name,
        family=family,
        native_size=size,
        parameters=millions,
        block_ends=BLOCK_ENDS.get(family, ()),
        **_FAMILIES[family],
    )
    for family, name, size, millions in _MEMBERS
}


def _folded(name: str) -> str:
    """A name without case, hyphens and underscores."""
    return name.lower().replace("-", "").replace("_", "")


def find_spec(name: str) -> BackboneSpec:
    """The registry's entry for a name; `mobilenet_v2` finds `MobileNetV2`.

    Args:
        name: Case, hyphens and underscores do not matter.

    Returns:
        The entry.

    Raises:
        TypeError: If `name` is no string.
        ValueError: If no network has this name.

    Example:
        >>> find_spec("mobilenet_v2").native_size
        224
    """
    if not isinstance(name, str):
        fail("name", "a string", name, error=TypeError)
    spec = match_spec(name)
    if spec is None:
        guess = nearest(name, REGISTRY) or nearest(_folded(name), REGISTRY)
        fail("name", "a network of keras.applications", name, guess)
    return spec


def match_spec(name: str) -> BackboneSpec | None:
    """The registry's entry for a name, or None."""
    by_folded_name = {_folded(each): spec for each, spec in REGISTRY.items()}
    return by_folded_name.get(_folded(name))
