"""Which weights train: freezing, unfreezing, and a table of what does."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import keras

from kerastl._checks import check_choice, check_integer, fail, nearest, warn
from kerastl._compat import own_variables, sublayers
from kerastl._tables import Tabular
from kerastl.models.blocks import (
    as_functional,
    blocks,
    calls_by_layer,
    is_normalisation,
)
from kerastl.models.layers import (
    adapted_parts,
    hold_base,
    hold_statistics,
    is_adapter,
    is_holding_statistics,
    make_freezable,
    wake,
)
from kerastl.models.record import find_record, is_pretrained
from kerastl.models.text_layers import find_text_spec, find_tokens

#: What `trainable` may name besides parts of the network.
PARAMETER_GROUPS = ("norm", "bias", "lora")

#: What a network without weights of a group lacks, and what to do then.
_NONE_IN_GROUP = {
    "norm": ("a normalisation with weights", "Name blocks instead."),
    "bias": ("a bias", "Name blocks instead."),
    "lora": ("an adapter", "Call kerastl.lora.add first."),
}


def weights_in_group(layer: keras.Layer, group: str) -> list[keras.Variable]:
    """The layer's weights of a parameter group, those of the layers inside it too.

    Args:
        layer: Any layer.
        group: `"norm"`: scales and shifts of normalisation layers; `"bias"`: biases,
            and the shifts of normalisation layers; `"lora"`: the factors of adapters.
    """
    return [
        weight
        for part in sublayers(layer)
        for weight in own_variables(part)
        if _is_in_group(part, weight, group)
    ]


def _is_in_group(part: keras.Layer, weight: keras.Variable, group: str) -> bool:
    if group == "lora":
        return is_adapter(weight)
    normalises = is_normalisation(part)
    if group == "norm":
        return normalises
    return weight.name == "bias" or (normalises and weight.name == "beta")


def train_group(layer: keras.Layer, group: str, *, statistics: bool) -> None:
    """Make a frozen layer train its weights of one group.

    Args:
        layer: A layer that is frozen whole.
        group: See `weights_in_group`.
        statistics: Whether BatchNorm statistics of the opened layers move too.
    """
    chosen = {id(weight) for weight in weights_in_group(layer, group)}
    inside = sublayers(layer)
    # Outermost first: the setter reaches the layers inside, which are set after it.
    for part in inside:
        part.trainable = any(id(weight) in chosen for weight in part.weights)
    for part in inside:
        for weight in own_variables(part):
            weight.trainable = id(weight) in chosen
        if isinstance(part, keras.layers.BatchNormalization):
            hold_statistics(part, part.trainable and not statistics)


@contextmanager
def partly_trained_layers_frozen(model: keras.Model) -> Iterator[None]:
    """For the time of the block, freeze the layers of whose weights only some train.

    A file keeps one flag for each layer: read back, such a layer would train whole.

    Args:
        model: Any model; its flags are as before when the block ends.
    """
    flags = [
        (part, part.trainable, [(w, w.trainable) for w in own_variables(part)])
        for part in sublayers(model)
    ]
    partly = [
        part
        for part, flag, weights in flags
        if flag and not all(trains for _, trains in weights)
    ]
    try:
        for part in partly:
            part.trainable = False
        yield
    finally:
        if partly:
            for part, flag, _ in flags:
                part.trainable = flag
            for _, _, weights in flags:
                for weight, trains in weights:
                    weight.trainable = trains


#: What `trainable` may be: see `unfreeze`.
Trainable = str | int | tuple[str, ...]

BATCH_NORM_MODES = ("auto", "frozen", "affine", "train")

_NO_BLOCKS = (
    "Nothing in it is image-shaped: all of it is its head, which always trains."
)


def freeze(model: keras.Model) -> None:
    """Freeze everything but the head, statistics and dropout included.

    Compile afterwards, or use `run_phases`, which does: a compiled model keeps
    training what it was compiled with.

    Args:
        model: A classifier from `build_classifier`, any functional model (its head:
            the layers after the last image-shaped output), or a bare backbone,
            which is frozen whole.

    Raises:
        TypeError: If `model` is not a functional Keras model.

    Example:
        >>> import kerastl
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_classifier(backbone, ["cat", "dog", "owl"])
        >>> kerastl.freeze(model)
        >>> [variable.path for variable in model.trainable_variables]
        ['head_dense/kernel', 'head_dense/bias']
    """
    unfreeze(model, "head")


def unfreeze(
    model: keras.Model, trainable: Trainable, *, batch_norm: str = "auto"
) -> None:
    """Make the head and the named part of the backbone train, and nothing else.

    Compile afterwards, or use `run_phases`, which does. What is not named is frozen,
    whatever it was before.

    Args:
        model: A classifier from `build_classifier` or any functional model.
        trainable: `"head"`; `"all"`; a number of blocks from the top; the name of a
            block or layer (from there to the top), or what the names of whole blocks
            begin with, as `"block7"`; a tuple of names (exactly those);
            or a parameter group, `"norm"`, `"bias"` or `"lora"`: see `train_only`.
            The head always trains; a kernel with an adapter (`add_lora`) never does.
        batch_norm: For BatchNorm layers in the named part. `"frozen"`: statistics,
            gamma and beta stay. `"affine"`: statistics stay, gamma and beta train.
            `"train"`: all move. `"auto"`: `"frozen"` over loaded weights, `"train"`
            over random ones, whose statistics are worth nothing. Under `"norm"` gamma
            and beta train in each mode.

    Raises:
        ValueError: If `trainable` names nothing in the model.
        TypeError: If `model` is not a functional Keras model.

    Example:
        >>> import kerastl
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_classifier(backbone, ["cat", "dog", "owl"])
        >>> kerastl.unfreeze(model, 1)
        >>> [variable.path for variable in model.trainable_variables][:2]
        ['conv_dw_13/kernel', 'conv_pw_13/kernel']
    """
    check_choice("batch_norm", batch_norm, BATCH_NORM_MODES)
    names = resolve_trainable(model, trainable)
    head = set(head_layers(model))
    if isinstance(trainable, int) and names != head:
        _warn_of_shared_layers(model, names)
    mode = resolve_batch_norm(model, batch_norm)
    group = trainable if trainable in PARAMETER_GROUPS else None
    _check_distinct_names(model)
    _open_containers(model)
    for layer in leaf_layers(model):
        if layer.name in head:
            _set_leaf(layer, True, "train")
            continue
        _set_leaf(layer, group is None and layer.name in names, mode)
        if group is not None and layer.name in names:
            train_group(layer, group, statistics=group == "norm" and mode == "train")
    for number, part in enumerate(adapted_parts(leaf_layers(model))):
        hold_base(part)
        wake(part, number)
    tokens = find_tokens(model)
    if tokens is not None:
        # A file keeps no flags of what lies inside a nested network.
        tokens.frozen = tuple(
            layer.name
            for layer in leaf_layers(model)
            if not all(weight.trainable for weight in layer.trainable_weights)
            or not layer.trainable
        )


def settle_frozen_layers(model: keras.Model) -> None:
    """Freeze what a file's frozen layers hold: Keras reads their own flag alone.

    Args:
        model: Just read from a file.
    """
    tokens = find_tokens(model)
    named = () if tokens is None else tokens.frozen
    for layer in leaf_layers(model):
        if layer.name in named or not layer.trainable:
            for part in sublayers(layer):
                part.trainable = False
                for weight in own_variables(part):
                    weight.trainable = False


def _warn_of_shared_layers(model: keras.Model, names: frozenset[str]) -> None:
    """Warn where a block from the top is a layer that is called at every depth."""
    for name, calls in calls_by_layer(model).items():
        layer = next((x for x in leaf_layers(model) if x.name == name), None)
        if calls > 1 and name in names and layer is not None and layer.weights:
            warn(
                f"{name!r} of {model.name} is one layer, called {calls} times: with "
                "the top block the whole depth trains."
            )


def train_only(model: keras.Model, kind: str) -> None:
    """Make one parameter group train, besides the head, and nothing else.

    Compile afterwards, or use `run_phases`, which does; `Phase(trainable="norm")` asks
    for the same. BatchNorm statistics stay, and dropout in the backbone is off. A file
    keeps one flag for each layer, so call it again after loading.

    Args:
        model: A classifier from `build_classifier` or any functional model.
        kind: `"norm"`: scales and shifts of all normalisation layers. `"bias"`: all
            biases, the shifts of normalisation layers among them. `"lora"`: the
            adapters of `add_lora`. `"head"`: nothing more.

    Raises:
        ValueError: If `kind` is another word, or the backbone has nothing of the kind.
        TypeError: If `model` is not a functional Keras model.

    Example:
        >>> import kerastl
        >>> from kerastl.models.freezing import train_only
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_classifier(backbone, ["cat", "dog", "owl"])
        >>> train_only(model, "norm")
        >>> [variable.path for variable in model.trainable_variables][:2]
        ['conv1_bn/gamma', 'conv1_bn/beta']

    Reference:
        Ben Zaken et al. (2022), BitFit, arXiv:2106.10199, §3; Frankle et al. (2021),
        Training BatchNorm and Only BatchNorm, arXiv:2003.00152, which trains the
        statistics too.
    """
    check_choice("kind", kind, (*PARAMETER_GROUPS, "head"))
    unfreeze(model, kind, batch_norm="affine")


def resolve_batch_norm(model: keras.Model, batch_norm: str) -> str:
    """`batch_norm` with `"auto"` replaced by what it means for this model."""
    if batch_norm != "auto":
        return batch_norm
    return "frozen" if is_pretrained(model) else "train"


def leaf_layers(model: keras.Model) -> Iterator[keras.Layer]:
    """Yield the model's layers in order, through nested models."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from leaf_layers(layer)
        else:
            yield layer


