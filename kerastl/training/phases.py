"""Training in phases; besides this only the search for a learning rate fits."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import keras
import numpy as np

from kerastl._checks import check_choice, check_integer, fail
from kerastl.datasets.augmentation import as_augmentation
from kerastl.inference.devices import replicas
from kerastl.inference.planning import CACHE_MODES
from kerastl.training.early_checks import (
    check_mixing,
    check_objective,
    check_phases,
)
from kerastl.training.first_batch import check_end, check_first_batch
from kerastl.training.phase import Phase, TrainingHistory
from kerastl.training.replicated import replica_batch_size
from kerastl.training.running import Run
from kerastl.training.settling import temperature_set_aside
from kerastl.training.sources import StreamSource, make_source
from kerastl.training.weighting import class_weights, seed_noise


def run_phases(
    model: keras.Model,
    train: Any,
    validation: Any = None,
    *,
    phases: Sequence[Phase],
    loss: Any = None,
    metrics: Sequence[Any] | None = None,
    batch_size: int = 32,
    augment: Any = None,
    class_weight: str | Mapping[str, float] | None = None,
    label_smoothing: float = 0.0,
    monitor: str = "auto",
    strategy: Any = None,
    cache: str = "auto",
    views: int | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    seed: int | None = None,
    verbose: int | str = "auto",
) -> TrainingHistory:
    """Train a model through a list of phases, each compiled afresh, and keep the best.

    The model ends with the best weights of *all* phases, by the validation data; a
    phase that makes it worse costs time and nothing else. Whatever is not meant to
    train is bit-identical afterwards, BatchNorm statistics included. A temperature of
    `calibrate` belongs to the weights: it stays if they end where they began.

    Args:
        model: A classifier from `build_classifier`, or any functional model (then
            `loss` is needed).
        train: An `ImageSet`, a pair `(images, labels)` of arrays, or a
            `tf.data.Dataset` of batches that ends, which is never cached.
        validation: The same kinds, or None: then the last weights are kept.
        phases: What to train, in order.
        loss: Loss on the outputs; None: the task's.
        metrics: Metrics; None: the task's.
        batch_size: Images in an optimizer step, over all replicas.
        augment: Augmentation of the training images: see `batches`.
        class_weight: Weight of each class by name, or `"balanced"`: inversely to the
            number of its images. The validation results are never weighted. Not
            with mixup or CutMix.
        label_smoothing: For the task's loss, in [0, 1).
        monitor: Logged quantity that decides what is best; `"auto"`: validation
            accuracy, or validation loss where no accuracy is measured.
        strategy: A `tf.distribute` strategy in whose scope the model was built.
        cache: `"auto"` computes the frozen part once per phase where that gives the
            same result and is quicker, and keeps it in memory, else on disk;
            `"memory"` and `"disk"` say where; `"off"` never does. With `"disk"` no
            decoded image stays in memory either.
        views: With augmentation, how many augmented versions of each image to keep:
            as many epochs are what they would be without, then the versions come
            again, each image's in an order of its own. None: nothing augmented is
            kept.
        callbacks: Keras callbacks for each `fit`. They see the whole model, so
            nothing is cached when there are any.
        seed: Order, augmentation and dropout follow from it; None: another each time.
        verbose: As for `Model.fit`; `"auto"`: a bar on a terminal or in a notebook.

    Returns:
        History over all phases, with what moved in each.

    Raises:
        ValueError: If an argument is out of range, data do not fit the model, or
            `trainable` changes behind the library's back.
        KeyboardInterrupt: If interrupted; the best weights so far are in the model.

    Example:
        >>> import numpy as np, kerastl
        >>> backbone = kerastl.build_backbone("MobileNet", alpha=0.25, weights="tiny")
        >>> model = kerastl.build_classifier(backbone, ["dark", "light"])
        >>> images = np.repeat([0, 255], 8)[:, None, None, None] + np.zeros((96, 96, 3))
        >>> labels = np.repeat([0, 1], 8)
        >>> phase = kerastl.Phase("head", trainable="head", epochs=3, learning_rate=0.1)
        >>> history = kerastl.run_phases(
        ...     model, (images, labels), (images, labels), phases=[phase], seed=0
        ... )
        >>> history.phases[0].moved
        ('head_dense/kernel', 'head_dense/bias')
    """
    phases = _check_phases(phases)
    check_integer("batch_size", batch_size, 1)
    check_choice("cache", cache, CACHE_MODES)
    # Now, not in the second phase.
    as_augmentation(augment)
    _check_views(views, augment)
    keep = cache != "disk"
    train = make_source(model, train, "train", keep_pixels=keep)
    if validation is not None:
        validation = make_source(model, validation, "validation", keep_pixels=keep)
    for name, source in (("train", train), ("validation", validation)):
        check_end(source, name)
        check_first_batch(model, source, name)
    _check_patience(phases, validation)
    check_mixing(phases, train, class_weight, loss, metrics)
    if seed is None:
        seed = int(np.random.SeedSequence().generate_state(1)[0])
    check_integer("seed", seed, 0)
    count = replicas(strategy)
    if count > 1 and not isinstance(train, StreamSource):
        batch_size = replica_batch_size(batch_size, count, len(train))
    run = Run(
        model=model,
        train=train,
        validation=validation,
        batch_size=batch_size,
        augment=augment,
        weights=class_weights(model, train, class_weight),
        settings={
            "loss": loss,
            "metrics": metrics,
            "label_smoothing": label_smoothing,
        },
        replicas=count,
        cache=cache,
        views=views,
        callbacks=tuple(callbacks),
        seed=seed,
        verbose=_verbosity(verbose),
    )
    # Callbacks may log what nobody knows of; without validation nothing is compared.
    known = validation is not None and not run.callbacks
    check_objective(model, run.settings, monitor if known else None)
    check_phases(model, phases, count)
    # Nothing is refused from here on: a refused run leaves the model as it was.
    seed_noise(model, seed)
    # JAX distributes what runs in the scope; TensorFlow compiles in it.
    scope = strategy.scope() if strategy is not None else nullcontext()
    with scope, temperature_set_aside(model):
        return run.all(phases, monitor)


def _check_phases(phases: Any) -> tuple[Phase, ...]:
    if isinstance(phases, Phase):
        phases = (phases,)
    listed = isinstance(phases, (tuple, list)) and phases
    if not listed or not all(isinstance(phase, Phase) for phase in phases):
        fail("phases", "a list of Phase objects", phases)
    return tuple(phases)


def _check_views(views: Any, augment: Any) -> None:
    if views is None:
        return
    check_integer("views", views, 1)
    if augment is None:
        fail("augment", "given, for the views to differ", None)


def _check_patience(phases: Sequence[Phase], validation: Any) -> None:
    patient = [phase.name for phase in phases if phase.patience is not None]
    if patient and validation is None:
        hint = "Pass validation data, or leave `patience` out."
        fail("validation", f"given for the patience of {patient[0]!r}", None, hint)


def _verbosity(verbose: int | str) -> int:
    """A bar where somebody watches it; nothing in a pipe or a log."""
    if verbose != "auto":
        return int(verbose)
    return 1 if sys.stdout.isatty() or "ipykernel" in sys.modules else 0
