"""Keys of cached features: they hold all that the rows depend on.

Each is 64 hexadecimal digits, equal in every process.
"""

import functools
import hashlib
import importlib
import inspect
import json
import sys
import types
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np

from kerastl._checks import check_choice, fail, image_size_pair
from kerastl._compat import (
    device_names,
    graph_nodes,
    is_functional,
    rerun_graph,
    sublayers,
)
from kerastl.data import augmentation as augmentation_code
from kerastl.data import batches as batch_code
from kerastl.data.augmentation import Augmentation, as_augmentation
from kerastl.data.images import RESIZES
from kerastl.data.sets import ImageSet
from kerastl.data.sources import pixels_key
from kerastl.models import layers as own_layers
from kerastl.models.weights import weights_digest

#: Packages whose layers are trusted to do the same wherever their version is.
_PACKAGES = ("keras", "kerastl", "keras_hub", "keras_cv", "keras_nlp")
#: What their objects may be made of besides.
_LIBRARIES = {*_PACKAGES, *sys.stdlib_module_names, "numpy", "ml_dtypes", "wrapt"}
_LIBRARIES |= {"tensorflow", "jax", "jaxlib", "torch", "optree"}


class UnknownCodeError(TypeError):
    """A network holds code that no key can stand for."""


@dataclass(frozen=True)
class _Place:
    """A tensor of the graph, by the order in which tensors are made."""

    number: int


def describe_network(model: keras.Model) -> Any:
    """A network as data for JSON; two equal ones compute the same in inference mode."""
    if isinstance(model, keras.Sequential):
        model = _as_functional(model)
    if not is_functional(model):
        _refuse(model, "it is no functional model")
    if "call" in vars(model):
        _refuse(model, "its `call` was replaced")
    nodes = iter([node for node in graph_nodes(model) if not node.is_input])
    inputs = [_Place(number) for number, _ in enumerate(model.inputs)]
    made, calls = len(inputs), []
    parts: dict[int, tuple[int, Any]] = {}

    def call(layer: Any, *args: Any, **kwargs: Any) -> list[_Place]:
        nonlocal made
        node = next(nodes)
        if node.layer is not layer:
            _refuse(model, "its graph is of an unknown kind")
        number = parts.setdefault(id(layer), (len(parts), layer))[0]
        calls.append([number, _argument(args), _argument(kwargs)])
        outputs = [_Place(made + i) for i, _ in enumerate(node.outputs)]
        made += len(outputs)
        return outputs

    outputs = rerun_graph(model, inputs, call)
    return {
        "code": [_origin(_definer(model, name)) for name in ("call", "__call__")],
        "dtype": _setting(model.dtype_policy),
        "inputs": [[list(x.shape), x.dtype] for x in model.inputs],
        "calls": calls,
        "outputs": _argument(outputs),
        "parts": [_part(layer) for _, layer in parts.values()],
    }


def _definer(model: keras.Model, method: str) -> type:
    return next(cls for cls in type(model).__mro__ if method in vars(cls))


def _as_functional(model: keras.Sequential) -> keras.Model:
    if "call" in vars(model) or type(model) is not keras.Sequential:
        _refuse(model, "it is a Sequential with code of its own")
    if not model.built:
        _refuse(model, "it has no input yet")
    return keras.Model(model.inputs, model.outputs, name=model.name)


def _part(layer: Any) -> Any:
    """A layer, an operation, or a model inside the network."""
    if is_functional(layer) or isinstance(layer, keras.Sequential):
        return describe_network(layer)
    inside = sublayers(layer) if isinstance(layer, keras.Layer) else (layer,)
    constants = [list(_constants(each)) for each in inside]
    try:
        config = dict(layer.get_config())
    except (NotImplementedError, ValueError):
        _refuse(layer, "it has no `get_config`")
    config.pop("name", None)
    config.pop("trainable", None)
    named = frozenset((type(each).__name__, each.name) for each in inside)
    weights = layer.weights if isinstance(layer, keras.Layer) else []
    return {
        "class": _origin(_original(type(layer))),
        "config": _setting(config, named),
        "weights": [_array(weight) for weight in weights],
        "constants": constants,
    }


def _original(cls: type) -> type:
    """The class that `freeze` changed in place: both compute the same in inference."""
    behaviour, *others = cls.__bases__
    changed = others and behaviour.__module__ == own_layers.__name__
    return others[-1] if changed else cls


def _origin(cls: type) -> list[str]:
    """Where the code of a class is from, and which version of it."""
    root = cls.__module__.partition(".")[0]
    if root not in _PACKAGES:
        _refuse(cls, "its code is not of Keras or its libraries")
    return [cls.__module__, cls.__qualname__, _version(cls.__module__)]


@functools.cache
def _version(module: str) -> str:
    """The version of a package; for kerastl itself the code."""
    root = module.partition(".")[0]
    if root == __name__.partition(".")[0]:
        return cache_key(inspect.getsource(sys.modules[module]))
    return str(sys.modules[root].__version__)


def _constants(layer: Any) -> Iterator[list[Any]]:
    """Arrays that a layer holds besides its weights; code that it must not hold."""
    _origin(_original(type(layer)))
    for name, value in sorted(vars(layer).items()):
        for item in _contents(value):
            if _home(item) not in _LIBRARIES:
                _refuse(layer, f"its {name!r} holds code of its own")
            if _is_array(item) and not isinstance(item, keras.Variable):
                yield [name, _array(item)]


