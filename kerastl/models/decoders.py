"""From a backbone's feature maps to one map with an answer at each place."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import keras
from keras import layers

from kerastl._checks import check_choice, check_integer, fail
from kerastl._compat import graph_nodes
from kerastl.models.blocks import as_functional
from kerastl.models.layers import ResizeMaps

#: Layers that only move a map's border: what they give is no map of its own.
_BORDERS = (layers.ZeroPadding2D, layers.Cropping2D)

NORMS = ("group", "batch", "none")


def feature_maps(backbone: keras.Model) -> dict[int, keras.KerasTensor]:
    """The last feature map of each stride, from the finest to the coarsest.

    Read from the graph, so that no family needs a list of names. Strides are powers of
    two, and a map belongs to the nearest: networks without padding shrink it by a few
    pixels more.

    Args:
        backbone: Functional model from images of one size to a feature map.

    Returns:
        Stride -> tensor in the backbone's graph, from stride 2 (or what it begins with)
        to its own output.

    Raises:
        ValueError: If it ends in no map, or takes images of any size.

    Example:
        >>> from kerastl.models.backbones import build_backbone
        >>> backbone = build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> {stride: x.shape[1:] for stride, x in feature_maps(backbone).items()}
        ... # doctest: +NORMALIZE_WHITESPACE
        {2: (48, 48, 16), 4: (24, 24, 32), 8: (12, 12, 64), 16: (6, 6, 128),
         32: (3, 3, 256)}
    """
    backbone = as_functional("backbone", backbone)
    size, output = backbone.input_shape[1:3], backbone.output
    if len(output.shape) != 4:
        expected = "a network that ends in a feature map (n, height, width, channels)"
        fail("backbone", expected, output.shape)
    if None in size:
        fail("backbone", "built for one image size", backbone.input_shape)
    last, found = _level(size, output), {}
    for node in graph_nodes(backbone):
        for tensor in node.outputs:
            if len(tensor.shape) != 4 or isinstance(node.layer, _BORDERS):
                continue
            level = _level(size, tensor)
            # What is coarser than the output only weighs channels.
            if 1 <= level < last:
                found[level] = tensor
    found[last] = output
    return {2**level: found[level] for level in sorted(found)}


def _level(size: tuple[int, int], tensor: keras.KerasTensor) -> int:
    """How often a map was halved, to the nearest whole number."""
    height, width = tensor.shape[1:3]
    return round(math.log2(size[0] * size[1] / (height * width)) / 2)


@dataclass
class DecoderStyle:
    """How the layers of a decoder are made.

    Attributes:
        width: Channels of its maps.
        separable: Whether 3 x 3 convolutions are depthwise separable.
        norm: `"group"` (of any batch size), `"batch"` or `"none"`.
    """

    width: int = 64
    separable: bool = True
    norm: str = "group"

    def __post_init__(self) -> None:
        """Check the fields."""
        check_integer("width", self.width, 1)
        check_choice("norm", self.norm, NORMS)

    def convolve(
        self,
        x: keras.KerasTensor,
        name: str,
        *,
        size: int = 3,
        width: int = 0,
        dilation: int = 1,
    ) -> keras.KerasTensor:
        """Convolution, normalisation and ReLU, named after `head_`."""
        for layer in self.block(name, size=size, width=width, dilation=dilation):
            x = layer(x)
        return x

    def block(
        self, name: str, *, size: int = 3, width: int = 0, dilation: int = 1
    ) -> list[keras.Layer]:
        """Their layers, for whoever calls them more than once."""
        light = self.separable and size > 1
        kind = layers.SeparableConv2D if light else layers.Conv2D
        rule = {"depthwise_initializer": "he_normal"} if light else {}
        rule["pointwise_initializer" if light else "kernel_initializer"] = "he_normal"
        width = width or self.width
        convolution = kind(
            width,
            size,
            padding="same",
            use_bias=self.norm == "none",
            dilation_rate=dilation,
            name=f"head_{name}_conv",
            **rule,
        )
        found: list[keras.Layer] = [convolution]
        norm = f"head_{name}_norm"
        if self.norm == "group":
            found.append(layers.GroupNormalization(math.gcd(8, width), name=norm))
        elif self.norm == "batch":
            found.append(layers.BatchNormalization(name=norm))
        return [*found, layers.ReLU(name=f"head_{name}_relu")]


def resized(
    x: keras.KerasTensor, like: keras.KerasTensor, name: str
) -> keras.KerasTensor:
    """A map at the size of another, whatever the two are: no size is forbidden."""
    size = tuple(like.shape[1:3])
    if tuple(x.shape[1:3]) == size:
        return x
    return ResizeMaps(size, name=f"head_{name}_resize")(x)


def unet(
    maps: Mapping[int, keras.KerasTensor], style: DecoderStyle
) -> keras.KerasTensor:
    """A U-Net's way up: at each stride the map from below beside the encoder's own.

    The encoder's maps are narrowed by a 1 x 1 convolution first, and below stride 4 the
    width is halved: there most of the places are.

    Reference:
        Ronneberger et al. (2015), U-Net, arXiv:1505.04597, section 2.
    """
    strides = sorted(maps, reverse=True)
    x = style.convolve(maps[strides[0]], "bridge", size=1)
    for stride in strides[1:]:
        width = style.width if stride > 2 else max(style.width // 2, 8)
        skip = style.convolve(maps[stride], f"skip_{stride}", size=1, width=width)
        x = resized(x, skip, f"up_{stride}")
        x = layers.Concatenate(name=f"head_join_{stride}")([x, skip])
        x = style.convolve(x, f"up_{stride}", width=width)
    return x


def fpn(
    maps: Mapping[int, keras.KerasTensor], style: DecoderStyle
) -> keras.KerasTensor:
    """A feature pyramid whose levels are brought to stride 4 and added.

    Reference:
        Lin et al. (2017), Feature pyramid networks, arXiv:1612.03144, section 3, with
        the joining of Kirillov et al. (2019), Panoptic FPN, arXiv:1901.02446, §3.1.
    """
    # A network so shallow that it has no stride of 4 gives what it has.
    strides = [s for s in sorted(maps, reverse=True) if s > 2] or sorted(maps)[-1:]
    x, finest = None, maps[strides[-1]]
    levels = []
    for stride in strides:
        name = "bridge" if x is None else f"skip_{stride}"
        skip = style.convolve(maps[stride], name, size=1)
        if x is not None:
            x = resized(x, skip, f"down_{stride}")
            x = layers.Add(name=f"head_add_{stride}")([x, skip])
        else:
            x = skip
        level = style.convolve(x, f"level_{stride}")
        levels.append(resized(level, finest, f"level_{stride}"))
    x = layers.Add(name="head_sum")(levels) if len(levels) > 1 else levels[0]
    return style.convolve(x, "end")


def deeplab(
    maps: Mapping[int, keras.KerasTensor], style: DecoderStyle
) -> keras.KerasTensor:
    """DeepLabV3+: views of several widths at stride 16, and one fine map beside them.

    The encoder is not dilated, which would take other weights than those it was trained
    with: its last map is brought to stride 16 and joined with the one there. The rates
    of the dilated convolutions are the paper's, in proportion to the map.

    Reference:
        Chen et al. (2018), Encoder-decoder with atrous separable convolution,
        arXiv:1802.02611, section 3; (2017), arXiv:1706.05587, section 3.3.
    """
    last = maps[max(maps)]
    middle = maps.get(16, last)
    x = resized(style.convolve(last, "bridge", size=1), middle, "bridge")
    if middle is not last:
        skip = style.convolve(middle, "skip_16", size=1)
        x = layers.Concatenate(name="head_join_16")([x, skip])
    branches = [style.convolve(x, "view_1", size=1)]
    for rate in _RATES:
        step = max(1, round(rate * min(middle.shape[1:3]) / _PAPER_SIDE))
        branches.append(style.convolve(x, f"view_{rate}", dilation=step))
    whole = layers.GlobalAveragePooling2D(keepdims=True, name="head_pool")(x)
    branches.append(resized(style.convolve(whole, "whole", size=1), x, "whole"))
    x = layers.Concatenate(name="head_views")(branches)
    x = style.convolve(x, "views", size=1)
    fine = min((s for s in maps if 4 <= s < 16), default=None)
    if fine is not None:
        skip = style.convolve(maps[fine], f"skip_{fine}", size=1)
        x = resized(x, skip, "views")
        x = layers.Concatenate(name=f"head_join_{fine}")([x, skip])
    return style.convolve(x, "end")


#: Rates of the paper, for a map of 33 pixels: images of 513 at stride 16.
_RATES, _PAPER_SIDE = (6, 12, 18), 33

#: A decoder takes the maps by stride and a style, and gives one map. It begins with a
#: layer on the coarsest, which is what the backbone alone ends in.
DECODERS: dict[str, Callable[..., keras.KerasTensor]] = {
    "unet": unet,
    "fpn": fpn,
    "deeplab": deeplab,
}


def attach_decoder(
    backbone: keras.Model, units: int, decoder: str | Callable, style: DecoderStyle
) -> keras.KerasTensor:
    """Logits `(n, height, width, units)` at the size of the images, zeros at first.

    Args:
        backbone: Functional model of one image size.
        units: Logits at each pixel.
        decoder: Name in `DECODERS`, or a function like those.
        style: How its layers are made.
    """
    if isinstance(decoder, str):
        check_choice("decoder", decoder, tuple(DECODERS))
        decoder = DECODERS[decoder]
    x = decoder(feature_maps(backbone), style)
    if len(x.shape) != 4:
        fail("decoder", "one that gives a map (n, height, width, channels)", x.shape)
    # Zeros make the first loss exactly that of knowing nothing, for any features.
    x = layers.Conv2D(
        units, 1, kernel_initializer="zeros", dtype="float32", name="head_logits"
    )(x)
    size = tuple(backbone.input_shape[1:3])
    if tuple(x.shape[1:3]) == size:
        return x
    return ResizeMaps(size, dtype="float32", name="head_resize")(x)