def head_layers(model: keras.Model) -> tuple[str, ...]:
    """Names of the layers that make up the head; empty for a bare backbone."""
    model = as_functional("model", model)
    found = find_record(model)
    if found is not None:
        return found.head_layers
    text = find_text_spec(model)
    tail: list[str] = []
    for layer in reversed(list(_own_layers(model))):
        # A pooler has been trained with its network, and is no head.
        is_pooler = text is not None and layer.name == text.pooler
        if is_pooler or find_text_spec(layer) is not None:
            break
        if len(_output_shape(layer)) > 2:
            break
        tail.append(layer.name)
    return tuple(reversed(tail))


def _own_layers(model: keras.Model) -> Iterator[keras.Layer]:
    """As `leaf_layers`, but a text backbone inside counts as one layer."""
    for layer in model.layers:
        if isinstance(layer, keras.Model) and find_text_spec(layer) is None:
            yield from _own_layers(layer)
        else:
            yield layer


def model_blocks(model: keras.Model) -> dict[str, tuple[str, ...]]:
    """The backbone's blocks inside `model`, input side first, without the head."""
    return blocks(model, exclude=head_layers(model), nested=True)


def resolve_trainable(
    model: keras.Model, trainable: Trainable, argument: str = "trainable"
) -> frozenset[str]:
    """Names of the layers that train under `trainable`, the head's among them.

    Under a parameter group, such as `"norm"`, only their weights of it train.
    Errors call the argument by its name.
    """
    head = head_layers(model)
    if trainable in PARAMETER_GROUPS:
        return frozenset(head).union(_layers_with(model, trainable, head))
    if trainable == "head":
        return frozenset(head)
    if trainable == "all":
        return frozenset(layer.name for layer in leaf_layers(model))
    parts = model_blocks(model)
    if isinstance(trainable, (tuple, list)):
        # It trains anyway.
        trainable = [name for name in trainable if name not in head]
    if isinstance(trainable, str):
        if trainable in head:
            return frozenset(head)
        return frozenset(head).union(
            _from_name_upwards(model, parts, trainable, argument)
        )
    if isinstance(trainable, (tuple, list)):
        return frozenset(head).union(
            *(_members(model, parts, name, argument) for name in trainable)
        )
    check_integer(argument, trainable, 0)
    if trainable > len(parts):
        hint = f"This backbone has {len(parts)} blocks; 'all' takes every one."
        hint = hint if parts else _NO_BLOCKS
        fail(argument, f"at most {len(parts)}", trainable, hint)
    chosen = list(parts.values())[len(parts) - trainable :]
    return frozenset(head).union(*chosen)


