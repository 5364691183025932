"""Keys that stand for a computation: what a network computes, and on which images."""

import hashlib
import inspect
import json
import sys

import keras
import numpy as np

from kerastl._checks import check_choice, image_size_pair
from kerastl.datasets import decoding, resizing
from kerastl.datasets.duplicates import digests
from kerastl.datasets.resizing import RESIZES
from kerastl.datasets.sets import ImageSet
from kerastl.inference.fingerprints import describe_network


def network_key(model: keras.Model) -> str:
    """A key for what a network computes in inference mode.

    Equal for the same network built again, in another process too; names and
    `trainable` do not count. Any other weight, setting, connection, dtype policy,
    version, backend or kind of device gives another key: kernels round differently.

    Args:
        model: Functional model or `keras.Sequential`.

    Returns:
        64 hexadecimal digits.

    Raises:
        TypeError: If a part of it has code of its own, outside Keras and its
            libraries: a change of that code could not be seen.

    Example:
        >>> x = keras.Input((4,))
        >>> network = keras.Model(x, keras.layers.ReLU()(x))
        >>> again = keras.Model(x, keras.layers.ReLU()(x))
        >>> network_key(network) == network_key(again)
        True
    """
    return cache_key(json.dumps(describe_network(model), sort_keys=True), _kernels())


def images_key(
    image_set: ImageSet, *, image_size: int | tuple[int, int], resize: str
) -> str:
    """A key for the pixels that a network gets to see, in order.

    Contents count, not the names of files; labels and class names do not.

    Args:
        image_set: Files or arrays.
        image_size: Side, or (height, width), in pixels.
        resize: `"stretch"`, `"crop"` or `"pad"`.

    Returns:
        64 hexadecimal digits.

    Raises:
        ValueError: If the size or `resize` is not one.
        FileNotFoundError: If a file is missing.

    Example:
        >>> pixels = np.zeros((2, 8, 8, 3), "uint8")
        >>> first = ImageSet(pixels, None, ())
        >>> images_key(first, image_size=4, resize="pad") == images_key(
        ...     first, image_size=4, resize="crop"
        ... )
        False
    """
    height, width = image_size_pair("image_size", image_size)
    check_choice("resize", resize, RESIZES)
    images, form = image_set.images, "files"
    if isinstance(images, np.ndarray):
        form = f"{images.dtype.str} {images.shape[1:]}"
    return cache_key(
        form, f"{height} {width}", resize, _decoder(), *digests(image_set).tolist()
    )


def cache_key(*parts: str) -> str:
    """One key for several strings, their order and their number.

    Args:
        *parts: Keys, names of layers, settings.

    Returns:
        64 hexadecimal digits.

    Example:
        >>> cache_key("a", "b") == cache_key("ab")
        False
    """
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _kernels() -> str:
    """What decides how sums are rounded: library, version, kind of device."""
    backend = keras.backend.backend()
    devices = {name.partition(":")[0] for name in keras.distribution.list_devices()}
    version = getattr(sys.modules.get(backend), "__version__", "")
    return " ".join([backend, version, keras.__version__, *sorted(devices)])


def _decoder() -> str:
    """What decides the pixels of a file: our code, Pillow and its JPEG library."""
    import PIL
    from PIL import features

    # The code itself: a version that someone must raise would be forgotten.
    code = "".join(inspect.getsource(module) for module in (decoding, resizing))
    return cache_key(code, PIL.__version__, str(features.version("jpg")))
