"""Low-rank adapters (LoRA) in a backbone: adding them, and folding them in."""

import math
from collections.abc import Sequence

import keras

from kerastl._checks import check_integer, check_number, fail
from kerastl._compat import own_variables, sublayers
from kerastl.models.freezing import (
    Trainable,
    head_layers,
    leaf_layers,
    resolve_trainable,
    unfreeze,
)
from kerastl.models.kinds import KINDS
from kerastl.models.lora_layers import (
    adapted_parts,
    base_weight,
    enable,
    factors,
    fold,
    holds_matrix,
    obstacle,
    smaller_side,
)
from kerastl.models.lora_report import LoraReport, LoraRow


def add_lora(
    model: keras.Model,
    *,
    rank: int = 4,
    blocks: Trainable = "all",
    alpha: float | None = None,
    seed: int = 0,
) -> LoraReport:
    """Give the backbone's layers low-rank adapters, and train only these and the head.

    A kernel W becomes W + (alpha / rank) A B, with W frozen. Depthwise and separable
    convolutions get none: the report says what part of the network that leaves out.
    Compile afterwards, or train with `run_phases` and `Phase(trainable="lora")`.

    `model.save` keeps what the model computes, not the training: after
    `keras.models.load_model` the kernels have the adapters folded in, and both factors
    of each adapter are zero, which no gradient moves. They train again after
    `unfreeze`, `train_only` or `run_phases`, which draw A anew. To train on from where
    it stopped, use `save_adapters`.

    Args:
        model: A classifier from `build_classifier`, any functional model with a head,
            or a bare backbone; changed in place. Its outputs stay as they are.
        rank: Rank of the change of each kernel, at least 1 and at most the smaller
            side of each kernel as a matrix.
        blocks: Which part of the backbone: `"all"`; a number of blocks from the top;
            the name of a block or layer (from there to the top); or a tuple of names
            (exactly those).
        alpha: Scale of the adapters times the rank, above 0; None: the rank, so that
            the scale is 1.
        seed: Non-negative integer; the factors A are drawn from it, and B is zero.

    Returns:
        Which layers have an adapter, which cannot, and the parameters added.

    Raises:
        ValueError: If the model has adapters already, no chosen layer can have one, or
            the rank is more than a chosen layer's kernel has.
        TypeError: If `model` is not a functional Keras model.

    Example:
        >>> import kerastl
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_classifier(backbone, ["cat", "dog", "owl"])
        >>> print(add_lora(model, rank=4, blocks=1))
        1 layers have an adapter of rank 4, scale 1: 2,048 parameters, 0.9% of the ...
        1 layers have none, with 1.1% of the parameters:
          DepthwiseConv2D, Keras has no LoRA for it: conv_dw_13
        >>> [variable.path for variable in model.trainable_variables][:2]
        ['conv_pw_13/lora_kernel_a', 'conv_pw_13/lora_kernel_b']

    Reference:
        Hu et al. (2022), LoRA, arXiv:2106.09685, §4.1, eq. 3; A is He-uniform, as
        Keras's.
    """
    head = head_layers(model)
    check_integer("rank", rank, 1)
    check_integer("seed", seed, 0)
    alpha = rank if alpha is None else alpha
    check_number("alpha", alpha, above=0.0)
    _check_without_adapters(model)
    parts = _chosen_parts(model, blocks, head)
    backbone = _count(w for leaf in backbone_layers(model) for w in leaf.weights)
    able = [part for part in parts.values() if not obstacle(part)]
    _check_rank(model, rank, parts, able)
    for number, part in enumerate(able):
        enable(part, rank, alpha, (seed * 100_003 + number) % 2**31)
    unfreeze(model, "lora")
    forget_traces(model)
    rows = tuple(_row(name, part) for name, part in parts.items())
    return LoraReport(rank, alpha, backbone, rows)


