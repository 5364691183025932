"""What is known of each backbone family: names, sizes, weights, blocks. Data only."""

from dataclasses import dataclass, replace

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
        minimum_size: Smallest image side in pixels.
        native_size: Image side in pixels it was trained at.
        parameters: Millions of weights without the top, at width 1.
        licence: Licence of the ImageNet weights, as their authors give it.
        weights_source: Who trained them.
        block_ends: How blocks are recognised, see `kerastl.models.blocks`; none: by
            its cut points, as in a network that is not listed.
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
    minimum_size: int
    native_size: int
    parameters: float
    licence: str
    weights_source: str
    block_ends: tuple[BlockEnd, ...]
    alphas: tuple[float, ...] | None = None
    imagenet_file: str = ""
    imagenet_sizes: tuple[int, ...] = ()
    stem_before_fork: bool = False


def _family(
    template: BackboneSpec, members: dict[str, tuple[int, float]]
) -> list[BackboneSpec]:
    """One spec per member from name -> (native size, millions of parameters)."""
    return [
        replace(template, name=name, native_size=size, parameters=millions)
        for name, (size, millions) in members.items()
    ]


_KERNELS = "_weights_tf_dim_ordering_tf_kernels"


def _template(
    family: str,
    preprocessing: str,
    licence: str,
    source: str,
    *,
    minimum: int = 32,
    alphas: tuple[float, ...] | None = None,
    file: str = "{name}" + _KERNELS + "_notop.h5",
    sizes: tuple[int, ...] = (),
) -> BackboneSpec:
    """A spec with the fields a family shares."""
    return BackboneSpec(
        name=family,
        family=family,
        preprocessing=preprocessing,
        minimum_size=minimum,
        native_size=224,
        parameters=0.0,
        licence=licence,
        weights_source=source,
        block_ends=BLOCK_ENDS.get(family, ()),
        alphas=alphas,
        imagenet_file=file,
        imagenet_sizes=sizes,
        stem_before_fork=family.startswith("Inception"),
    )


_APACHE = "Apache-2.0"

_VGG = _template("VGG", "caffe", "CC-BY-4.0", "Visual Geometry Group, Oxford")
_RESNET_V1 = _template("ResNet", "caffe", "MIT", "Kaiming He et al.")
_RESNET_V2 = _template("ResNetV2", "tf", "BSD", "Facebook")
_INCEPTION = _template(
    "Inception",
    "tf",
    _APACHE,
    "Google",
    minimum=75,
    file=f"inception_v3{_KERNELS}_notop.h5",
)
_INCEPTION_RESNET = _template(
    "InceptionResNet",
    "tf",
    _APACHE,
    "Google",
    minimum=75,
    file=f"inception_resnet_v2{_KERNELS}_notop.h5",
)
_XCEPTION = _template("Xception", "tf", "MIT", "François Chollet", minimum=71)
_MOBILENET = _template(
    "MobileNet",
    "tf",
    _APACHE,
    "Google",
    alphas=(0.25, 0.5, 0.75, 1.0),
    file="mobilenet_{tenths}_{size}_tf_no_top.h5",
    sizes=(128, 160, 192, 224),
)
_MOBILENET_V2 = _template(
    "MobileNetV2",
    "tf",
    _APACHE,
    "Google",
    alphas=(0.35, 0.5, 0.75, 1.0, 1.3, 1.4),
    file=f"mobilenet_v2{_KERNELS}_{{alpha}}_{{size}}_no_top.h5",
    sizes=(96, 128, 160, 192, 224),
)
_MOBILENET_V3 = _template(
    "MobileNetV3",
    "none",
    _APACHE,
    "Google",
    alphas=(0.75, 1.0),
    file="weights_mobilenet_v3_{member}_224_{alpha}_float_no_top_v2.h5",
)
_DENSENET = _template("DenseNet", "torch", "BSD-3-Clause", "Gao Huang et al.")
_NASNET = _template("NASNet", "tf", _APACHE, "Google", file="nasnet_{member}_no_top.h5")
_EFFICIENTNET_V1 = _template(
    "EfficientNet", "none", _APACHE, "Google", file="{name}_notop.h5"
)
_EFFICIENTNET_V2 = _template(
    "EfficientNetV2",
    "none",
    _APACHE,
    "Google",
    file="efficientnetv2-{member}_notop.h5",
)
_CONVNEXT = _template(
    "ConvNeXt", "none", "MIT", "Meta AI", file="convnext_{member}_notop.h5"
)

_ALL = (
    *_family(_VGG, {"VGG16": (224, 14.7), "VGG19": (224, 20.0)}),
    *_family(
        _RESNET_V1,
        {"ResNet50": (224, 23.6), "ResNet101": (224, 42.7), "ResNet152": (224, 58.4)},
    ),
    *_family(
        _RESNET_V2,
        {
            "ResNet50V2": (224, 23.6),
            "ResNet101V2": (224, 42.6),
            "ResNet152V2": (224, 58.3),
        },
    ),
    *_family(_INCEPTION, {"InceptionV3": (299, 21.8)}),
    *_family(_INCEPTION_RESNET, {"InceptionResNetV2": (299, 54.3)}),
    *_family(_XCEPTION, {"Xception": (299, 20.9)}),
    *_family(_MOBILENET, {"MobileNet": (224, 3.2)}),
    *_family(_MOBILENET_V2, {"MobileNetV2": (224, 2.3)}),
    *_family(
        _MOBILENET_V3,
        {"MobileNetV3Small": (224, 0.9), "MobileNetV3Large": (224, 3.0)},
    ),
    *_family(
        _DENSENET,
        {
            "DenseNet121": (224, 7.0),
            "DenseNet169": (224, 12.6),
            "DenseNet201": (224, 18.3),
        },
    ),
    *_family(_NASNET, {"NASNetMobile": (224, 4.3), "NASNetLarge": (331, 84.9)}),
    *_family(
        _EFFICIENTNET_V1,
        {
            "EfficientNetB0": (224, 4.0),
            "EfficientNetB1": (240, 6.6),
            "EfficientNetB2": (260, 7.8),
            "EfficientNetB3": (300, 10.8),
            "EfficientNetB4": (380, 17.7),
            "EfficientNetB5": (456, 28.5),
            "EfficientNetB6": (528, 41.0),
            "EfficientNetB7": (600, 64.1),
        },
    ),
    *_family(
        _EFFICIENTNET_V2,
        {
            "EfficientNetV2B0": (224, 5.9),
            "EfficientNetV2B1": (240, 6.9),
            "EfficientNetV2B2": (260, 8.8),
            "EfficientNetV2B3": (300, 12.9),
            "EfficientNetV2S": (384, 20.3),
            "EfficientNetV2M": (480, 53.2),
            "EfficientNetV2L": (480, 117.7),
        },
    ),
    *_family(
        _CONVNEXT,
        {
            "ConvNeXtTiny": (224, 27.8),
            "ConvNeXtSmall": (224, 49.5),
            "ConvNeXtBase": (224, 87.6),
            "ConvNeXtLarge": (224, 196.2),
            "ConvNeXtXLarge": (224, 348.1),
        },
    ),
)

REGISTRY: dict[str, BackboneSpec] = {spec.name: spec for spec in _ALL}


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
