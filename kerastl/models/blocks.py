"""A network as a graph: its blocks, where it can be cut, what each part costs."""

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from kerastl._checks import fail, nearest
from kerastl._compat import (
    GraphNode,
    graph_nodes,
    is_functional,
    model_from_inside,
    sublayers,
)
from kerastl.models.layers import Preprocessing, is_adapter
from kerastl.models.registry import BackboneSpec, match_spec
from kerastl.models.text_layers import find_text_spec
from kerastl.models.text_registry import HUB_NORMALISATIONS, TextSpec


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


def as_functional(name: str, model: Any) -> keras.Model:
    """The model as a graph of layers with one tensor where it has one output.

    That is the model itself, unless it is a Sequential or `keras.Model(x, [y])`: then
    a new model of the same layers. What is done to these is done to both.

    Args:
        name: What error messages call the argument.
        model: Functional model, or a `keras.Sequential` that knows its input.

    Raises:
        TypeError: If it is neither.
    """
    sequential = isinstance(model, keras.Sequential) and model.built
    if not (sequential and hasattr(model, "inputs")):
        check_functional(name, model)
        if not _is_single_list(model.output):
            return model
    inputs = model.inputs if sequential else model.input
    inputs = inputs[0] if _is_single_list(inputs) else inputs
    return keras.Model(inputs, model.outputs[0], name=model.name)


def _is_single_list(tensors: Any) -> bool:
    return isinstance(tensors, (list, tuple)) and len(tensors) == 1


def _separators(model: keras.Model) -> list[tuple[str, keras.KerasTensor]]:
    """Layers, with their tensors, through which everything after them must pass.

    Found as a compiler finds which registers are live: go through the calls in order,
    and keep the tensors made so far that some later call, or the end, still takes. A
    layer separates the network where its own output is the only such tensor. The
    inputs are live from the start, and an output of the model to the very end. A
    layer called twice has no one place in the graph, so it separates nothing.

    Of several inputs those of whole numbers go along with what is cut: masks and ids,
    which cost nothing to carry, and which every block of a transformer takes.
    """
    nodes = graph_nodes(model)
    along = _handed_on(model)
    last_use: dict[int, int] = {}
    for position, node in enumerate(nodes):
        for tensor in node.inputs:
            last_use[tensor] = position
    for tensor in model.outputs:
        last_use[id(tensor)] = len(nodes)
    calls = Counter(id(node.layer) for node in nodes)
    live = {id(t) for node in nodes if node.is_input for t in node.outputs} - along
    found = []
    for position, node in enumerate(nodes):
        made = {id(t) for t in node.outputs} - along
        live.difference_update(t for t in node.inputs if last_use[t] <= position)
        live.update(t for t in made if last_use.get(t, -1) > position)
        if live == made and len(live) == 1 and calls[id(node.layer)] == 1:
            found.append((node.layer.name, node.outputs[0]))
    return found


def _handed_on(model: keras.Model) -> set[int]:
    """Ids of the inputs that go along at every cut, and of what is made of them alone.

    What no weight has touched is made anew behind the cut.
    """
    along = {id(x) for x in model.inputs if x.dtype == "bool" or "int" in x.dtype}
    if len(model.inputs) < 2:
        return set()
    for node in graph_nodes(model):
        made_of_them = node.inputs and along.issuperset(node.inputs)
        if made_of_them and not getattr(node.layer, "weights", ()):
            along |= {id(tensor) for tensor in node.outputs}
    return along


def _inner_cuts(model: keras.Model) -> dict[str, keras.KerasTensor]:
    """Cut points with layers on both sides, and their tensors."""
    ends = {id(tensor) for tensor in (*model.inputs, *model.outputs)}
    return {name: t for name, t in _separators(model) if id(t) not in ends}


def inner_cut_points(model: keras.Model) -> tuple[str, ...]:
    """The names of `cut_points(model)` that have layers on both sides.

    Args:
        model: Functional model.
    """
    return tuple(_inner_cuts(as_functional("model", model)))