def _layers_with(
    model: keras.Model, group: str, head: tuple[str, ...]
) -> frozenset[str]:
    """Names of the backbone's layers that hold weights of a parameter group."""
    found = frozenset(
        layer.name
        for layer in leaf_layers(model)
        if layer.name not in head and weights_in_group(layer, group)
    )
    if not found:
        thing, hint = _NONE_IN_GROUP[group]
        hint = f"{model.name} has no layer with {thing}. {hint}"
        fail("trainable", "something that the backbone has", group, hint)
    return found


def _members(
    model: keras.Model, parts: dict[str, tuple[str, ...]], name: str, argument: str
) -> tuple[str, ...]:
    """Layers of the blocks of that name, or the one layer of that name."""
    found = _blocks_called(model, parts, name)
    if found:
        return tuple(layer for block in found for layer in parts[block])
    layers = {layer for members in parts.values() for layer in members}
    if name not in layers:
        last = f"The last blocks are: {', '.join(list(parts)[-3:])}."
        hint = nearest(name, [*parts, *layers]) or (last if parts else _NO_BLOCKS)
        fail(argument, "'head', 'all', a block, a layer or a number", name, hint)
    return (name,)


def _blocks_called(
    model: keras.Model, parts: dict[str, tuple[str, ...]], name: str
) -> list[str]:
    """The block of that name, or those whose names, or layers', begin with it.

    `block7` stands for `block7a` and `block7b`, never for `block70`.
    """
    if name in parts:
        return [name]
    held = {layer.name: bool(layer.weights) for layer in leaf_layers(model)}
    if not isinstance(name, str) or name in held or not re.search(r"\d", name):
        return []
    end = r"(?!\d)" if name[-1].isdigit() else r"(?=_|$)"
    stem = re.compile(re.escape(name) + end)
    found = []
    for block, members in parts.items():
        heavy = [layer for layer in members if held[layer]]
        if stem.match(block) or (heavy and all(map(stem.match, heavy))):
            found.append(block)
    return found


