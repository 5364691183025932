"""Recipes: named lists of phases, and fine-tuning by one of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import keras

from kerastl._checks import check_choice, check_integer, check_number, fail, warn
from kerastl.data.sets import ImageSet
from kerastl.models.freezing import model_blocks
from kerastl.models.record import has_loaded_weights, is_pretrained
from kerastl.training.phase import Phase, TrainingHistory
from kerastl.training.run import run_phases

#: Rate of a new head on frozen features.
HEAD_RATE = 3e-3
#: Peak rate of loaded weights under AdamW, BatchNorm statistics held. Photos near
#: ImageNet do best at 3e-4, drawings far from it at 1e-3 (benchmarks/defaults.md).
FINE_RATE = 5e-4
#: Peak rate of random weights.
SCRATCH_RATE = 3e-3

HEAD_EPOCHS = 20
FINE_EPOCHS = 8
#: Phases in which `gradual` opens the backbone from the top, the last one all of it.
GRADUAL_STEPS = 5
#: Few images make short epochs: the last phase gets at least this many steps,
#: within this many epochs.
MINIMUM_STEPS = 600
MAXIMUM_EPOCHS = 24


def _head(epochs: int = HEAD_EPOCHS, augment: bool = False) -> Phase:
    """The head alone; unaugmented, its features are computed once."""
    return Phase(
        "head",
        trainable="head",
        epochs=epochs,
        learning_rate=HEAD_RATE,
        schedule="cosine",
        augment=augment,
    )


def _warmup(epochs: int) -> float:
    """A quarter of the phase, at least an epoch, at most half.

    Adam's first steps are as long as its later ones, wherever they point: of few images
    one epoch is three steps, too few to find the direction (benchmarks/recipes.md).
    """
    return max(epochs / 4, min(1.0, epochs / 2))


def _fine(
    name: str, trainable: Any, epochs: int, rate: float, batch_norm: str = "affine"
) -> Phase:
    return Phase(
        name,
        trainable=trainable,
        epochs=epochs,
        learning_rate=rate,
        schedule="cosine",
        warmup=_warmup(epochs),
        batch_norm=batch_norm,
    )


def _linear_probe(model: keras.Model) -> list[Phase]:
    return [_head(augment=True)]


def _two_phase(model: keras.Model) -> list[Phase]:
    """The classic: a short head phase, then the upper half of the backbone."""
    upper = max(len(model_blocks(model)) // 2, 1)
    return [_head(10), _fine("upper half", upper, FINE_EPOCHS, FINE_RATE)]


def _lp_ft(model: keras.Model) -> list[Phase]:
    """Kumar et al. (2022): probe to convergence, then everything at a low rate."""
    return [_head(), _fine("all", "all", FINE_EPOCHS, FINE_RATE)]


def _gradual(model: keras.Model) -> list[Phase]:
    """Howard & Ruder (2018), §3.3: one block more an epoch, then all to the end."""
    blocks = len(model_blocks(model))
    # Each step compiles anew: a deep network takes several blocks at a time.
    steps = min(blocks, GRADUAL_STEPS)
    counts = [-(-blocks * step // steps) for step in range(1, steps)]
    parts = [_fine(f"top {count}", count, 1, FINE_RATE) for count in counts]
    return [_head(), *parts, _fine("all", "all", FINE_EPOCHS - 4, FINE_RATE)]


def _full(model: keras.Model) -> list[Phase]:
    return [_fine("all", "all", FINE_EPOCHS + 2, FINE_RATE)]


def _scratch(model: keras.Model) -> list[Phase]:
    if has_loaded_weights(model):
        hint = "Build the backbone with weights=None, or take recipe='full'."
        fail("recipe", "another one for loaded weights", "scratch", hint)
    return [_fine("scratch", "all", 30, SCRATCH_RATE, batch_norm="train")]


_RECIPES: dict[str, Callable[[keras.Model], list[Phase]]] = {
    "linear_probe": _linear_probe,
    "two_phase": _two_phase,
    "lp_ft": _lp_ft,
    "gradual": _gradual,
    "full": _full,
    "scratch": _scratch,
}

RECIPES = tuple(_RECIPES)
DEFAULT_RECIPE = "lp_ft"
#: What `transfer` augments with.
DEFAULT_AUGMENT = "light"


def default_augment(name: str, recipe: str) -> str | None:
    """The default augmentation: a mirrored photo is a photo, a mirrored 2 is none.

    A probe gets none: its features are then computed once, which is its point.

    Args:
        name: Of the data set.
        recipe: Name in `RECIPES`.
    """
    if recipe == "linear_probe":
        return None
    return "digits" if name == "digits" else DEFAULT_AUGMENT


def recipe_phases(
    model: keras.Model,
    recipe: str,
    *,
    epochs: int | Sequence[int] | None = None,
    learning_rate: float | None = None,
    steps_per_epoch: int | None = None,
) -> tuple[Phase, ...]:
    """The phases of a named recipe for this model.

    Args:
        model: A classifier; block counts depend on its backbone.
        recipe: `"linear_probe"`, `"two_phase"`, `"lp_ft"`, `"gradual"`, `"full"` or
            `"scratch"`.
        epochs: One number for every phase, or one per phase; None: the recipe's own.
        learning_rate: Peak rate of the last phase, and of those of `"gradual"` before
            it; None: the recipe's own.
        steps_per_epoch: Optimizer steps in an epoch; where they are few, the last
            phase of a recipe's own length gets more epochs.

    Returns:
        Phases for `run_phases`.

    Raises:
        ValueError: If the recipe is unknown or does not fit the model, or the
            number of epochs does not fit the recipe.
    """
    check_choice("recipe", recipe, RECIPES)
    phases = _RECIPES[recipe](model)
    if not is_pretrained(model):
        # Held statistics of random weights let activations vanish or explode.
        phases = [replace(phase, batch_norm="train") for phase in phases]
    if epochs is None and steps_per_epoch:
        phases[-1] = _long_enough(phases[-1], steps_per_epoch)
    if epochs is not None:
        pairs = zip(phases, _per_phase(epochs, phases), strict=True)
        phases = [_lasting(phase, count) for phase, count in pairs]
    if learning_rate is not None:
        check_number("learning_rate", learning_rate, above=0.0)
        phases = _at_rate(phases, learning_rate)
    return tuple(phases)


def _lasting(phase: Phase, epochs: int) -> Phase:
    """The phase with another number of epochs."""
    warmup = _warmup(epochs) if phase.warmup else 0.0
    return replace(phase, epochs=epochs, warmup=warmup)


def _at_rate(phases: list[Phase], rate: float) -> list[Phase]:
    """The last phase at this rate, and what opens the backbone on the way to it."""
    return [
        *(
            phase if phase.trainable == "head" else replace(phase, learning_rate=rate)
            for phase in phases[:-1]
        ),
        replace(phases[-1], learning_rate=rate),
    ]


def _long_enough(phase: Phase, steps_per_epoch: int) -> Phase:
    """The phase with enough epochs to learn from few images."""
    needed = -(-MINIMUM_STEPS // steps_per_epoch)
    return _lasting(phase, max(phase.epochs, min(needed, MAXIMUM_EPOCHS)))


def _per_phase(epochs: int | Sequence[int], phases: list[Phase]) -> list[int]:
    counts = list(epochs) if isinstance(epochs, Sequence) else [epochs] * len(phases)
    for count in counts:
        check_integer("epochs", count, 1)
    if len(counts) != len(phases):
        names = ", ".join(phase.name for phase in phases)
        hint = f"The recipe's phases are: {names}."
        fail("epochs", f"one number, or {len(phases)} of them", epochs, hint)
    return counts


def _count_steps(train: Any, batch_size: int) -> int | None:
    """Steps in an epoch, where the data tell."""
    images = train[0] if isinstance(train, (tuple, list)) and len(train) else train
    if isinstance(train, (tuple, list, ImageSet)) and hasattr(images, "__len__"):
        return max(-(-len(images) // max(batch_size, 1)), 1)
    return None


def _with_craft(
    phases: Sequence[Phase], recipe: str, craft: Mapping[str, float | None]
) -> list[Phase]:
    """The phases with these settings where more than the head trains.

    Raises:
        ValueError: If one is out of range, wherever it would count.
    """
    made = [replace(phase, **craft) for phase in phases]
    heads = [phase.trainable == "head" for phase in phases]
    given = [f"`{name}`" for name, value in craft.items() if value]
    if given and all(heads):
        listed = ", ".join(given)
        verb = "has" if len(given) == 1 else "have"
        message = (
            f"{listed} {verb} no effect with recipe={recipe!r}, which trains only the "
            "head."
        )
        warn(message)
    rows = zip(phases, made, heads, strict=True)
    return [phase if head else crafted for phase, crafted, head in rows]


def fine_tune(
    model: keras.Model,
    train: Any,
    validation: Any = None,
    *,
    recipe: str = DEFAULT_RECIPE,
    epochs: int | Sequence[int] | None = None,
    learning_rate: float | None = None,
    patience: int | None = None,
    layer_decay: float | None = None,
    l2_sp: float | None = None,
    ema: float | None = None,
    mixup: float = 0.0,
    cutmix: float = 0.0,
    loss: Any = None,
    metrics: Sequence[Any] | None = None,
    batch_size: int = 32,
    augment: Any = None,
    class_weight: str | Mapping[str, float] | None = None,
    label_smoothing: float = 0.0,
    strategy: Any = None,
    cache: str = "auto",
    views: int | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    seed: int | None = None,
    verbose: int | str = "auto",
) -> TrainingHistory:
    """Train a classifier by a named recipe, and keep the best weights of all phases.

    Args:
        model: A classifier from `build_classifier`, or any functional model (then
            `loss` is needed).
        train: An `ImageSet`, a pair `(images, labels)` of arrays, or a
            `tf.data.Dataset` of batches.
        validation: The same kinds, or None: then the last weights are kept.
        recipe: `"linear_probe"`: the head only, on features computed once.
            `"two_phase"`: the head, then the upper half of the backbone. `"lp_ft"`:
            the head to convergence, then everything at a low rate that climbs for a
            quarter of the phase.
            `"gradual"`: the head, then one block more in each phase, from the top;
            of a backbone of more than five, a fifth of them more.
            `"full"`: everything at once. `"scratch"`: for `weights=None` only.
        epochs: One number for every phase, or one per phase; None: the recipe's own.
        learning_rate: Peak rate of the last phase, and of those of `"gradual"` before
            it; None: the recipe's own.
        patience: Epochs without a better validation result after which a phase
            stops; None: never.
        layer_decay: In (0, 1]; what each block of the backbone learns at, as a share
            of the block above: see `Phase`. None: all alike.
        l2_sp: Pull of the backbone to its loaded weights: see `l2_sp`. None: none.
        ema: Momentum of an average of the weights: see `Phase`. None: no average.
        mixup: Alpha of mixup: see `Mixing`. Like the three above and the next, only
            where more than the head trains, whose features are computed once; a
            recipe without such a phase warns.
        cutmix: Alpha of CutMix: see `Mixing`.
        loss: Loss on the outputs; None: the task's.
        metrics: Metrics; None: the task's.
        batch_size: Images in an optimizer step.
        augment: Augmentation of the training images: see `batches`.
        class_weight: By name, or `"balanced"`: see `run_phases`.
        label_smoothing: In [0, 1).
        strategy: A `tf.distribute` strategy in whose scope the model was built.
        cache: `"auto"`, `"off"`, `"memory"` or `"disk"`: see `run_phases`.
        views: Augmented versions of each image to keep: see `run_phases`.
        callbacks: Keras callbacks for each phase.
        seed: Order, augmentation and dropout follow from it.
        verbose: As for `Model.fit`, or `"auto"`.

    Returns:
        History over all phases, with what moved in each.

    Raises:
        ValueError: If an argument is out of range or does not fit the model.

    Example:
        >>> import numpy as np, kerastl
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_classifier(backbone, ["dark", "light"])
        >>> images = np.repeat([0, 255], 8)[:, None, None, None] + np.zeros((96, 96, 3))
        >>> data = images, np.repeat([0, 1], 8)
        >>> history = kerastl.fine_tune(model, data, data, recipe="linear_probe")
        >>> [phase.name for phase in history.phases]
        ['head']

    Reference:
        Kumar et al. (2022), Fine-Tuning can Distort Pretrained Features,
        arXiv:2202.10054 (`lp_ft`); Howard & Ruder (2018), §3.3 (`gradual`).
    """
    phases = recipe_phases(
        model,
        recipe,
        epochs=epochs,
        learning_rate=learning_rate,
        steps_per_epoch=_count_steps(train, batch_size),
    )
    craft = {
        "layer_decay": layer_decay,
        "l2_sp": l2_sp,
        "ema": ema,
        "mixup": mixup,
        "cutmix": cutmix,
    }
    phases = [replace(phase, patience=patience) for phase in phases]
    phases = _with_craft(phases, recipe, craft)
    return run_phases(
        model,
        train,
        validation,
        phases=phases,
        loss=loss,
        metrics=metrics,
        batch_size=batch_size,
        augment=augment,
        class_weight=class_weight,
        label_smoothing=label_smoothing,
        strategy=strategy,
        cache=cache,
        views=views,
        callbacks=callbacks,
        seed=seed,
        verbose=verbose,
    )
