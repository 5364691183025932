"""What goes into a feature network, and the file that it is saved to."""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerastl._checks import fail
from kerastl._files import whole_file
from kerastl.datasets.sets import ImageSet
from kerastl.inference.feature_layers import FeatureColumns, feature_columns
from kerastl.inference.prediction import as_image_set
from kerastl.models.saving import model_path

_SUFFIX = ".keras"


def image_rows(inputs: Any, image_size: tuple[int, int], resize: str) -> ImageSet:
    """Images as an `ImageSet` of as many rows as the inputs have.

    Args:
        inputs: Paths, an array of pixels `(n, ...)`, PIL images, or an `ImageSet`.
        image_size: Pixels, for PIL images, whose sizes may differ.
        resize: The same.

    Raises:
        ValueError: If there is no image, or a folder among the paths.
        TypeError: If it is one path, or of no known kind.
        FileNotFoundError: If a file does not exist.
    """
    if hasattr(inputs, "__array__") and not isinstance(inputs, ImageSet):
        array = np.asarray(inputs)
        texts = array.ndim == 1 and array.dtype.kind in "OUT"
        inputs = array.tolist() if texts else ImageSet(array, None, ())
    if isinstance(inputs, (str, Path)):
        expected = "a list of paths, not one path"
        fail("X", expected, str(inputs), "Pass a list, of one path too.", TypeError)
    if isinstance(inputs, Sequence):
        paths = [item for item in inputs if isinstance(item, (str, Path))]
        folders = [str(path) for path in paths if Path(path).is_dir()]
        if folders:
            fail("X", "files, one for each row", folders[0], "It is a folder.")
    if hasattr(inputs, "__len__") and not len(inputs):
        fail("X", "at least one image", "none")
    return as_image_set(inputs, image_size, resize)


def write_network(
    network: keras.Model, path: str | Path, settings: dict[str, Any]
) -> None:
    """Write a feature network and settings to a `.keras` file, whole or not at all.

    Args:
        network: A feature network.
        path: File name ending in `.keras`; its folder must exist.
        settings: JSON-ready dictionary, not empty.

    Raises:
        ValueError: If the name does not end in `.keras`.
        FileNotFoundError: If the folder does not exist.
    """
    path = model_path(path)
    last = feature_columns(network)
    record = FeatureColumns(last.cuts, last.widths, last.pooling, settings=settings)
    whole = keras.Model(network.input, record(last.input), name=network.name)
    with whole_file(path) as draft:
        whole.save(draft)


def read_network(path: str | Path) -> tuple[keras.Model, dict[str, Any]]:
    """The feature network and the settings that `write_network` wrote.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is another file.
    """
    path, expected = Path(path), "a file that FeatureExtractor.save wrote"
    if not path.is_file():
        fail("path", expected, str(path), error=FileNotFoundError)
    if not zipfile.is_zipfile(path):
        fail("path", expected, str(path), "It is no .keras file, or not whole.")
    try:
        network = keras.models.load_model(path, compile=False)
    except (TypeError, ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        hint = f"Keras {keras.__version__} cannot read it: {reason}"
        fail("path", expected, str(path), hint)
    last = network.layers[-1]
    if not isinstance(last, FeatureColumns) or not last.settings:
        fail("path", expected, str(path), "It is another model.")
    return network, dict(last.settings)
