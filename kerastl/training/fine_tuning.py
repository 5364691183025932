"""`fine_tune`: a named recipe on data."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import keras

from kerastl.datasets.sets import ImageSet
from kerastl.training.phase import Phase, TrainingHistory
from kerastl.training.phases import run_phases
from kerastl.training.recipes import DEFAULT_RECIPE, recipe_phases


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
        warnings.warn(message, stacklevel=3)
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
