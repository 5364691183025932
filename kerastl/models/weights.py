"""Weights of backbones: bundled, from a file, or published."""

import hashlib
import json
import re
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from kerastl._checks import fail, nearest
from kerastl._compat import (
    applications_fetch_with,
    import_keras_hub,
    keras_home,
    note_process,
)
from kerastl._files import READ_ERRORS, one_line
from kerastl.models.layers import assign_weights
from kerastl.models.registry import BackboneSpec

MODEL_SUFFIX = ".keras"

#: Groups of a `.weights.h5` file that are no weights of the model.
_OTHER_STATE = ("optimizer", "seed_generator", "metrics")


def load_weights_file(model: keras.Model, path: Path, *, network: str) -> None:
    """Load `.weights.h5`, `.h5` (Keras's older format) or `.npz` into a model.

    Shapes are compared before anything is loaded, so a file of another network changes
    nothing. Afterwards the model's variables equal the file's arrays. A sum beside the
    file, as `sha256sum FILE > FILE.sha256` writes it, is checked first.

    Args:
        model: Built model.
        path: The file. `.npz`: arrays in the order of `model.get_weights()`.
        network: The network's name, for messages.

    Raises:
        ValueError: If the file cannot be read, belongs to another network, or holds
            values that are not finite.
    """
    npz = path.suffix == ".npz"
    _check_sum_beside(path)
    shapes: Counter = Counter()
    digests: Counter = Counter()
    try:
        difference = ""
        for array in _arrays(path):
            shapes[array.shape] += 1
            digests[_digest(array)] += 1
            difference = difference or not_finite([array])
        difference = _difference(model, shapes) or difference
        if npz and not difference:
            assign_weights(model, list(_arrays(path)))
        elif not difference:
            model.load_weights(path)
    except READ_ERRORS as error:
        difference = one_line(error)
    else:
        if not difference and Counter(map(_digest, model.get_weights())) != digests:
            difference = "The variables differ from the file's arrays after loading"
    if difference:
        _refuse(network, path, difference)


def not_finite(arrays: Iterable[Any]) -> str:
    """What is wrong with weights of which some are NaN or infinite; else nothing."""
    for array in arrays:
        values = np.asarray(keras.ops.convert_to_numpy(array))
        if values.dtype.kind not in "biu" and not np.isfinite(values).all():
            name = getattr(array, "path", f"an array of shape {values.shape}")
            return f"Values of {name} are not finite"
    return ""


def _check_sum_beside(path: Path) -> None:
    """Raise if a sum beside the file is not the file's."""
    beside = path.with_name(f"{path.name}.sha256")
    if not beside.is_file():
        return
    words = beside.read_text("utf-8", errors="replace").split()
    if not words or not re.fullmatch("[0-9a-f]{64}", words[0].lower()):
        fail("weights", "beside a sha256 of 64 hexadecimal digits", str(beside))
    hint = f"The sum is in {beside.name}: fetch or convert the weights again."
    check_sum(path, words[0].lower(), hint)


def _refuse(network: str, path: Path, problem: str) -> None:
    expected = f"a readable weights file of {network} without its top"
    fail("weights", expected, str(path), f"{problem.rstrip('.')}.")


def is_model_file(name: object) -> bool:
    """Whether a name or a path is that of a model's file."""
    return isinstance(name, (str, Path)) and str(name).endswith(MODEL_SUFFIX)


def keras_hub() -> Any:
    """keras-hub, or the sentence that says how to get it.

    Raises:
        ImportError: If it is not installed.
    """
    try:
        return import_keras_hub()
    except ImportError:
        hint = "Install it: pip install 'kerastl[hub]'"
        expected = "built by keras-hub, as networks of text are"
        return fail("backbone", expected, "no keras-hub", hint, ImportError)


def mentions(path: Path, word: bytes) -> bool:
    """Whether the configuration in a `.keras` file has a word in it."""
    try:
        with zipfile.ZipFile(path) as file:
            return word in file.read("config.json")
    except (OSError, KeyError, zipfile.BadZipFile):
        # Whoever reads it whole says what is wrong with it.
        return False