def _from_name_upwards(
    model: keras.Model, parts: dict[str, tuple[str, ...]], name: str, argument: str
) -> list[str]:
    """Layers from a block, or from a layer inside one, to the top."""
    kept = list(_members(model, parts, name, argument))
    order, found = list(parts), _blocks_called(model, parts, name)
    if found:
        start, kept = order.index(found[0]), list(parts[found[0]])
    else:
        start = next(i for i, block in enumerate(order) if name in parts[block])
        ordered = [layer.name for layer in leaf_layers(model)]
        later = set(ordered[ordered.index(name) :])
        kept = [layer for layer in parts[order[start]] if layer in later]
    return kept + [layer for block in order[start + 1 :] for layer in parts[block]]


def _check_distinct_names(model: keras.Model) -> None:
    """Raise if a nested model has a layer of the same name as another part's."""
    found = {id(x): x for x in leaf_layers(model)}.values()
    # A model inside has inputs of its own, which hold nothing.
    inputs = keras.layers.InputLayer
    names = [layer.name for layer in found if not isinstance(layer, inputs)]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        hint = "Rename one, or build the model with kerastl.build_classifier."
        fail("model", "a model whose layers have distinct names", repeated, hint)


def _open_containers(model: keras.Model) -> None:
    """Set every container trainable: a closed one hides its leaves from Keras."""
    model.trainable = True
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            _open_containers(layer)


def _set_leaf(layer: keras.Layer, flag: bool, batch_norm: str) -> None:
    """Set one layer and everything inside it, BatchNorm and noise by their rules."""
    # Keras's recursive setter differs by backend when the flag does not change, so
    # every sublayer is set by itself, outermost first.
    for part in sublayers(layer):
        part.trainable = flag
    for part in sublayers(layer):
        make_freezable(part)
        if isinstance(part, keras.layers.BatchNormalization):
            hold_statistics(part, batch_norm == "affine")
            part.trainable = flag and batch_norm != "frozen"
    for part in sublayers(layer):
        # Nor does it reach single weights that were set, when the flag does not change.
        for weight in own_variables(part):
            weight.trainable = part.trainable


def _output_shape(layer: keras.Layer) -> tuple:
    output = layer.output
    output = output[0] if isinstance(output, (list, tuple)) else output
    return tuple(output.shape)


