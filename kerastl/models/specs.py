"""The registry: what is known about every network of `keras.applications`."""

from dataclasses import dataclass, replace

from kerastl._checks import fail, nearest
from kerastl.models.block_rules import BLOCK_ENDS, BlockEnd


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
        block_ends: How blocks are recognised, see `kerastl.models.blocks`.
        alphas: Widths with ImageNet weights, or None: the width cannot be chosen.
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
    stem_before_fork: bool = False

    @property
    def application(self) -> str:
        """The function's name in `keras.applications`."""
        return self.name


def _family(
    template: BackboneSpec, members: dict[str, tuple[int, float]]
) -> list[BackboneSpec]:
    """One spec per member from name -> (native size, millions of parameters)."""
    return [
        replace(template, name=name, native_size=size, parameters=millions)
        for name, (size, millions) in members.items()
    ]


def _template(
    family: str,
    preprocessing: str,
    licence: str,
    source: str,
    *,
    minimum: int = 32,
    alphas: tuple[float, ...] | None = None,
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
        block_ends=BLOCK_ENDS[family],
        alphas=alphas,
        stem_before_fork=family.startswith("Inception"),
    )


_APACHE = "Apache-2.0"

_VGG = _template("VGG", "caffe", "CC-BY-4.0", "Visual Geometry Group, Oxford")
_RESNET = _template("ResNet", "caffe", "MIT", "Kaiming He et al.")
_RESNET_V2 = _template("ResNetV2", "tf", "BSD", "Facebook")
_INCEPTION = _template("Inception", "tf", _APACHE, "Google", minimum=75)
_INCEPTION_RESNET = _template("InceptionResNet", "tf", _APACHE, "Google", minimum=75)
_XCEPTION = _template("Xception", "tf", "MIT", "François Chollet", minimum=71)
_MOBILENET = _template(
    "MobileNet", "tf", _APACHE, "Google", alphas=(0.25, 0.5, 0.75, 1.0)
)
_MOBILENET_V2 = _template(
    "MobileNetV2", "tf", _APACHE, "Google", alphas=(0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
)
_MOBILENET_V3 = _template("MobileNetV3", "none", _APACHE, "Google", alphas=(0.75, 1.0))
_DENSENET = _template("DenseNet", "torch", "BSD-3-Clause", "Gao Huang et al.")
_NASNET = _template("NASNet", "tf", _APACHE, "Google")
_EFFICIENTNET = _template("EfficientNet", "none", _APACHE, "Google")
_EFFICIENTNET_V2 = _template("EfficientNetV2", "none", _APACHE, "Google")
_CONVNEXT = _template("ConvNeXt", "none", "MIT", "Meta AI")

_ALL = (
    *_family(_VGG, {"VGG16": (224, 14.7), "VGG19": (224, 20.0)}),
    *_family(
        _RESNET,
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
        _EFFICIENTNET,
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


_BY_FOLDED_NAME = {_folded(name): spec for name, spec in REGISTRY.items()}


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
    spec = _BY_FOLDED_NAME.get(_folded(name))
    if spec is None:
        guess = nearest(name, REGISTRY) or nearest(_folded(name), REGISTRY)
        fail("name", "a network of keras.applications", name, guess)
    return spec


def match_spec(name: str) -> BackboneSpec | None:
    """The registry's entry for a name, or None."""
    return _BY_FOLDED_NAME.get(_folded(name))
