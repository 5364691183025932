"""Where a backbone's weights come from, and the proof that they arrived.

Checked at every load: the published md5 or sha256 of ImageNet files where Keras gives
one (it gives none for MobileNet and MobileNetV2), the recorded sha256 of the bundled
files, and for each source that the model's variables equal the file's arrays.
"""

import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from kerastl._checks import fail, nearest
from kerastl._compat import keras_home
from kerastl.models.published import PublishedFile, published_file
from kerastl.models.specs import BackboneSpec

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


def weights_fingerprint(model: keras.Model) -> str:
    """A sha256 of every weight of a model, in order.

    Random states (of dropout, of augmentation) are no weights: they do not count.

    Args:
        model: Any built Keras model.

    Returns:
        64 hexadecimal digits; equal for two models exactly when their weights are.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> before = weights_fingerprint(model)
        >>> model.set_weights([w + 1 for w in model.get_weights()])
        >>> weights_fingerprint(model) == before
        False
    """
    digest = hashlib.sha256()
    for array in model.get_weights():
        digest.update(f"{array.shape}{array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
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