def read_model_file(path: str | Path, name: str, expected: str) -> keras.Model:
    """A model as Keras reads it from a `.keras` file, not compiled.

    Args:
        path: The file.
        name: What error messages call the argument.
        expected: What the file must be, to complete the words "must be".

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no model file, or this Keras cannot read it.
    """
    note_process()
    path = Path(path).expanduser()
    if not path.is_file():
        hint = "Look for model.keras in the folder that `kerastl train` wrote."
        fail(name, expected, str(path), hint, FileNotFoundError)
    if not zipfile.is_zipfile(path):
        fail(name, expected, str(path), "It is no .keras file, or not whole.")
    if mentions(path, b'"keras_hub'):
        # Its classes are known to Keras once it has been imported.
        keras_hub()
    try:
        model = keras.models.load_model(path, compile=False)
    except READ_ERRORS as error:
        hint = f"Keras {keras.__version__} cannot read it: {one_line(error)}."
        fail(name, expected, str(path), hint)
    if problem := not_finite(model.weights):
        fail(name, expected, str(path), f"{problem}.")
    return model


def _arrays(path: Path) -> Iterator[np.ndarray]:
    """The model's arrays in a weights file, without optimizer and random states."""
    if path.suffix == ".npz":
        # NumPy would take any other file for a pickle, and say so.
        if not zipfile.is_zipfile(path):
            raise zipfile.BadZipFile("It is no .npz archive")
        with np.load(path, allow_pickle=False) as file:
            yield from (np.asarray(file[name], "float32") for name in file.files)
        return
    import h5py

    found: list[Any] = []

    def visit(name: str, item: Any) -> None:
        skipped = any(part.startswith(_OTHER_STATE) for part in name.split("/"))
        if isinstance(item, h5py.Dataset) and not skipped:
            found.append(item)

    with h5py.File(path, "r") as file:
        # A whole model saved in the older format keeps its weights in a group.
        file.get("model_weights", file).visititems(visit)
        yield from map(np.asarray, found)


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
    missing, surplus = next(iter(wanted - shapes)), next(iter(shapes - wanted))
    return (
        f"The file has an array of shape {surplus} where the network has {missing}: "
        "another network, or another width"
    )


def _digest(array: np.ndarray) -> str:
    """Stands for an array's values, as float32."""
    return weights_digest([np.asarray(array, "float32")])


BUNDLED_FOLDER = resources.files("kerastl.models") / "tiny"


class TinyWeights(NamedTuple):
    """A bundled weights file: its network, its width, its file and its checksum."""

    name: str
    alpha: float
    file: str
    sha256: str


def tiny_weights() -> tuple[TinyWeights, ...]:
    """The bundled weights files, from their record."""
    record = bundled_record("record")
    found = []
    for stem, entry in record.items():
        name = entry["architecture"].rpartition(".")[2]
        found += [TinyWeights(name, entry["alpha"], f"{stem}.npz", entry["sha256"])]
    return tuple(sorted(found))


def bundled_record(record_name: str) -> dict[str, Any]:
    """What is known of bundled networks: their files, their sizes, their checks."""
    return json.loads((BUNDLED_FOLDER / f"{record_name}.json").read_text("utf-8"))


def bundled_file(name: str, sha256: str) -> Path:
    """The path of a bundled file; raises if its content is another."""
    path = Path(str(BUNDLED_FOLDER / name))
    check_sum(path, sha256, "Install kerastl again.")
    return path


def bundled_texts(record_name: str = "texts") -> Path:
    """The file of a bundled network of texts, its checksum checked.

    Args:
        record_name: Of its record, without the ending.

    Raises:
        ValueError: If it is damaged.
    """
    record = bundled_record(record_name)
    return bundled_file(record["file"], record["sha256"])


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


def check_weights(weights: object) -> str:
    """What kind of weights is asked for.

    Returns:
        `"imagenet"`, `"tiny"`, `"none"`, `"file"`, or `"model"`: a `.keras` file.

    Raises:
        TypeError: If `weights` is neither None nor a string nor a path.
        ValueError: If it is a string that names no source and no weights file.
    """
    if weights is None:
        return "none"
    if weights in ("imagenet", "tiny"):
        return str(weights)
    endings = (".weights.h5", ".h5", ".npz", MODEL_SUFFIX)
    expected = f"'imagenet', 'tiny', None or a path ending in {', '.join(endings)}"
    if not isinstance(weights, (str, Path)):
        fail("weights", expected, weights, error=TypeError)
    if not str(weights).endswith(endings):
        guess = nearest(str(weights), ("imagenet", "tiny"))
        fail("weights", expected, str(weights), guess)
    if not Path(weights).expanduser().is_file():
        hint = "Check the path."
        fail("weights", "a file that exists", str(weights), hint, FileNotFoundError)
    return "model" if is_model_file(weights) else "file"


