"""Where Keras publishes its ImageNet weights, and their checksums."""

from dataclasses import dataclass

_KERAS = "https://storage.googleapis.com/tensorflow/keras-applications/"
_TAIL = "_weights_tf_dim_ordering_tf_kernels_notop.h5"


@dataclass(frozen=True)
class PublishedFile:
    """A weights file that Keras publishes.

    Attributes:
        name: File name in Keras's `models` folder.
        url: Where it is downloaded from.
        checksum: md5 or sha256 that Keras publishes for it, or None.
    """

    name: str
    url: str
    checksum: str | None


#: Networks whose file is `<name><_TAIL>` in a folder: (folder, name, checksum).
_PLAIN = {
    "VGG16": ("vgg16", "vgg16", "6d6bbae143d832006294945121d1f1fc"),
    "VGG19": ("vgg19", "vgg19", "253f8cb515780f3b799900260a226db6"),
    "ResNet50": ("resnet", "resnet50", "4d473c1dd8becc155b73f8504c6f6626"),
    "ResNet101": ("resnet", "resnet101", "88cf7a10940856eca736dc7b7e228a21"),
    "ResNet152": ("resnet", "resnet152", "ee4c566cf9a93f14d82f913c2dc6dd0c"),
    "ResNet50V2": ("resnet", "resnet50v2", "fac2f116257151a9d068a22e544a4917"),
    "ResNet101V2": ("resnet", "resnet101v2", "c0ed64b8031c3730f411d2eb4eea35b5"),
    "ResNet152V2": ("resnet", "resnet152v2", "ed17cf2e0169df9d443503ef94b23b33"),
    "InceptionV3": (
        "inception_v3",
        "inception_v3",
        "bcbd6486424b2319ff4ef7d526e38f63",
    ),
    "InceptionResNetV2": (
        "inception_resnet_v2",
        "inception_resnet_v2",
        "d19885ff4a710c122648d3b5c3b684e4",
    ),
    "Xception": ("xception", "xception", "b0042744bf5b25fce3cb969f33bebb97"),
    "DenseNet121": ("densenet", "densenet121", "30ee3e1110167f948a6b9946edeeb738"),
    "DenseNet169": ("densenet", "densenet169", "b8c4d4c20dd625c148057b9ff1c1176b"),
    "DenseNet201": ("densenet", "densenet201", "c13680b51ded0fb44dff2d8f86ac8bb1"),
}

#: Networks with file names of their own: (name, address after the base, checksum).
_OTHERS = {
    "NASNetMobile": (
        "nasnet_mobile_no_top.h5",
        "nasnet/NASNet-mobile-no-top.h5",
        "1ed92395b5b598bdda52abe5c0dbfd63",
    ),
    "NASNetLarge": (
        "nasnet_large_no_top.h5",
        "nasnet/NASNet-large-no-top.h5",
        "d81d89dc07e6e56530c4e77faddd61b5",
    ),
}

_EFFICIENTNET = {
    "EfficientNetB0": "50bc09e76180e00e4465e1a485ddc09d",
    "EfficientNetB1": "74c4e6b3e1f6a1eea24c589628592432",
    "EfficientNetB2": "111f8e2ac8aa800a7a99e3239f7bfb39",
    "EfficientNetB3": "af6d107764bb5b1abb91932881670226",
    "EfficientNetB4": "ebc24e6d6c33eaebbd558eafbeedf1ba",
    "EfficientNetB5": "38879255a25d3c92d5e44e04ae6cec6f",
    "EfficientNetB6": "9ecce42647a20130c1f39a5d4cb75743",
    "EfficientNetB7": "cbcfe4450ddf6f3ad90b1b398090fe4a",
}

_EFFICIENTNET_V2 = {
    "EfficientNetV2B0": "893217f2bb855e2983157299931e43ff",
    "EfficientNetV2B1": "0e80663031ca32d657f9caa404b6ec37",
    "EfficientNetV2B2": "1dfe2e7a5d45b6632553a8961ea609eb",
    "EfficientNetV2B3": "f6abf7b5849ac99a89b50dd3fd532856",
    "EfficientNetV2S": "af0682fb74e8c54910f2d4393339c070",
    "EfficientNetV2M": "1b8dc055df72dde80d614482840fe342",
    "EfficientNetV2L": "b0b66b5c863aef5b46e8608fe1711615",
}

