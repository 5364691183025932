"""Recipes: lists of phases for a model, and fine-tuning by one of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import keras

from kerastl._checks import (
    check_choice,
    check_integer,
    check_number,
    fail,
    nearest,
    passed_on,
    warn,
)
from kerastl.data.augmentation import as_augmentation
from kerastl.data.sets import ImageSet
from kerastl.data.sources import Source, StreamSource
from kerastl.features.cache import FeatureCache
from kerastl.models.freezing import model_blocks
from kerastl.models.record import has_loaded_weights, is_pretrained
from kerastl.tasks.task import Task, bind
from kerastl.training.distillation import check_teacher
from kerastl.training.phase import Phase, TrainingHistory
from kerastl.training.run import run_phases

#: Rate of a new head on frozen features.
HEAD_RATE = 3e-3
#: Peak rate of random weights.
SCRATCH_RATE = 3e-3

FINE_EPOCHS = 8
#: Phases in which `gradual` opens the backbone from the top, the last one all of it.
GRADUAL_STEPS = 5
#: Few images make short epochs: the last phase gets at least this many steps,
#: within this many epochs.
MINIMUM_STEPS = 600
MAXIMUM_EPOCHS = 24


def _task(model: keras.Model) -> type[Task] | Task:
    """The model's task; of one that has none, what all tasks have."""
    return bind(model).task or Task


def _head(epochs: int, augment: bool = False) -> Phase:
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


def _fine(model: keras.Model, name: str, trainable: Any, epochs: int) -> Phase:
    """A phase that opens loaded weights."""
    return Phase(
        name,
        trainable=trainable,
        epochs=epochs,
        learning_rate=_task(model).fine_rate,
        schedule="cosine",
        warmup=_warmup(epochs),
        batch_norm="affine",
    )


def _linear_probe(model: keras.Model) -> list[Phase]:
    return [_head(_task(model).head_epochs, augment=True)]


