"""A network's blocks: its layers grouped as its authors grouped them."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import keras

from kerastl._compat import graph_nodes, is_functional
from kerastl.models.graph import check_functional, cut_points
from kerastl.models.layers import Preprocessing
from kerastl.models.specs import BackboneSpec, match_spec

_NORMALISATION = (
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.GroupNormalization,
    keras.layers.Normalization,
)
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
    check_functional("model", model)
    left_out = set(exclude)
    graph = _read_graph(model, left_out)
    if not graph.layers:
        return {}
    cuts = [name for name in cut_points(model) if name in graph.layers]
    ends = _named_ends(graph, cuts, _spec_of(model))
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
    return bool(getattr(layer, "weights", ())) and not isinstance(layer, _NORMALISATION)


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