def cut_points(model: keras.Model) -> tuple[str, ...]:
    """Names of the layers whose output alone carries everything to the layers after it.

    A network may be truncated at these, and split at them one at a time. A layer
    inside a residual block is none: the shortcut runs past it. The input layer and
    the last layer are listed; `split_model` accepts those between them. A sum written
    `x + y` counts as a layer, with the name that Keras gave it. A model of several
    inputs hands on those of whole numbers, such as a padding mask, at each cut.

    Args:
        model: Functional model or Sequential, with one output.

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
    return tuple(name for name, _ in _separators(as_functional("model", model)))


def split_model(
    model: keras.Model, at: str | Sequence[str]
) -> tuple[keras.Model, keras.Model]:
    """The network in two models: up to the layers `at` (inclusive), and all after them.

    Both share the model's variables: training or freezing a part changes the whole.
    `suffix(prefix(x))` equals `model(x)` exactly.

    Several layers are named where one tensor does not carry everything: the skips of a
    U-Net with its deepest layer, say. Of the model's own inputs the prefix hands on
    those that the suffix takes itself, as a padding mask is taken by every block.

    Args:
        model: Functional model or Sequential.
        at: A name from `cut_points(model)`, neither the input nor the last layer; or
            several names, from which and from the model's inputs alone all that comes
            after can be computed.

    Returns:
        `(prefix, suffix)`. What the prefix returns is what the suffix takes: one
        tensor, or a list of those of `at`, in that order, then the model's inputs that
        go along.

    Raises:
        TypeError: If the model is not functional.
        ValueError: If a name is no layer or is called more than once, a layer would
            be in both parts, or a part would be empty.

    Example:
        >>> x = keras.Input((4,), name="in")
        >>> hidden = keras.layers.Dense(3, name="hidden")(x)
        >>> deep = keras.layers.Dense(3, name="deep")(hidden)
        >>> model = keras.Model(x, keras.layers.Add(name="sum")([deep, hidden]))
        >>> prefix, suffix = split_model(model, "hidden")
        >>> prefix.output_shape, suffix.output_shape
        ((None, 3), (None, 3))
        >>> prefix, suffix = split_model(model, ("hidden", "deep"))
        >>> [tensor.shape for tensor in suffix.inputs]
        [(None, 3), (None, 3)]
    """
    model = as_functional("model", model)
    if isinstance(at, str):
        _check_cut(model, at, tuple(_inner_cuts(model)))
    carried = _carried(model, (at,) if isinstance(at, str) else tuple(at))
    carried = carried[0] if len(carried) == 1 else carried
    prefix = keras.Model(model.input, carried, name=f"{model.name}_prefix")
    name = f"{model.name}_suffix"
    return prefix, model_from_inside(carried, model.output, name)


def _carried(model: keras.Model, names: tuple[str, ...]) -> list[keras.KerasTensor]:
    """The tensors that cross a cut behind these layers: theirs, then model inputs."""
    nodes = graph_nodes(model)
    calls = Counter(node.layer.name for node in nodes)
    for name in names:
        if name not in calls:
            hint = nearest(str(name), list(calls))
            fail("at", f"layers of {model.name}", name, hint)
        if calls[name] > 1 or names.count(name) > 1:
            fail("at", "layers that are called, and named, once", name)
    made = {n.layer.name: n.outputs for n in nodes if n.layer.name in names}
    several = len(model.outputs) > 1
    ends = {id(tensor) for tensor in model.outputs if several}
    for name in names:
        if ends.intersection(map(id, made[name])):
            fail("at", "layers inside: no output of the model", name)
    tensors = [tensor for name in names for tensor in made[name]]
    cut = {id(tensor) for tensor in tensors}
    below = _leading_to(nodes, tensors, stop=set())
    above = _leading_to(nodes, model.outputs, stop=cut)
    taken = {tensor for place in above for tensor in nodes[place].inputs}
    along = _handed_on(model)
    both = [
        place
        for place in below & above
        if not nodes[place].is_input and along.isdisjoint(map(id, nodes[place].outputs))
    ]
    if both:
        name = nodes[max(both)].layer.name
        hint = f"{name!r} leads to them, and past them to the output: name it too."
        fail("at", "layers behind which no other way leads to the output", names, hint)
    own = {id(tensor) for tensor in model.inputs}
    idle = [n for n in names if not taken.intersection(map(id, made[n])) - own]
    if idle or not names:
        hint = f"{idle[0]!r} is not one." if idle else ""
        fail("at", "layers that the rest takes, below the last layer", names, hint)
    return tensors + [tensor for tensor in model.inputs if id(tensor) in taken]


def _leading_to(
    nodes: tuple[GraphNode, ...], tensors: Iterable[keras.KerasTensor], stop: set[int]
) -> set[int]:
    """Places of the calls that tensors come from, back to the tensors of `stop`."""
    found, wanted = set(), {id(tensor) for tensor in tensors} - stop
    for place in range(len(nodes) - 1, -1, -1):
        if any(id(tensor) in wanted for tensor in nodes[place].outputs):
            found.add(place)
            wanted |= set(nodes[place].inputs) - stop
    return found


def calls_by_layer(model: keras.Model) -> Counter[str]:
    """How often each layer is called in one pass, those of nested models included.

    Args:
        model: Functional model.
    """
    found: Counter[str] = Counter()
    for node in graph_nodes(as_functional("model", model)):
        if is_functional(node.layer):
            found += calls_by_layer(node.layer)
        else:
            found[node.layer.name] += 1
    return found


def truncate(model: keras.Model, at: str) -> keras.Model:
    """The network up to layer `at` (inclusive), as a model.

    It shares the model's variables; it does not copy them.

    Args:
        model: Functional model or Sequential, with one output.
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
    model = as_functional("model", model)
    own = {id(tensor) for tensor in model.inputs}
    cuts = {name: t for name, t in _separators(model) if id(t) not in own}
    _check_cut(model, at, tuple(cuts))
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