@dataclass(frozen=True)
class TrainableRow:
    """One block of a model.

    Attributes:
        block: Block's name; `"head"` for the head.
        layers: Number of layers that hold weights.
        parameters: Number of scalars in them.
        trainable: How many of those train.
        batch_norm: What its BatchNorm layers do: `"frozen"`, `"affine"`, `"train"`,
            `"mixed"`, or `"-"` where there are none.
        calls: How often its layer is called in a pass, where one is called at several
            depths; else 1.
    """

    block: str
    layers: int
    parameters: int
    trainable: int
    batch_norm: str
    calls: int = 1


@dataclass(frozen=True)
class TrainableReport(Tabular):
    """What trains in a model, block by block; prints as a table.

    Attributes:
        rows: One per block, input side first, the head last.
    """

    rows: tuple[TrainableRow, ...]

    @property
    def parameters(self) -> int:
        """Number of scalars in the model."""
        return sum(row.parameters for row in self.rows)

    @property
    def trainable(self) -> int:
        """Number of scalars that train."""
        return sum(row.trainable for row in self.rows)

    def _heading(self) -> str:
        return ""

    def __str__(self) -> str:
        """The table as text."""
        total = TrainableRow(
            "total",
            sum(row.layers for row in self.rows),
            self.parameters,
            self.trainable,
            "",
        )
        width = max(len(row.block) for row in (*self.rows, total))
        header = f"{'block':<{width}}  layers  parameters   trainable  batch norm"
        lines = [header, "-" * len(header)]
        lines += [
            f"{row.block:<{width}}  {row.layers:>6}  {row.parameters:>10,}  "
            f"{row.trainable:>10,}  {row.batch_norm}".rstrip()
            for row in (*self.rows, total)
        ]
        lines += [
            f"{row.block} is one layer, called {row.calls} times"
            for row in self.rows
            if row.calls > 1
        ]
        return "\n".join(lines)


def trainable_report(model: keras.Model) -> TrainableReport:
    """What trains in a model now, block by block.

    It tells the flags as they stand; a compiled model trains what it was compiled to.

    Args:
        model: A classifier, a backbone or any functional model.

    Returns:
        A report that prints as a table.

    Raises:
        TypeError: If `model` is not a functional Keras model.

    Example:
        >>> import kerastl
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_classifier(backbone, ["cat", "dog", "owl"])
        >>> report = kerastl.trainable_report(model)
        >>> report.rows[-1].block, report.trainable
        ('head', 771)
    """
    parts = {**model_blocks(model), "head": head_layers(model)}
    layers = {layer.name: layer for layer in leaf_layers(model)}
    # Asked of the model, as a layer's flag says less: a weight may have one of its own,
    # and on TensorFlow `trainable = True` reaches nothing inside where it was True.
    trained = {id(weight) for weight in model.trainable_weights}
    calls = calls_by_layer(model)
    rows = [
        _row(block, [layers[name] for name in names if name in layers], trained, calls)
        for block, names in parts.items()
        if names
    ]
    return TrainableReport(tuple(rows))


def _row(
    block: str, layers: list[keras.Layer], trained: set[int], calls: Mapping[str, int]
) -> TrainableRow:
    weights = [weight for layer in layers for weight in layer.weights]
    heavy = [layer.name for layer in layers if layer.weights]
    return TrainableRow(
        block,
        sum(bool(layer.weights) for layer in layers),
        count_parameters(weights),
        count_parameters(weight for weight in weights if id(weight) in trained),
        _batch_norm(layers),
        max((calls.get(name, 1) for name in heavy), default=1),
    )


def count_parameters(weights: Iterable[keras.Variable]) -> int:
    """Number of scalars in the weights."""
    return sum(math.prod(weight.shape) for weight in weights)


def _batch_norm(layers: list[keras.Layer]) -> str:
    modes = {
        "frozen"
        if not part.trainable
        else "affine"
        if is_holding_statistics(part)
        else "train"
        for layer in layers
        for part in sublayers(layer)
        if isinstance(part, keras.layers.BatchNormalization)
    }
    return modes.pop() if len(modes) == 1 else "mixed" if modes else "-"
