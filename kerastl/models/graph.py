"""Where a network's graph may be cut, and cutting it there."""

import keras

from kerastl._checks import fail, nearest
from kerastl._compat import GraphNode, graph_nodes, is_functional


def check_functional(name: str, model: object) -> None:
    """Raise unless `model` is a functional model: a graph of layers."""
    if not is_functional(model):
        fail(
            name,
            "a functional keras.Model",
            type(model).__name__,
            "Build it with keras.Model(inputs, outputs).",
            TypeError,
        )


def _separators(model: keras.Model) -> list[tuple[str, keras.KerasTensor]]:
    """Layers, with their tensors, through which everything after them must pass."""
    nodes = graph_nodes(model)
    last_use: dict[int, int] = {}
    for position, node in enumerate(nodes):
        for tensor in node.inputs:
            last_use[tensor] = position
    for tensor in model.outputs:
        last_use[id(tensor)] = len(nodes)
    calls = _calls(nodes)
    live = {id(t) for node in nodes if node.is_input for t in node.outputs}
    found = []
    for position, node in enumerate(nodes):
        live.difference_update(t for t in node.inputs if last_use[t] <= position)
        live.update(id(t) for t in node.outputs if last_use.get(id(t), -1) > position)
        if (
            live == {id(t) for t in node.outputs}
            and len(live) == 1
            and calls[id(node.layer)] == 1
        ):
            found.append((node.layer.name, node.outputs[0]))
    return found


def _calls(nodes: tuple[GraphNode, ...]) -> dict[int, int]:
    """How often each layer is called in the graph."""
    calls: dict[int, int] = {}
    for node in nodes:
        calls[id(node.layer)] = calls.get(id(node.layer), 0) + 1
    return calls


def cut_points(model: keras.Model) -> tuple[str, ...]:
    """Names of the layers whose output alone carries everything to the layers after it.

    Only at these may a network be truncated or split. A layer inside a residual block
    is none: the shortcut runs past it. The input layer and the last layer are listed;
    `split_model` accepts those between them. A sum written `x + y` counts as a layer,
    with the name that Keras gave it.

    Args:
        model: Functional model with one output.

    Returns:
        Layer names from input to output.

    Raises:
        TypeError: If the model is not functional.

    Example:
        >>> x = keras.Input((4,), name="in")
        >>> hidden = keras.layers.Dense(4, name="inside")(x)
        >>> y = keras.layers.Add(name="sum")([x, hidden])
        >>> cut_points(keras.Model(x, keras.layers.ReLU(name="out")(y)))
        ('in', 'sum', 'out')
    """
    check_functional("model", model)
    return tuple(name for name, _ in _separators(model))


def split_model(model: keras.Model, at: str) -> tuple[keras.Model, keras.Model]:
    """The network in two models: up to layer `at` (inclusive), and all after it.

    Both share the model's variables: training or freezing a part changes the whole.
    `suffix(prefix(images))` equals `model(images)` exactly.

    Args:
        model: Functional model with one output.
        at: A name from `cut_points(model)`, neither the input nor the last layer.

    Returns:
        `(prefix, suffix)`.

    Raises:
        TypeError: If the model is not functional.
        ValueError: If `at` is no layer, no cut point, or leaves a part empty.

    Example:
        >>> x = keras.Input((4,), name="in")
        >>> hidden = keras.layers.Dense(3, name="hidden")(x)
        >>> model = keras.Model(x, keras.layers.Dense(2, name="out")(hidden))
        >>> prefix, suffix = split_model(model, "hidden")
        >>> prefix.output_shape, suffix.output_shape
        ((None, 3), (None, 2))
    """
    check_functional("model", model)
    cuts = dict(_separators(model))
    _check_cut(model, at, tuple(cuts)[1:-1])
    prefix = keras.Model(model.input, cuts[at], name=f"{model.name}_prefix")
    suffix = keras.Model(cuts[at], model.output, name=f"{model.name}_suffix")
    return prefix, suffix


def truncate(model: keras.Model, at: str) -> keras.Model:
    """The network up to layer `at` (inclusive), as a model.

    It shares the model's variables; it does not copy them.

    Args:
        model: Functional model with one output.
        at: A name from `cut_points(model)`, not the input layer.

    Returns:
        Functional model from the same input to the output of `at`.

    Raises:
        TypeError: If the model is not functional.
        ValueError: If `at` is no layer or no cut point.

    Example:
        >>> x = keras.Input((4,), name="in")
        >>> hidden = keras.layers.Dense(3, name="hidden")(x)
        >>> model = keras.Model(x, keras.layers.Dense(2, name="out")(hidden))
        >>> truncate(model, "hidden").output_shape
        (None, 3)
    """
    check_functional("model", model)
    cuts = dict(_separators(model))
    _check_cut(model, at, tuple(cuts)[1:])
    return keras.Model(model.input, cuts[at], name=model.name)


def _check_cut(model: keras.Model, at: str, legal: tuple[str, ...]) -> None:
    """Raise unless `at` is one of the `legal` cut points; name its neighbours."""
    if at in legal:
        return
    names = [operation.name for operation in model.operations]
    if at not in names:
        fail("at", f"a layer of {model.name}", at, nearest(str(at), legal or names))
    if not legal:
        fail("at", f"a cut point, and {model.name} has none inside", at)
    place = names.index(at)
    before = [name for name in legal if names.index(name) < place][-1:]
    after = [name for name in legal if names.index(name) > place][:1]
    near = " and ".join(repr(name) for name in before + after)
    fail(
        "at",
        "a layer through which the whole network passes, with layers on both sides",
        at,
        f"The nearest are {near}.",
    )