def tiny_path(spec: BackboneSpec, *, alpha: float) -> Path:
    """The bundled file for a network and a width, its checksum checked.

    Raises:
        ValueError: If none is bundled, or it is damaged.
    """
    bundled = tiny_weights()
    found = [e for e in bundled if (e.name, e.alpha) == (spec.name, alpha)]
    if not found:
        listed = ", ".join(f"{entry.name} alpha={entry.alpha:g}" for entry in bundled)
        expected = f"'imagenet', None or a path for {spec.name} with alpha={alpha:g}"
        fail("weights", expected, "tiny", f"Tiny weights are bundled for {listed}.")
    return bundled_file(found[0].file, found[0].sha256)


def check_sum(path: Path, expected: str, way_out: str) -> None:
    """Raise unless the file's md5 or sha256 is the expected one."""
    algorithm = "sha256" if len(expected) == 64 else "md5"
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, algorithm).hexdigest()
    if found != expected:
        hint = f"Its {algorithm} is {found}. {way_out}"
        fail("weights", f"an undamaged file ({algorithm} {expected})", str(path), hint)


def cached_imagenet_file(
    spec: BackboneSpec, *, alpha: float, image_size: tuple[int, int]
) -> Path | None:
    """Keras's ImageNet file for a network, if it has been downloaded before.

    Its name is known from the registry, so that nothing need be built to tell.
    """
    if not spec.imagenet_file:
        return None
    height, width = image_size
    size = height if height == width and height in spec.imagenet_sizes else 224
    name = spec.imagenet_file.format(
        name=spec.name.lower(),
        member=spec.name.removeprefix(spec.family).lower(),
        alpha=float(alpha),
        tenths=str(alpha if alpha >= 1 else 10 * alpha).replace(".", "_"),
        size=size,
    )
    path = keras_home() / "models" / name
    return path if path.is_file() else None


@contextmanager
def imagenet_files(network: str) -> Iterator[list[Path]]:
    """Look after the file that `keras.applications` loads under `weights="imagenet"`.

    Keras alone knows its name, address and checksum. A file that is there is read
    where it is, also in a folder that is not writable, where Keras would look
    elsewhere. One whose checksum disagrees is an error: it is neither used nor, as
    Keras would do, replaced.

    Args:
        network: The network's name, for messages.

    Yields:
        A list that holds the file once Keras has asked for it.

    Raises:
        FileNotFoundError: If it is not there and cannot be downloaded.
        ValueError: If it is damaged.
    """
    found: list[Path] = []

    def fetch(name: str, origin: str, cache_subdir: str, file_hash: str = "") -> str:
        path = keras_home() / cache_subdir / name
        if not path.is_file():
            _download(path, origin, file_hash)
        if file_hash:
            check_sum(path, file_hash, "Delete it to download it again.")
        found.append(path)
        return str(path)

    with applications_fetch_with(fetch), warnings.catch_warnings():
        # MobileNets of another size take the file of 224 pixels: no one need act.
        warnings.filterwarnings("ignore", "`input_shape` is undefined or non-square")
        try:
            yield found
        except Exception as error:
            if not found:
                raise
            _refuse(network, found[-1], one_line(error))


def _download(path: Path, origin: str, checksum: str) -> None:
    """Fetch a file with Keras's own function, or say how to bring it by hand."""
    reason = ""
    try:
        fetched = keras.utils.get_file(
            path.name,
            origin,
            cache_subdir=path.parent.name,
            file_hash=checksum or None,
            cache_dir=str(path.parent.parent),
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
            f"weights='imagenet' needs the file {path.name} in {path.parent} "
            f"({reason}): put it there, or set KERAS_HOME to the folder above a "
            "`models` folder that holds it."
        )
