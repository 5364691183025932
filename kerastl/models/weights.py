"""Weights of backbones: bundled, from a file, or published."""

import hashlib
import json
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from kerastl._checks import fail, nearest
from kerastl._compat import keras_home
from kerastl.models.registry import BackboneSpec

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


#: Groups of a `.weights.h5` file that are no weights of the model.
_OTHER_STATE = ("optimizer", "seed_generator", "metrics")


def load_weights_file(model: keras.Model, path: Path, *, network: str) -> None:
    """Load `.weights.h5`, `.h5` (Keras's older format) or `.npz` into a model.

    Shapes are compared before anything is loaded, so a file of another network changes
    nothing. Afterwards the model's variables equal the file's arrays.

    Args:
        model: Built model.
        path: The file. `.npz`: arrays in the order of `model.get_weights()`.
        network: The network's name, for messages.

    Raises:
        ValueError: If the file cannot be read or belongs to another network.
    """
    npz = path.suffix == ".npz"
    try:
        with _open(path) as file:
            shapes, digests = _survey(file)
            difference = _difference(model, shapes)
            if npz and not difference:
                model.set_weights(list(_arrays(file)))
        if not npz and not difference:
            model.load_weights(path)
    # h5py, zipfile, NumPy and Keras each have their own words for an unreadable file.
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        difference = " ".join(str(error).split())[:200]
    else:
        if not difference and Counter(map(_digest, model.get_weights())) != digests:
            difference = "The variables differ from the file's arrays after loading"
    if difference:
        expected = f"a readable weights file of {network} without its top"
        fail("weights", expected, str(path), f"{difference.rstrip('.')}.")


def _open(path: Path) -> Any:
    """The file as a context manager."""
    if path.suffix == ".npz":
        # NumPy would take any other file for a pickle, and say so.
        if not zipfile.is_zipfile(path):
            raise zipfile.BadZipFile("It is no .npz archive")
        return np.load(path, allow_pickle=False)
    import h5py

    return h5py.File(path, "r")


def _arrays(file: Any) -> Iterator[np.ndarray]:
    """The model's arrays in a weights file, without optimizer and random states."""
    if isinstance(file, np.lib.npyio.NpzFile):
        yield from (np.asarray(file[name], "float32") for name in file.files)
        return
    for dataset in _datasets(file):
        yield np.asarray(dataset)


def _datasets(file: Any) -> list[Any]:
    """The data sets of an HDF5 weights file that hold weights of the model."""
    import h5py

    # A whole model saved in the older format keeps its weights in a group.
    root = file.get("model_weights", file)
    found: list[Any] = []

    def visit(name: str, item: Any) -> None:
        parts = name.split("/")
        skipped = any(part.startswith(_OTHER_STATE) for part in parts)
        if isinstance(item, h5py.Dataset) and not skipped:
            found.append(item)

    root.visititems(visit)
    return found


def _survey(file: Any) -> tuple[Counter, Counter]:
    """How often each shape and each array occurs in a file."""
    shapes: Counter = Counter()
    digests: Counter = Counter()
    for array in _arrays(file):
        shapes[array.shape] += 1
        digests[_digest(array)] += 1
    return shapes, digests


def _difference(model: keras.Model, shapes: Counter) -> str:
    """In what the file's shapes differ from the model's: one sentence, or nothing."""
    wanted = Counter(tuple(variable.shape) for variable in model.weights)
    if wanted == shapes:
        return ""
    if wanted.total() != shapes.total():
        return (
            f"The file has {shapes.total()} arrays, the network {wanted.total()}: "
            "it belongs to another network, or has a top"
        )
    missing = next(iter(wanted - shapes))
    surplus = next(iter(shapes - wanted))
    return (
        f"The file has an array of shape {surplus} where the network has {missing}: "
        "another network, or another width"
    )


def _digest(array: np.ndarray) -> str:
    """Stands for an array's values, as float32."""
    return weights_digest([np.asarray(array, "float32")])


_TINY_FOLDER = resources.files("kerastl.models") / "tiny"


class TinyWeights(NamedTuple):
    """A bundled weights file: its network, its width, its file and its checksum."""

    name: str
    alpha: float
    file: str
    sha256: str


def tiny_weights() -> tuple[TinyWeights, ...]:
    """The bundled weights files, from their record."""
    record = json.loads((_TINY_FOLDER / "record.json").read_text("utf-8"))
    return tuple(
        sorted(
            TinyWeights(
                entry["architecture"].rpartition(".")[2],
                entry["alpha"],
                f"{stem}.npz",
                entry["sha256"],
            )
            for stem, entry in record.items()
        )
    )