def merge_lora(model: keras.Model) -> None:
    """Add each adapter to its kernel, and take the adapters away.

    Predictions stay as they are, to rounding, and a file of the model is a plain one.
    The layers that had adapters are frozen: choose with `unfreeze` what trains next.

    Args:
        model: A model with adapters from `add_lora`; changed in place.

    Raises:
        ValueError: If the model has no adapters.
        TypeError: If `model` is not a functional Keras model.

    Example:
        >>> import kerastl
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_classifier(backbone, ["cat", "dog", "owl"])
        >>> report = add_lora(model, rank=4)
        >>> merge_lora(model)
        >>> len(model.weights) == len(backbone.weights) + 2
        True

    Reference:
        Hu et al. (2022), LoRA, arXiv:2106.09685, §4.1, on latency.
    """
    head_layers(model)
    if not any(adapted_parts(leaf_layers(model))):
        hint = "Call kerastl.add_lora first."
        fail("model", "a model with adapters", model.name, hint)
    drop_adapters(model)


def drop_adapters(model: keras.Model) -> None:
    """As `merge_lora`, for a model that may have no adapters."""
    head = head_layers(model)
    for leaf in distinct_leaves(model):
        parts = list(adapted_parts([leaf]))
        for part in parts:
            fold(part)
        if parts:
            for part in sublayers(leaf):
                part.trainable = leaf.name in head
                for weight in own_variables(part):
                    weight.trainable = part.trainable
            forget_traces(model)


def distinct_leaves(model: keras.Model) -> list[keras.Layer]:
    """The model's layers in order, each once."""
    return list({id(leaf): leaf for leaf in leaf_layers(model)}.values())


def backbone_layers(model: keras.Model) -> list[keras.Layer]:
    """The model's layers in order, each once, without those of its head."""
    head = head_layers(model)
    return [leaf for leaf in distinct_leaves(model) if leaf.name not in head]


def matrix_parts(leaves: Sequence[keras.Layer]) -> dict[str, keras.Layer]:
    """Name -> layer that itself holds a matrix, among the leaves and inside them."""
    found: dict[str, keras.Layer] = {}
    for leaf in leaves:
        if isinstance(leaf, keras.layers.Normalization):
            continue
        for part in sublayers(leaf):
            if holds_matrix(part):
                name = leaf.name if part is leaf else f"{leaf.name}/{part.name}"
                found[name if name not in found else f"{name}_{len(found)}"] = part
    return found


def _chosen_parts(
    model: keras.Model, blocks: Trainable, head: tuple[str, ...]
) -> dict[str, keras.Layer]:
    """The layers with a matrix in the named part of the backbone, by name."""
    if blocks == "head" or blocks in KINDS:
        fail("blocks", "'all', a block, a layer, a number or names", blocks)
    names = resolve_trainable(model, blocks, argument="blocks")
    leaves = [leaf for leaf in backbone_layers(model) if leaf.name in names]
    return matrix_parts(leaves)


def _check_without_adapters(model: keras.Model) -> None:
    names = [part.name for part in adapted_parts(leaf_layers(model))]
    if names:
        shown = f"{len(names)} layers with one, {names[0]!r} the first"
        hint = "Add them to the kernels with kerastl.merge_lora."
        fail("model", "without adapters", shown, hint)


def _check_rank(
    model: keras.Model,
    rank: int,
    parts: dict[str, keras.Layer],
    able: Sequence[keras.Layer],
) -> None:
    if not able:
        kinds = sorted({type(part).__name__ for part in parts.values()})
        shown = ", ".join(kinds) or "no layer with a kernel"
        hint = f"LoRA is for dense and ordinary convolutional layers of {model.name}."
        fail("blocks", "a part with a layer that LoRA can adapt", shown, hint)
    tight = min(able, key=smaller_side)
    if rank > smaller_side(tight):
        expected = f"at most {smaller_side(tight)}, which is all that the kernel of "
        expected += f"{tight.name!r} has"
        hint = "Lower it, or leave the layer out with `blocks`."
        fail("rank", expected, rank, hint)


def _row(name: str, part: keras.Layer) -> LoraRow:
    reason = obstacle(part)
    added = 0 if reason else _count(factors(part))
    own = part.weights if reason else [base_weight(part)]
    return LoraRow(name, type(part).__name__, _count(own), added, reason)


def _count(weights: Sequence[keras.Variable]) -> int:
    return sum(math.prod(weight.shape) for weight in weights)


def forget_traces(model: keras.Model) -> None:
    """Have Keras trace the model anew: TensorFlow would run the graph it had."""
    model.train_function = model.test_function = model.predict_function = None