def node_multiplications(
    layer: Any, outputs: tuple[keras.KerasTensor, ...], length: int | None = None
) -> int:
    """Multiplications by weights in one call of a layer, for one image.

    A kernel is applied at each position of the output: a convolution's at each
    pixel, a dense layer's at each token. Element-wise work is left out, and so are
    adapters: Keras adds them to their kernel, once for all images of a batch.

    Args:
        layer: Layer, model or operation of a graph.
        outputs: The symbolic tensors of that call.
        length: What sides stand for whose length is open; None: one.
    """
    if not isinstance(layer, keras.Layer):
        return 0
    if is_functional(layer):
        nodes = graph_nodes(layer)
        return sum(node_multiplications(n.layer, n.outputs, length) for n in nodes)
    shape = outputs[0].shape
    positions = math.prod(side or length or 1 for side in shape[1:-1])
    if keras.config.image_data_format() == "channels_first" and len(shape) == 4:
        positions = math.prod(side or 1 for side in shape[2:])
    kernels = {
        id(weight): math.prod(weight.shape)
        for part in sublayers(layer)
        for weight in part.trainable_weights + part.non_trainable_weights
        # Embeddings are looked up; vectors scale or shift.
        if len(weight.shape) > 1
        and not isinstance(part, keras.layers.Embedding)
        and "embedding" not in weight.name
        and not is_adapter(weight)
    }
    return positions * sum(kernels.values())


def multiplications_below(model: keras.Model) -> dict[str, int]:
    """Multiplications up to and with each layer, for one image, by its name.

    At a cut point that is what the network truncated there costs: everything before
    it leads to it.

    Args:
        model: Functional model.
    """
    found, total = {}, 0
    for node in graph_nodes(as_functional("model", model)):
        total += node_multiplications(node.layer, node.outputs)
        found[node.layer.name] = total
    return found


def multiplications(model: keras.Model) -> int:
    """Multiplications by weights in one pass of a functional model, for one image.

    Args:
        model: Functional model.

    Example:
        >>> x = keras.Input((8, 8, 3))
        >>> network = keras.Model(x, keras.layers.Conv2D(4, 3, padding="same")(x))
        >>> multiplications(network) == 8 * 8 * (3 * 3 * 3 * 4)
        True
    """
    nodes = graph_nodes(as_functional("model", model))
    return sum(node_multiplications(node.layer, node.outputs) for node in nodes)


_NORMALISATION = (
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.GroupNormalization,
    keras.layers.RMSNormalization,
    keras.layers.Normalization,
)


def is_normalisation(layer: Any) -> bool:
    """Whether a layer normalises: Keras's, or one of keras-hub that is none of them."""
    names = {kind.__name__ for kind in type(layer).__mro__}
    return isinstance(layer, _NORMALISATION) or bool(names & set(HUB_NORMALISATIONS))


_ACTIVATION = (keras.layers.Activation, keras.layers.ReLU, keras.layers.LeakyReLU)


@dataclass(frozen=True)
class _Graph:
    """Who feeds whom, by layer name, in order from input to output."""

    layers: dict[str, Any]
    inputs: dict[str, tuple[str, ...]]
    outputs: dict[str, tuple[str, ...]]