def weights_digest(arrays: Iterable[Any], label: str = "") -> str:
    """A sha256 of arrays, in order: the one hash of weights in kerastl.

    Args:
        arrays: Arrays or variables, `model.weights` say; random states, of dropout or
            of augmentation, are no weights.
        label: What else is to count, such as how the network scales its input.

    Returns:
        64 hexadecimal digits; equal exactly when label, shapes and bytes are.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> before = weights_digest(model.weights)
        >>> model.set_weights([w + 1 for w in model.get_weights()])
        >>> weights_digest(model.weights) == before
        False
    """
    digest = hashlib.sha256(label.encode())
    for array in arrays:
        values = np.ascontiguousarray(keras.ops.convert_to_numpy(array))
        digest.update(str(tuple(array.shape)).encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def file_checksum(path: Path, algorithm: str = "sha256") -> str:
    """The md5 or sha256 of a file."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest()


def check_weights(weights: object) -> str:
    """What kind of weights is asked for: `"imagenet"`, `"tiny"`, `"none"`, `"file"`.

    Raises:
        TypeError: If `weights` is neither None nor a string nor a path.
        ValueError: If it is a string that names no source and no weights file.
    """
    if weights is None:
        return "none"
    if weights in ("imagenet", "tiny"):
        return str(weights)
    expected = "'imagenet', 'tiny', None or a path ending in .weights.h5, .h5 or .npz"
    if not isinstance(weights, (str, Path)):
        fail("weights", expected, weights, error=TypeError)
    if not str(weights).endswith((".h5", ".npz")):
        guess = nearest(str(weights), ("imagenet", "tiny"))
        fail("weights", expected, str(weights), guess)
    if not Path(weights).expanduser().is_file():
        fail(
            "weights",
            "a file that exists",
            str(weights),
            "Check the path.",
            FileNotFoundError,
        )
    return "file"


def find_weights(
    spec: BackboneSpec,
    *,
    weights: str | Path | None,
    alpha: float,
    image_size: tuple[int, int],
) -> Path | None:
    """The file with a backbone's weights, its checksum checked where there is one.

    Args:
        spec: The network's entry in the registry.
        weights: `"imagenet"` (downloaded if need be), `"tiny"`, None or a path.
        alpha: The network's width.
        image_size: `(height, width)` in pixels.

    Returns:
        The file, or None for random weights.

    Raises:
        FileNotFoundError: If the file is neither here nor to be downloaded.
        ValueError: If it is damaged, or there is none for this network.
        TypeError: If `weights` is none of these.
    """
    kind = check_weights(weights)
    if kind == "imagenet":
        return imagenet_path(spec, alpha=alpha, image_size=image_size)
    if kind == "tiny":
        return tiny_path(spec, alpha=alpha)
    return Path(weights).expanduser() if kind == "file" else None


def tiny_path(spec: BackboneSpec, *, alpha: float) -> Path:
    """The bundled file for a network and a width, its checksum checked."""
    bundled = tiny_weights()
    found = [e for e in bundled if (e.name, e.alpha) == (spec.name, alpha)]
    if not found:
        listed = ", ".join(f"{entry.name} alpha={entry.alpha:g}" for entry in bundled)
        fail(
            "weights",
            f"'imagenet', None or a path for {spec.name} with alpha={alpha:g}",
            "tiny",
            f"Tiny weights are bundled for {listed}.",
        )
    path = Path(str(_TINY_FOLDER / found[0].file))
    _check_sum(path, found[0].sha256, "Install kerastl again.")
    return path


def _check_sum(path: Path, expected: str, way_out: str) -> None:
    """Raise unless the file's md5 or sha256 is the expected one."""
    algorithm = "sha256" if len(expected) == 64 else "md5"
    found = file_checksum(path, algorithm)
    if found != expected:
        fail(
            "weights",
            f"an undamaged file ({algorithm} {expected})",
            str(path),
            f"Its {algorithm} is {found}. {way_out}",
        )


def cached_imagenet_file(
    spec: BackboneSpec, *, alpha: float, image_size: tuple[int, int]
) -> Path | None:
    """Keras's ImageNet file for a network, if it has been downloaded before."""
    path = _models_folder() / _published(spec, alpha, image_size).name
    return path if path.is_file() else None


def imagenet_path(
    spec: BackboneSpec, *, alpha: float, image_size: tuple[int, int]
) -> Path:
    """Keras's ImageNet file for a network: from its folder, else downloaded.

    The file is read where it is, also in a folder that is not writable (Keras itself
    would look elsewhere). A file whose published checksum disagrees is an error: it is
    neither used nor replaced.

    Raises:
        FileNotFoundError: If it is not there and cannot be downloaded.
        ValueError: If it is damaged.
    """
    published = _published(spec, alpha, image_size)
    path = _models_folder() / published.name
    if not path.is_file():
        _download(published, path)
    if published.checksum:
        _check_sum(path, published.checksum, "Delete it to download it again.")
    return path


def _models_folder() -> Path:
    """Where Keras keeps downloaded weights."""
    return keras_home() / "models"


def _published(
    spec: BackboneSpec, alpha: float, image_size: tuple[int, int]
) -> PublishedFile:
    """Keras's file, or the error that names the widths there are files for."""
    if spec.alphas and alpha not in spec.alphas:
        widths = ", ".join(f"{width:g}" for width in spec.alphas)
        expected = f"one of {widths} for {spec.name} with weights='imagenet'"
        fail("alpha", expected, alpha, "weights=None takes any width.")
    return published_file(spec.name, alpha=alpha, image_size=image_size)


def _download(published: PublishedFile, path: Path) -> None:
    """Fetch a file with Keras's own function, or say how to bring it by hand."""
    reason = ""
    try:
        fetched = keras.utils.get_file(
            published.name,
            published.url,
            cache_subdir="models",
            file_hash=published.checksum,
            cache_dir=str(keras_home()),
        )
    # Keras raises a bare `Exception` when there is no network.
    except Exception as error:
        reason = str(error).splitlines()[0].rstrip(".") or type(error).__name__
    else:
        # Keras writes elsewhere when its folder is not writable.
        if Path(fetched) != path:
            reason = f"{path.parent} is not writable; it is now {fetched}"
    if reason:
        raise FileNotFoundError(
            f"weights='imagenet' needs the file {published.name} in {path.parent} "
            f"({reason}): put it there, or set KERAS_HOME to the folder above a "
            "`models` folder that holds it."
        )