_CONVNEXT = {
    "ConvNeXtTiny": "d547c096cabd03329d7be5562c5e14798aa39ed24b474157cef5e85ab9e49ef1",
    "ConvNeXtSmall": "6fc8009faa2f00c1c1dfce59feea9b0745eb260a7dd11bee65c8e20843da6eab",
    "ConvNeXtBase": "40a20c5548a5e9202f69735ecc06c990e6b7c9d2de39f0361e27baeb24cb7c45",
    "ConvNeXtLarge": "96f02b6f0753d4f543261bc9d09bed650f24dd6bc02ddde3066135b63d23a1cd",
    "ConvNeXtXLarge": (
        "de3f8a54174130e0cecdc71583354753d557fcf1f4487331558e2a16ba0cfe05"
    ),
}

_MOBILENET_V3 = {
    ("MobileNetV3Small", 0.75): "ebdb5cc8e0b497cd13a7c275d475c819",
    ("MobileNetV3Small", 1.0): "d3e8ec802a04aa4fc771ee12a9a9b836",
    ("MobileNetV3Large", 0.75): "40af19a13ebea4e2ee0c676887f69a2e",
    ("MobileNetV3Large", 1.0): "07fb09a5933dd0c8eaafa16978110389",
}

#: Sizes in pixels for which MobileNet and MobileNetV2 have weights of their own.
_MOBILENET_SIZES = {
    "MobileNet": (128, 160, 192, 224),
    "MobileNetV2": (96, 128, 160, 192, 224),
}


def published_file(
    name: str, *, alpha: float, image_size: tuple[int, int]
) -> PublishedFile:
    """The file Keras loads for a network with `weights="imagenet"`, without top.

    MobileNet and MobileNetV2 have one file per width and image size; any other size
    takes the file of 224 pixels, as in Keras.

    Args:
        name: Name in the registry.
        alpha: Width multiplier; ignored where the network has none.
        image_size: `(height, width)` in pixels.

    Returns:
        Its name, address and published checksum.

    Raises:
        KeyError: If Keras publishes none for this name and width.
    """
    if name in _MOBILENET_SIZES:
        return _mobilenet_file(name, alpha, image_size)
    if name in _PLAIN:
        folder, stem, checksum = _PLAIN[name]
        return PublishedFile(stem + _TAIL, f"{_KERAS}{folder}/{stem}{_TAIL}", checksum)
    if name in _OTHERS:
        file, address, checksum = _OTHERS[name]
        return PublishedFile(file, _KERAS + address, checksum)
    return _derived_file(name, alpha)


def _mobilenet_file(
    name: str, alpha: float, image_size: tuple[int, int]
) -> PublishedFile:
    """MobileNet's and MobileNetV2's file: Keras publishes no checksum for them."""
    height, width = image_size
    size = height if height == width and height in _MOBILENET_SIZES[name] else 224
    if name == "MobileNet":
        widths = {0.25: "2_5", 0.5: "5_0", 0.75: "7_5", 1.0: "1_0"}
        file = f"mobilenet_{widths[alpha]}_{size}_tf_no_top.h5"
        return PublishedFile(file, f"{_KERAS}mobilenet/{file}", None)
    file = (
        "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_"
        f"{float(alpha)}_{size}_no_top.h5"
    )
    return PublishedFile(file, f"{_KERAS}mobilenet_v2/{file}", None)


def _derived_file(name: str, alpha: float) -> PublishedFile:
    """Files whose name follows from the network's."""
    if name in _EFFICIENTNET:
        file = f"{name.lower()}_notop.h5"
        base = "https://storage.googleapis.com/keras-applications/"
        return PublishedFile(file, base + file, _EFFICIENTNET[name])
    if name in _EFFICIENTNET_V2:
        file = name.lower().replace("v2", "v2-") + "_notop.h5"
        return PublishedFile(
            file, f"{_KERAS}efficientnet_v2/{file}", _EFFICIENTNET_V2[name]
        )
    if name in _CONVNEXT:
        file = name.lower().replace("convnext", "convnext_") + "_notop.h5"
        return PublishedFile(file, f"{_KERAS}convnext/{file}", _CONVNEXT[name])
    size = name.removeprefix("MobileNetV3").lower()
    file = f"weights_mobilenet_v3_{size}_224_{float(alpha)}_float_no_top_v2.h5"
    return PublishedFile(
        file, f"{_KERAS}mobilenet_v3/{file}", _MOBILENET_V3[name, float(alpha)]
    )