def blocks(
    model: keras.Model, *, exclude: Collection[str] = (), nested: bool = False
) -> dict[str, tuple[str, ...]]:
    """Block name -> names of its layers, from input to output.

    Networks of the registry have their own structure: the stem (with input and
    preprocessing), then residual, inception or dense blocks; weights after the last of
    them form the block `top`. A layer on a shortcut belongs to the block that the
    shortcut leads into. Other models are cut where the whole graph passes through one
    layer, into blocks that each hold a convolution or dense layer. Of a nested model
    the innermost layers are listed.

    Args:
        model: Functional model: a backbone, or a classifier with a head to `exclude`.
        exclude: Names of layers to leave out.
        nested: Whether a block whose weights are all in one nested functional model,
            as in `base(x)`, is divided into that model's blocks, which keep their
            names where these stay distinct. A nested Sequential, or several models
            side by side, stay one block. The graph of `model` cannot be cut there.

    Returns:
        Ordered dictionary; every layer of `model` not excluded is in one block. Empty
            if all are excluded.

    Raises:
        TypeError: If the model is not functional.

    Example:
        >>> from kerastl.models.backbones import build_backbone
        >>> model = build_backbone("MobileNet", alpha=0.25, weights=None)
        >>> list(blocks(model))[:3], len(blocks(model))
        (['stem', 'block_1', 'block_2'], 14)
    """
    model = as_functional("model", model)
    left_out = set(exclude)
    graph = _read_graph(model, left_out)
    if not graph.layers:
        return {}
    cuts = [name for name in cut_points(model) if name in graph.layers]
    text = find_text_spec(model)
    if text is None:
        ends = _named_ends(graph, cuts, _spec_of(model))
    else:
        ends = _text_ends(graph, text)
    if not ends:
        ends = _segment_ends(graph, cuts)
    pieces: list[tuple[str, tuple[str, ...]]] = []
    for block, names in _assign(graph, ends).items():
        parts = [graph.layers[name] for name in names]
        inner = _inner_blocks(parts, left_out) if nested else {}
        pieces += inner.items() or [(block, _kept_leaves(parts, left_out))]
    if len(dict(pieces)) < len(pieces):
        pieces = [(f"block_{n}", leaves) for n, (_, leaves) in enumerate(pieces, 1)]
    return dict(pieces)


def _inner_blocks(parts: list[Any], left_out: set[str]) -> dict[str, tuple[str, ...]]:
    """The blocks of the one nested model that holds a block's weights, if one does.

    What lies before it joins its first block, what lies after it the last.
    """
    heavy = [place for place, part in enumerate(parts) if _is_heavy(part)]
    if len(heavy) != 1 or not is_functional(parts[heavy[0]]):
        return {}
    place = heavy[0]
    found = blocks(parts[place], exclude=left_out, nested=True)
    first, last = next(iter(found)), next(reversed(found))
    found[first] = _kept_leaves(parts[:place], left_out) + found[first]
    found[last] += _kept_leaves(parts[place + 1 :], left_out)
    return found


def _kept_leaves(parts: list[Any], left_out: set[str]) -> tuple[str, ...]:
    """Names of the innermost layers that are not left out."""
    return tuple(
        leaf for part in parts for leaf in _leaf_names(part) if leaf not in left_out
    )


def _leaf_names(layer: Any) -> Iterator[str]:
    """Names of the layers inside a nested model, or the layer's own."""
    if isinstance(layer, keras.Model):
        for inner in layer.layers:
            yield from _leaf_names(inner)
    elif isinstance(layer, keras.Layer):
        # A sum written `x + y` is an operation of the graph, but no layer.
        yield layer.name


def _read_graph(model: keras.Model, left_out: set[str]) -> _Graph:
    """The model's layers and their connections, without the layers left out."""
    layers = {
        layer.name: layer
        for layer in model.operations
        if not (layer.name in left_out or _all_in(_leaf_names(layer), left_out))
    }
    maker: dict[int, str] = {}
    sources: dict[int, tuple[str, ...]] = {}
    inputs: dict[str, tuple[str, ...]] = dict.fromkeys(layers, ())
    for node in graph_nodes(model):
        # Layers left out pass their sources on.
        before = tuple(
            name
            for tensor in node.inputs
            for name in ((maker[tensor],) if tensor in maker else sources[tensor])
        )
        known = node.layer.name in layers and layers[node.layer.name] is node.layer
        for tensor in node.outputs:
            sources[id(tensor)] = before
            if known:
                maker[id(tensor)] = node.layer.name
        if known:
            inputs[node.layer.name] += before
    outputs: dict[str, tuple[str, ...]] = dict.fromkeys(layers, ())
    for name, before in inputs.items():
        for source in before:
            outputs[source] += (name,)
    return _Graph(layers, inputs, outputs)


def _all_in(names: Iterator[str], left_out: set[str]) -> bool:
    """Whether there are names and all of them are left out."""
    found = set(names)
    return bool(found) and found <= left_out