def _contents(value: Any) -> Iterator[Any]:
    """A value and, if it is a container, all that it holds."""
    yield value
    if isinstance(value, Mapping):
        value = value.values()
    elif not isinstance(value, list | tuple | set):
        return
    for item in value:
        yield from _contents(item)


def _home(value: Any) -> str:
    """The package that the code of a value is from."""
    while isinstance(value, functools.partial):
        value = value.func
    code = isinstance(value, types.FunctionType | types.MethodType | type)
    module = value.__module__ if code else type(value).__module__
    return (module or "").partition(".")[0]


def _argument(value: Any) -> Any:
    """An argument of a call: tensors by their place."""
    if isinstance(value, _Place):
        return {"tensor": value.number}
    if isinstance(value, slice):
        return {"slice": [_argument(x) for x in (value.start, value.stop, value.step)]}
    if value is Ellipsis:
        return {"slice": "..."}
    if isinstance(value, list | tuple):
        return [_argument(item) for item in value]
    if isinstance(value, dict):
        return {str(name): _argument(item) for name, item in value.items()}
    return _setting(value)


def _setting(value: Any, named: frozenset = frozenset()) -> Any:
    """A value of a config. `named`: classes and names of the layers inside."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_setting(item, named) for item in value]
    if isinstance(value, Mapping):
        return _settings(value, named)
    if _is_array(value):
        return _array(value)
    if isinstance(value, np.dtype):
        return value.name
    if isinstance(value, types.FunctionType) and _home(value) in _PACKAGES:
        return ["function", value.__module__, value.__qualname__]
    if hasattr(value, "get_config") and not isinstance(value, type):
        return [_origin(type(value)), _setting(value.get_config(), named)]
    return _refuse(value, "it cannot be described")


def _settings(value: Mapping[Any, Any], named: frozenset) -> dict[str, Any]:
    found = {str(key): _setting(item, named) for key, item in value.items()}
    config = value.get("config")
    is_layer = isinstance(config, Mapping)
    if is_layer and (value.get("class_name"), config.get("name")) in named:
        # Only of layers: the name of a dtype policy is what it does.
        for key in ("name", "trainable"):
            found["config"].pop(key, None)
    return found


def _is_array(value: Any) -> bool:
    if isinstance(value, np.ndarray | np.generic | keras.Variable):
        return True
    return keras.ops.is_tensor(value) and not isinstance(value, keras.KerasTensor)


def _array(value: Any) -> list[Any]:
    """An array's type, and a hash of its shape and bytes."""
    array = np.asarray(keras.ops.convert_to_numpy(value))
    return [array.dtype.name, weights_digest([array])]


def _refuse(part: Any, reason: str) -> Any:
    name = part.__name__ if isinstance(part, type) else getattr(part, "name", part)
    expected = "a network that can be told from any other"
    hint = f"{reason[0].upper()}{reason[1:]}."
    fail("model", expected, str(name), hint, UnknownCodeError)


def network_key(model: keras.Model) -> str:
    """A key for what a network computes in inference mode.

    Equal for the same network built again, in another process too; names and
    `trainable` do not count. Any other weight, setting, connection, dtype policy,
    version, backend or kind of device gives another key: kernels round differently.

    Args:
        model: Functional model or `keras.Sequential`.

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
    return cache_key(pixels_key(image_set, (height, width), resize))


def views_key(augment: str | Augmentation | None, seed: int) -> str:
    """A key for how images are changed at random, all that their draws follow from.

    The numbers of a preset count, not its name; so do our code that changes images and
    the version of TensorFlow, which executes it on every backend.

    Args:
        augment: Name of a preset, an `Augmentation`, or None: nothing is changed.
        seed: What the changes follow from.

    Returns:
        The key; an empty string where nothing is changed.

    Raises:
        ValueError: If there is no such preset.

    Example:
        >>> views_key("light", 0) == views_key("digits", 0)
        False
    """
    chosen = as_augmentation(augment)
    if chosen is None:
        return ""
    # NumPy's numbers, too: they pass where numbers are checked.
    numbers = json.dumps(asdict(chosen), sort_keys=True, default=lambda x: x.item())
    # What changes the images: tensors on TensorFlow, arrays elsewhere.
    kind = "tensorflow" if keras.backend.backend() == "tensorflow" else "numpy"
    changes = importlib.import_module(f"kerastl.data.changes_{kind}")
    modules = (augmentation_code, batch_code, changes)
    code = [inspect.getsource(module) for module in modules]
    library = importlib.import_module(kind)
    return cache_key(numbers, str(seed), *code, library.__version__)


def cache_key(*parts: str) -> str:
    """One key for several strings, their order and their number.

    Args:
        *parts: Keys, names of layers, settings.

    Example:
        >>> cache_key("a", "b") == cache_key("ab")
        False
    """
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _kernels() -> str:
    """What decides how sums are rounded: library, version, kind of device."""
    backend = keras.backend.backend()
    devices = {name.partition(":")[0] for name in device_names()}
    version = getattr(sys.modules.get(backend), "__version__", "")
    return " ".join([backend, version, keras.__version__, *sorted(devices)])