def _two_phase(model: keras.Model) -> list[Phase]:
    """The classic: a short head phase, then the upper half of the backbone."""
    upper = max(len(model_blocks(model)) // 2, 1)
    epochs = -(-_task(model).head_epochs // 2)
    return [_head(epochs), _fine(model, "upper half", upper, FINE_EPOCHS)]


def _lp_ft(model: keras.Model) -> list[Phase]:
    """Kumar et al. (2022): probe to convergence, then everything at a low rate."""
    head = _head(_task(model).head_epochs)
    return [head, _fine(model, "all", "all", FINE_EPOCHS)]


def _gradual(model: keras.Model) -> list[Phase]:
    """Howard & Ruder (2018), §3.3: one block more an epoch, then all to the end."""
    blocks = len(model_blocks(model))
    # Each step compiles anew: a deep network takes several blocks at a time.
    steps = min(blocks, GRADUAL_STEPS)
    counts = [-(-blocks * step // steps) for step in range(1, steps)]
    parts = [_fine(model, f"top {count}", count, 1) for count in counts]
    head = _head(_task(model).head_epochs)
    return [head, *parts, _fine(model, "all", "all", FINE_EPOCHS - 4)]


def _full(model: keras.Model) -> list[Phase]:
    return [_fine(model, "all", "all", FINE_EPOCHS + 2)]


def _scratch(model: keras.Model) -> list[Phase]:
    if has_loaded_weights(model):
        hint = "Build the backbone with weights=None, or take recipe='full'."
        fail("recipe", "another one for loaded weights", "scratch", hint)
    whole = _fine(model, "scratch", "all", 30)
    return [replace(whole, learning_rate=SCRATCH_RATE, batch_norm="train")]


#: A function of the model: what to train in it, in order.
Recipe = Callable[[keras.Model], Sequence[Phase]]

_RECIPES: dict[str, Recipe] = {
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


def default_augment(name: str, recipe: str | Recipe) -> str | None:
    """The default augmentation: a mirrored photo is a photo, a mirrored 2 is none.

    A probe gets none: its features are then computed once, which is its point.
    """
    if recipe == "linear_probe":
        return None
    return "digits" if name == "digits" else DEFAULT_AUGMENT


def recipe_phases(
    model: keras.Model,
    recipe: str | Recipe,
    *,
    epochs: int | Sequence[int] | None = None,
    learning_rate: float | None = None,
    phase_settings: Mapping[str, Any] | None = None,
    steps_per_epoch: int | None = None,
) -> tuple[Phase, ...]:
    """The phases of a recipe for this model, to change and to give to `run_phases`.

    Args:
        model: A classifier; block counts depend on its backbone.
        recipe: `"linear_probe"`: the head only, on features computed once.
            `"two_phase"`: the head, then the upper half of the backbone. `"lp_ft"`:
            the head to convergence, then everything at a low rate that climbs for a
            quarter of the phase. `"gradual"`: the head, then one block more in each
            phase, from the top; of a backbone of more than five, a fifth of them more.
            `"full"`: everything at once. `"scratch"`: for `weights=None` only. Or a
            function of the model that returns a list of phases.
        epochs: One number for every phase, or one per phase; None: the recipe's own.
        learning_rate: Peak rate of the last phase, and of those before it that open
            the backbone; None: the recipe's own.
        phase_settings: Attributes of `Phase` by name, for the phases that open the
            backbone; the head alone, whose features are computed once, stays as it is.
        steps_per_epoch: Optimizer steps in an epoch; where they are few, the last
            phase of a named recipe's own length gets more epochs.

    Returns:
        Phases, in order.

    Raises:
        ValueError: If the recipe is unknown or does not fit the model, the number of
            epochs does not fit the recipe, or a setting is none of `Phase`.

    Example:
        >>> import kerastl
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_classifier(backbone, ["cat", "dog", "owl"])
        >>> head, rest = recipe_phases(
        ...     model, "lp_ft", epochs=(20, 8), phase_settings={"ema": 0.99}
        ... )
        >>> head.trainable, head.ema, rest.trainable, rest.ema
        ('head', None, 'all', 0.99)
    """
    phases = _own_phases(model, recipe)
    if epochs is None and steps_per_epoch and isinstance(recipe, str):
        phases[-1] = _long_enough(phases[-1], steps_per_epoch)
    if epochs is not None:
        pairs = zip(phases, _per_phase(epochs, phases), strict=True)
        phases = [_lasting(phase, count) for phase, count in pairs]
    if learning_rate is not None:
        check_number("learning_rate", learning_rate, above=0.0)
        last = len(phases) - 1
        phases = [
            replace(phase, learning_rate=learning_rate)
            if phase.opens_backbone or number == last
            else phase
            for number, phase in enumerate(phases)
        ]
    return tuple(_with_settings(phases, recipe, phase_settings or {}))


def _own_phases(model: keras.Model, recipe: str | Recipe) -> list[Phase]:
    """What the recipe says by itself."""
    if callable(recipe):
        return list(recipe(model))
    check_choice("recipe", recipe, RECIPES)
    phases = list(_RECIPES[recipe](model))
    head = bind(model).head_layers
    if head and not any(model.get_layer(name).weights for name in head):
        # A language model's output layer is its embedding: no head learns first.
        phases = [phase for phase in phases if phase.trainable != "head"] or phases
    if not is_pretrained(model):
        # Held statistics of random weights let activations vanish or explode.
        phases = [replace(phase, batch_norm="train") for phase in phases]
    return phases


def _lasting(phase: Phase, epochs: int) -> Phase:
    """The phase with another number of epochs."""
    warmup = _warmup(epochs) if phase.warmup else 0.0
    return replace(phase, epochs=epochs, warmup=warmup)


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


def _with_settings(
    phases: Sequence[Phase], recipe: str | Recipe, settings: Mapping[str, Any]
) -> list[Phase]:
    """The phases with these settings where more than the head trains."""
    known = [field.name for field in fields(Phase)]
    for name in settings:
        if name not in known:
            fail("phase_settings", "attributes of Phase", name, nearest(name, known))
    # Of the head's phases too: what is out of range is refused in every recipe.
    made = [replace(phase, **settings) for phase in phases]
    if settings and not any(phase.opens_backbone for phase in phases):
        listed = ", ".join(f"`{name}`" for name in settings)
        verb = "has" if len(settings) == 1 else "have"
        recipe = getattr(recipe, "__name__", recipe)
        warn(
            f"{listed} {verb} no effect with recipe={recipe!r}, which trains only the "
            "head."
        )
    pairs = zip(phases, made, strict=True)
    return [new if phase.opens_backbone else phase for phase, new in pairs]


def _count_steps(train: Any, batch_size: int) -> int | None:
    """Steps in an epoch, where the data tell."""
    # Labels: the inputs may be several, by name.
    rows = train[-1] if isinstance(train, (tuple, list)) and len(train) else train
    known = isinstance(train, (tuple, list, ImageSet, Source))
    if known and not isinstance(train, StreamSource) and hasattr(rows, "__len__"):
        return max(-(-len(rows) // batch_size), 1)
    return None


def check_training(
    *,
    recipe: Any,
    epochs: Any,
    learning_rate: Any,
    patience: Any,
    views: Any,
    cache: Any,
    batch_size: Any,
    augment: Any,
    class_weight: Any,
    sampling: Any,
    label_smoothing: Any,
    teacher: Any,
    minutes: Any,
    seed: Any,
) -> None:
    """Raise for arguments of `fine_tune` that are wrong for every model and data.

    Asked before the data are read; `"auto"` is a recipe, and an augmentation, here.
    """
    if not callable(recipe):
        check_choice("recipe", recipe, ("auto", *RECIPES))
    for count in epochs if isinstance(epochs, Sequence) else [epochs]:
        if count is not None:
            check_integer("epochs", count, 1)
    if learning_rate is not None:
        check_number("learning_rate", learning_rate, above=0.0)
    for name, value in (("patience", patience), ("views", views)):
        if value is not None:
            check_integer(name, value, 1)
    FeatureCache(cache)
    if batch_size is not None:
        check_integer("batch_size", batch_size, 1)
    if augment != "auto":
        as_augmentation(augment)
    weights = class_weight.values() if isinstance(class_weight, Mapping) else ()
    for weight in weights:
        check_number("class_weight", weight, 0.0)
    if class_weight is not None and not isinstance(class_weight, Mapping):
        check_choice("class_weight", class_weight, ("balanced",))
    check_teacher(teacher, class_weight)
    if sampling is not None:
        check_choice("sampling", sampling, ("balanced",))
    if minutes is not None:
        check_number("minutes", minutes, above=0.0)
    check_number("label_smoothing", label_smoothing, 0.0, below=1.0)
    check_integer("seed", seed, 0)


def fine_tune(
    model: keras.Model,
    train: Any,
    validation: Any = None,
    *,
    recipe: str | Recipe = DEFAULT_RECIPE,
    epochs: int | Sequence[int] | None = None,
    learning_rate: float | None = None,
    patience: int | None = None,
    phase_settings: Mapping[str, Any] | None = None,
    target: Any = None,
    loss: Any = None,
    metrics: Sequence[Any] | None = None,
    batch_size: int | None = None,
    augment: Any = None,
    class_weight: str | Mapping[str, float] | None = None,
    sampling: str | None = None,
    label_smoothing: float = 0.0,
    teacher: Any = None,
    distillation: tuple[float, float] = (0.5, 2.0),
    minutes: float | None = None,
    strategy: Any = None,
    cache: str | FeatureCache = "auto",
    views: int | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    seed: int | None = None,
    resume_dir: str | Path | None = None,
    verbose: int | str = "auto",
) -> TrainingHistory:
    """Train a model by a recipe, and keep the best weights of all phases.

    It is `run_phases` over `recipe_phases`, whose options are explained there.

    Args:
        model: As for `run_phases`, as all that is not explained here.
        train: Training data.
        validation: Validation data, or None: then the last weights are kept.
        recipe: Name, or a function of the model: see `recipe_phases`.
        epochs: One number for every phase, or one per phase; None: the recipe's own.
        learning_rate: Peak rate: see `recipe_phases`; None: the recipe's own.
        patience: Epochs without a better validation result after which a phase
            stops; None: the recipe's own, which is never.
        phase_settings: Attributes of `Phase` for the phases that open the backbone,
            such as `{"layer_decay": 0.8, "ema": 0.99, "mixup": 0.2}`, or
            `{"penalties": (kerastl.penalties.L2SP(0.01),)}`.
        target: Images of another domain, for phases that adapt to it: set
            `{"adapt": kerastl.adaptation.Adaptation("mcc")}` in `phase_settings`.
        loss: Loss on the outputs; None: the task's.
        metrics: Metrics; None: the task's.
        batch_size: Images in an optimizer step; None: the task's, 32 for classes and
            numbers, 4 for masks and boxes.
        augment: Augmentation of the training images.
        class_weight: By name, or `"balanced"`.
        sampling: `"balanced"`, or None.
        label_smoothing: For the task's loss.
        teacher: A classifier, its file, or probabilities, to learn from beside the
            labels.
        distillation: Share of the labels, and temperature.
        minutes: Time for all phases.
        strategy: What `device_strategy` gave, in whose scope the model was built.
        cache: Where the frozen part's outputs are kept.
        views: Augmented versions of each image to keep.
        callbacks: Keras callbacks.
        seed: Order, augmentation and dropout follow from it.
        resume_dir: A folder from which a killed run goes on.
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
    usual = _task(model).usual_batch
    batch_size = usual if batch_size is None else batch_size
    check_integer("batch_size", batch_size, 1)
    steps_per_epoch = _count_steps(train, batch_size)
    phases = recipe_phases(model, recipe, **passed_on(locals(), recipe_phases))
    if patience is not None:
        phases = [replace(phase, patience=patience) for phase in phases]
    others = max(batch_size, usual) / max(min(batch_size, usual), 1)
    if isinstance(recipe, str) and learning_rate is None and others >= 4:
        warn(
            f"The rates of recipe={recipe!r} are for batches of {usual}; they "
            f"stay so at batch_size={batch_size}. Pass `learning_rate` to change them."
        )
    return run_phases(model, train, validation, **passed_on(locals(), run_phases))