def _spec_of(model: keras.Model) -> BackboneSpec | None:
    """The registry's entry for the network, from its preprocessing layer."""
    for layer in model.layers:
        if isinstance(layer, Preprocessing):
            return match_spec(layer.backbone)
    return None


def _named_ends(
    graph: _Graph, cuts: list[str], spec: BackboneSpec | None
) -> dict[str, str]:
    """Layer that ends a block -> block name, by the registry's rules."""
    if spec is None:
        return {}
    ends: dict[str, str] = {}
    for name in graph.layers:
        for rule in spec.block_ends:
            for candidate in graph.inputs[name] if rule.merge else (name,):
                match = re.fullmatch(rule.pattern, candidate)
                if match and (not rule.merge or len(graph.inputs[name]) > 1):
                    ends[name] = match.expand(rule.name)
    if spec.stem_before_fork and ends:
        order = list(graph.layers)
        first = min(order.index(name) for name in ends)
        before = [name for name in cuts if order.index(name) < first]
        if before:
            ends[before[-1]] = "stem"
    return ends


def _text_ends(graph: _Graph, spec: TextSpec) -> dict[str, str]:
    """The same for a network of text: each transformer layer ends the block it is.

    The stem ends at the last of the embeddings' layers, so that one which runs past
    the stem into every block is the stem's.
    """
    layers = [n for n in graph.layers if re.fullmatch(spec.block, n)]
    stem = [n for n in graph.layers if re.fullmatch(spec.embeddings, n)]
    ends = {stem[-1]: "stem"} if stem and layers else {}
    ends |= {name: name for name in layers}
    if spec.pooler in graph.layers:
        ends[spec.pooler] = "pooler"
    return ends


def _segment_ends(graph: _Graph, cuts: list[str]) -> dict[str, str]:
    """Ends of the blocks of an unknown network: see `blocks`."""
    order = list(graph.layers)
    ends: dict[str, str] = {}
    heavy = False
    start = 0
    for cut in cuts:
        stop = order.index(cut) + 1
        segment = [graph.layers[name] for name in order[start:stop]]
        start = stop
        heavy = heavy or any(map(_is_heavy, segment))
        after = graph.outputs[cut]
        # Normalisation and activation still to come belong to the same block.
        if heavy and not (after and all(_is_light(graph, name) for name in after)):
            ends[cut] = f"block_{len(ends) + 1}"
            heavy = False
    return ends or {order[-1]: "block_1"}


def _is_heavy(layer: Any) -> bool:
    """Whether a layer holds weights other than a normalisation's."""
    return bool(getattr(layer, "weights", ())) and not is_normalisation(layer)


def _is_light(graph: _Graph, name: str) -> bool:
    """Whether a layer with one input only normalises, activates, pools or drops."""
    return len(graph.inputs[name]) == 1 and not _is_heavy(graph.layers[name])


def _assign(graph: _Graph, ends: dict[str, str]) -> dict[str, list[str]]:
    """Each layer to the earliest block end that it reaches."""
    order = list(graph.layers)
    rank = {name: place for place, name in enumerate(n for n in order if n in ends)}
    reach: dict[str, str | None] = {}
    for name in reversed(order):
        later = [reach[after] for after in graph.outputs[name] if reach.get(after)]
        if name in ends:
            reach[name] = name
        else:
            reach[name] = min(later, key=rank.__getitem__) if later else None
    for name in order:
        before = graph.inputs[name]
        # An activation that only its block's end feeds belongs to that block.
        if (
            isinstance(graph.layers[name], _ACTIVATION)
            and len(before) == 1
            and before[0] in ends
            and name not in ends
            and len(graph.outputs[before[0]]) == 1
        ):
            reach[name] = before[0]
    return _gather(graph, ends, reach, list(rank))


def _gather(
    graph: _Graph,
    ends: dict[str, str],
    reach: dict[str, str | None],
    ranked: list[str],
) -> dict[str, list[str]]:
    """Block name -> layer names; layers past the last end join it or form `top`."""
    tail = [name for name in graph.layers if reach[name] is None]
    last = ends[ranked[-1]]
    if any(_is_heavy(graph.layers[name]) for name in tail):
        last = "top"
    members: dict[str, list[str]] = {ends[name]: [] for name in ranked}
    members.setdefault(last, [])
    for name in graph.layers:
        end = reach[name]
        members[last if end is None else ends[end]].append(name)
    return {block: names for block, names in members.items() if names}
