"""Writing a classifier to one `.keras` file, and reading it back."""

import zipfile
from pathlib import Path

import keras

from kerastl._checks import fail
from kerastl._compat import sublayers
from kerastl._files import whole_file
from kerastl.models.adapters import drop_adapters
from kerastl.models.compiling import compile_model
from kerastl.models.kinds import partly_trained_layers_frozen
from kerastl.models.layers import make_freezable
from kerastl.models.manifest import find_manifest, manifest

_SUFFIX = ".keras"


def save_classifier(
    model: keras.Model, path: str | Path, *, overwrite: bool = True
) -> None:
    """Write a classifier to a `.keras` file, whole or not at all.

    A file that is there already survives a full disk or an interruption. The
    optimizer is left out: it is no use to the best weights of a finished run. Adapters
    go into the kernels; `save_adapters` keeps them apart.

    Args:
        model: A classifier from `build_classifier`.
        path: File name ending in `.keras`; its folder must exist.
        overwrite: Whether a file of that name may be replaced.

    Raises:
        ValueError: If the name does not end in `.keras`, the file exists and may not
            be replaced, or the model was not built by `build_classifier`.
        FileNotFoundError: If the folder does not exist.
        OSError: If the file cannot be written, for example on a full disk.

    Example:
        >>> import pathlib, tempfile, kerastl
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_classifier(backbone, ["cat", "dog", "owl"])
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "pets.keras"
        >>> kerastl.save_classifier(model, path)
        >>> kerastl.class_names(kerastl.load_classifier(path))
        ('cat', 'dog', 'owl')
    """
    manifest(model)
    path = model_path(path)
    if path.exists() and not overwrite:
        fail("path", "a new file", str(path), "Pass overwrite=True to replace it.")
    plain = keras.Model(model.input, model.output, name=model.name)
    with whole_file(path) as draft, partly_trained_layers_frozen(plain):
        plain.save(draft)


def model_path(path: str | Path) -> Path:
    """The name of a model's file, if one may be written there.

    Raises:
        ValueError: If the name does not end in `.keras`.
        FileNotFoundError: If the folder does not exist.
    """
    path = Path(path)
    if path.suffix != _SUFFIX:
        fail("path", f"a file name ending in {_SUFFIX}", str(path))
    if not path.parent.is_dir():
        hint = f"Make the folder {str(path.parent)!r} first."
        fail("path", "in a folder that exists", str(path), hint, FileNotFoundError)
    return path


def load_classifier(path: str | Path) -> keras.Model:
    """Read a classifier back, compiled.

    `keras.models.load_model` reads the same file, as long as `kerastl` is imported.

    Args:
        path: A file written by `save_classifier` or `model.save`.

    Returns:
        The classifier, ready for `predict`, `evaluate` and `run_phases`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a Keras model file, or not a classifier of kerastl.

    Example:
        >>> import kerastl
        >>> kerastl.load_classifier("nowhere.keras")
        Traceback (most recent call last):
            ...
        FileNotFoundError: `path` must be a model file. Received: ...
    """
    path = Path(path)
    if not path.is_file():
        hint = "Look for model.keras in the folder that `kerastl train` wrote."
        fail("path", "a model file", str(path), hint, FileNotFoundError)
    if not zipfile.is_zipfile(path):
        fail("path", "a Keras 3 model file (.keras), whole", str(path))
    try:
        model = keras.models.load_model(path, compile=False)
    except (TypeError, ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        hint = f"Keras {keras.__version__} cannot read it: {reason}"
        fail("path", "a model that this Keras can read", str(path), hint)
    if find_manifest(model) is None:
        hint = "It was not made by kerastl.build_classifier."
        fail("path", "a classifier of kerastl", str(path), hint)
    for layer in sublayers(model):
        # Subclasses of dropout come back as they were before `freeze`.
        make_freezable(layer)
    # The file's kernels hold what the adapters had learnt; theirs are zeros.
    drop_adapters(model)
    if model.trainable_variables:
        compile_model(model)
    return model
