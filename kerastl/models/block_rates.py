"""How fast each block learns: multipliers by depth or by name."""

from collections.abc import Iterable, Mapping

import keras

from kerastl._checks import check_number, fail, nearest
from kerastl.models.freezing import head_layers, leaf_layers, model_blocks
from kerastl.models.layerwise import named_optimizer, with_rates

#: Multipliers by name, as a mapping or as the pairs that a frozen `Phase` keeps.
Multipliers = Mapping[str, float] | Iterable[tuple[str, float]]


def layerwise_optimizer(
    optimizer: str | keras.optimizers.Optimizer,
    model: keras.Model,
    *,
    layer_decay: float | None = None,
    multipliers: Multipliers | None = None,
) -> keras.optimizers.Optimizer:
    """An optimizer under which each block of a model learns at a rate of its own.

    Give the result to `model.compile`, and freeze or unfreeze before, not after. Not
    the gradients are scaled, which Adam would undo, but the learning rate of each
    variable: its steps and its weight decay. There is still one `learning_rate`, so
    schedules and callbacks keep the ratios; clipping sees the gradients as they are.

    A variable of multiplier m trains as under a plain optimizer of learning rate
    `m * learning_rate`. For all Keras optimizers but two the step itself is then m
    times as long; Adafactor caps the rate at `1 / sqrt(step)` after multiplying, and
    Ftrl solves for the weights, which it takes to begin at zero, whatever the rate.

    Args:
        optimizer: Name, or an instance taken as a pattern: its settings are copied,
            never its state, nor rates of its own.
        model: Functional model whose trainable flags are set.
        layer_decay: In (0, 1]. The head learns at the full rate, the topmost block
            at `layer_decay` times it, the next at `layer_decay ** 2`, and so down to
            the stem. ULMFiT's 2.6 is `1 / 2.6`. Blocks are found inside one nested
            functional model, `base(x)`, but a nested Sequential, or several models
            side by side, count as one block; a model that is all head has none.
        multipliers: Name of a block or layer, or `"head"` -> number of at least 0;
            exactly that part. A layer's own counts more than its block's. Multiplied
            with `layer_decay` where both are given; what is not named counts 1.

    Returns:
        An optimizer of the same class and settings, that `model.save` stores and
        `keras.models.load_model` reads, with its rates, once kerastl is imported.

    Raises:
        ValueError: If a number is out of range, a name fits nothing that trains, or
            the backend is neither TensorFlow nor JAX.
        TypeError: If `model` is not a functional Keras model, or `multipliers` no
            mapping.

    Example:
        >>> import keras, kerastl
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_classifier(backbone, ["cat", "dog", "owl"])
        >>> kerastl.unfreeze(model, 2)
        >>> optimizer = kerastl.layerwise_optimizer("adamw", model, layer_decay=0.5)
        >>> model.compile(optimizer, loss=model.loss)
        >>> for row in kerastl.learning_rates(model).rows[-3:]:
        ...     print(row.block, row.multiplier)
        block_12 0.25
        block_13 0.5
        head 1.0

    Reference:
        Howard & Ruder (2018), arXiv:1801.06146, §3.2, eq. 2; Clark et al. (2020),
        ELECTRA, arXiv:2003.10555, appendix B. Both count layers; here blocks are
        counted.
    """
    if layer_decay is None and multipliers is None:
        fail("layer_decay", "given, or `multipliers`", None)
    optimizer = named_optimizer(optimizer)
    pairs = variable_multipliers(
        model, layer_decay=layer_decay, multipliers=multipliers
    )
    return with_rates(optimizer, pairs)


def variable_multipliers(
    model: keras.Model,
    *,
    layer_decay: float | None = None,
    multipliers: Multipliers | None = None,
) -> list[tuple[keras.Variable, float]]:
    """Each variable that trains, with its multiplier: see `layerwise_optimizer`."""
    named, parts = _by_name(multipliers), block_layers(model)
    by_layer = layer_multipliers(model, layer_decay=layer_decay, multipliers=named)
    training = {x.name for x in leaf_layers(model) if x.trainable_variables}
    for name in named:
        if not training.intersection(parts.get(name, (name,))):
            hint = "It is frozen: leave it out, or unfreeze it first."
            fail("multipliers", "of what trains", name, hint)
    by_variable = {
        id(variable): by_layer.get(layer.name, 1.0)
        for layer in leaf_layers(model)
        for variable in layer.trainable_variables
    }
    return [(v, by_variable.get(id(v), 1.0)) for v in model.trainable_variables]


def layer_multipliers(
    model: keras.Model,
    *,
    layer_decay: float | None = None,
    multipliers: Multipliers | None = None,
) -> dict[str, float]:
    """Layer name -> multiplier, whether it trains or not: see `layerwise_optimizer`."""
    parts = block_layers(model)
    found: dict[str, float] = {}
    decay = 1.0 if layer_decay is None else layer_decay
    check_number("layer_decay", decay, above=0.0, maximum=1.0)
    for distance, names in enumerate(reversed(parts.values())):
        found.update(dict.fromkeys(names, float(decay) ** distance))
    own: dict[str, float] = {}
    # Blocks first: what is said of a layer counts more.
    named = _by_name(multipliers)
    for name in sorted(named, key=lambda name: name not in parts):
        check_number(f"multipliers[{name!r}]", named[name], 0.0)
        if name not in parts and name not in found:
            last = ", ".join(list(parts)[-3:])
            hint = nearest(str(name), [*parts, *found]) or f"The last are: {last}."
            fail("multipliers", "of blocks, layers or 'head'", name, hint)
        own.update(dict.fromkeys(parts.get(name, (name,)), float(named[name])))
    return {name: value * own.get(name, 1.0) for name, value in found.items()}


def _by_name(multipliers: Multipliers | None) -> dict[str, float]:
    """Name -> number, from a mapping or from pairs."""
    try:
        return {} if multipliers is None else dict(multipliers)
    except (TypeError, ValueError):
        pass
    text = isinstance(multipliers, str)
    hint = "Only Phase takes 'auto_rgn', as it measures while it trains."
    return fail(
        "multipliers",
        "a dictionary of names and numbers",
        multipliers,
        hint if text else "",
        ValueError if text else TypeError,
    )


def block_layers(model: keras.Model) -> dict[str, tuple[str, ...]]:
    """Block name -> names of its layers, input side first, `"head"` last."""
    # An empty head keeps its place: the topmost block is one step below it.
    return {**model_blocks(model), "head": head_layers(model)}
