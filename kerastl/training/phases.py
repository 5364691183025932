"""Training in phases: the only place of the library that fits."""

import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import keras
import numpy as np

from kerastl._checks import check_choice, check_integer, fail
from kerastl.inference.devices import replicas
from kerastl.models.compiling import compile_model, model_task, trainable_paths
from kerastl.models.freezing import unfreeze
from kerastl.models.manifest import find_manifest
from kerastl.training.boundary import cached_part
from kerastl.training.guard import TrainableGuard
from kerastl.training.phase import Phase, PhaseRecord, TrainingHistory
from kerastl.training.replicated import PaddedValidation, replica_batch_size
from kerastl.training.sources import (
    Source,
    StreamSource,
    check_first_batch,
    make_source,
)
from kerastl.training.tracking import (
    EXPLOSION,
    BestWeights,
    PhaseMonitor,
    moved_paths,
    restore,
    snapshot,
)
from kerastl.training.weighting import class_weights, seed_noise

CACHE_MODES = ("auto", "off")


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
    callbacks: Sequence[keras.callbacks.Callback] = (),
    seed: int | None = None,
    verbose: int | str = "auto",
) -> TrainingHistory:
    """Train a model through a list of phases, each compiled afresh, and keep the best.

    The model ends with the best weights of *all* phases, by the validation data; a
    phase that makes it worse costs time and nothing else. Whatever is not meant to
    train is bit-identical afterwards, BatchNorm statistics included.

    Args:
        model: A classifier from `build_classifier`, or any functional model (then
            `loss` is needed).
        train: An `ImageSet`, a pair `(images, labels)` of arrays, or a
            `tf.data.Dataset` of batches, which is never cached.
        validation: The same kinds, or None: then the last weights are kept.
        phases: What to train, in order.
        loss: Loss on the outputs; None: the task's.
        metrics: Metrics; None: the task's.
        batch_size: Images in an optimizer step, over all replicas.
        augment: Augmentation of the training images: see `batches`.
        class_weight: Weight of each class by name, or `"balanced"`: inversely to the
            number of its images. The validation results are never weighted.
        label_smoothing: For the task's loss, in [0, 1).
        monitor: Logged quantity that decides what is best; `"auto"`: validation
            accuracy, or validation loss where no accuracy is measured.
        strategy: A `tf.distribute` strategy in whose scope the model was built.
        cache: `"auto"` computes the frozen part once per phase where that gives the
            same result; `"off"` never does.
        callbacks: Keras callbacks for each `fit`.
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
    train = make_source(model, train, "train")
    if validation is not None:
        validation = make_source(model, validation, "validation")
    check_first_batch(model, train, batch_size)
    if seed is None:
        seed = int(np.random.SeedSequence().generate_state(1)[0])
    check_integer("seed", seed, 0)
    seed_noise(model, seed)
    count = replicas(strategy)
    if count > 1 and not isinstance(train, StreamSource):
        batch_size = replica_batch_size(batch_size, count, len(train))
    run = _Run(
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
        strategy=strategy,
        cache=cache,
        callbacks=tuple(callbacks),
        seed=seed,
        verbose=_verbosity(verbose),
    )
    # JAX distributes what runs in the scope; TensorFlow compiles in it.
    with strategy.scope() if strategy is not None else nullcontext():
        return run.all(phases, monitor)


class _Run:
    """One call of `run_phases`: its settings and what it has found so far."""

    def __init__(
        self,
        model: keras.Model,
        train: Source,
        validation: Source | None,
        batch_size: int,
        augment: Any,
        weights: dict[int, float] | None,
        settings: dict[str, Any],
        strategy: Any,
        cache: str,
        callbacks: tuple[keras.callbacks.Callback, ...],
        seed: int,
        verbose: int,
    ) -> None:
        self.model = model
        self.train = train
        self.validation = validation
        self.batch_size = batch_size
        self.augment = augment
        self.weights = weights
        self.settings = settings
        self.replicas = replicas(strategy)
        self.cache = cache
        self.callbacks = callbacks
        self.seed = seed
        self.verbose = verbose
        self.history: dict[str, list[float]] = {}
        self.records: list[PhaseRecord] = []

    def all(self, phases: Sequence[Phase], monitor: str) -> TrainingHistory:
        """Every phase, then the best weights."""
        tracker = BestWeights(self.model, self._monitor(monitor))
        start = snapshot(self.model)
        try:
            for number, phase in enumerate(phases):
                self._phase(number, phase, tracker, len(phases))
        except BaseException as error:
            restore(self.model, tracker.weights or start)
            kept = tracker.best.phase if tracker.best else "the start of the run"
            error.add_note(f"The model has the best weights so far, of {kept}.")
            raise
        if tracker.weights is not None:
            restore(self.model, tracker.weights)
        # The optimizer's moments belong to the last step, not to the best weights.
        self._compile(self.model, phases[-1], phases[-1].learning_rate)
        self.model.optimizer.build(self.model.trainable_variables)
        return TrainingHistory(self.history, tuple(self.records), tracker.best)

    def _phase(
        self, number: int, phase: Phase, tracker: BestWeights, count: int
    ) -> None:
        began = time.perf_counter()
        model = self.model
        unfreeze(model, phase.trainable, batch_norm=phase.batch_norm)
        if number == 0 and self.validation is not None and _has_learnt(model):
            self._offer_start(phase, tracker)
        before = snapshot(model)
        part, train, validation = model, self.train, self.validation
        if self.cache == "auto" and self.augment is None and self.replicas == 1:
            part, train, validation = cached_part(
                model, train, validation, phase.epochs
            )
        seed = int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0])
        data = train.dataset(
            self.batch_size,
            seed=seed,
            shuffle=True,
            augment=self.augment,
            drop_remainder=self.replicas > 1,
        )
        self._compile(part, phase, phase.rate_schedule(_steps(data)))
        task = model_task(model)
        watch = PhaseMonitor(
            tracker,
            self.history,
            phase.name,
            phase.patience,
            EXPLOSION * task.chance_loss if task else None,
        )
        if self.verbose:
            self._announce(number, phase, count)
        first = max((len(column) for column in self.history.values()), default=0)
        checked, scorer = self._validation_data(validation)
        part.fit(
            data,
            validation_data=checked,
            epochs=phase.epochs,
            class_weight=self.weights,
            callbacks=[TrainableGuard(), *scorer, watch, *self.callbacks],
            verbose=self.verbose,
            shuffle=False,
        )
        moved = moved_paths(model, before)
        if watch.diverged:
            restore(model, tracker.weights or before)
            message = f"Phase {phase.name!r} {watch.stopped}. Lower `learning_rate`."
            warnings.warn(message, RuntimeWarning, stacklevel=4)
        elif watch.best_in_phase is not None:
            restore(model, watch.best_in_phase)
        self.records.append(
            PhaseRecord(
                name=phase.name,
                start=first,
                stop=first + watch.epochs,
                trainable=trainable_paths(model),
                moved=moved,
                seconds=time.perf_counter() - began,
                cached=part is not model,
                stopped=watch.stopped,
            )
        )

    def _compile(self, part: keras.Model, phase: Phase, rate: Any) -> None:
        compile_model(
            part,
            learning_rate=rate,
            optimizer=phase.optimizer,
            weight_decay=phase.weight_decay,
            global_clipnorm=phase.global_clipnorm,
            **self.settings,
        )

    def _validation_data(
        self, validation: Source | None
    ) -> tuple[Any, list[PaddedValidation]]:
        """What `fit` scores by itself, or the callback that scores instead."""
        if validation is None:
            return None, []
        if self.replicas == 1:
            return validation.dataset(self.batch_size), []
        return None, [PaddedValidation(validation, self.batch_size, self.settings)]

    def _offer_start(self, phase: Phase, tracker: BestWeights) -> None:
        """Score the weights that the run begins with: nothing worse is returned."""
        self._compile(self.model, phase, phase.learning_rate)
        data, scorer = self._validation_data(self.validation)
        if scorer:
            logs = scorer[0].results(self.model)
        else:
            results = self.model.evaluate(data, verbose=0, return_dict=True)
            logs = {f"val_{name}": value for name, value in results.items()}
        tracker.offer(logs, "start", -1)

    def _monitor(self, monitor: str) -> str:
        if monitor != "auto":
            return monitor
        metrics = self.settings["metrics"]
        if metrics is None:
            return "val_accuracy" if model_task(self.model) else "val_loss"
        names = {getattr(metric, "name", metric) for metric in metrics}
        return "val_accuracy" if names & {"accuracy", "acc"} else "val_loss"

    def _announce(self, number: int, phase: Phase, count: int) -> None:
        parts = trainable_paths(self.model)
        text = f"Phase {number + 1}/{count}: {phase.name}, {len(parts)} weights train\n"
        sys.stdout.write(text)
        sys.stdout.flush()


def _steps(data: Any) -> int:
    """Batches in an epoch; 1 where nobody can know."""
    try:
        return max(len(data), 1)
    except TypeError:
        return 1


def _has_learnt(model: keras.Model) -> bool:
    """Whether the head is anything but new: a new one ends in zeros."""
    if find_manifest(model) is None:
        return True
    return bool(np.any(keras.ops.convert_to_numpy(model.layers[-2].weights[0])))


def _check_phases(phases: Any) -> tuple[Phase, ...]:
    if isinstance(phases, Phase):
        phases = (phases,)
    listed = isinstance(phases, (tuple, list)) and phases
    if not listed or not all(isinstance(phase, Phase) for phase in phases):
        fail("phases", "a list of Phase objects", phases)
    return tuple(phases)


def _verbosity(verbose: int | str) -> int:
    """A bar where somebody watches it; nothing in a pipe or a log."""
    if verbose != "auto":
        return int(verbose)
    return 1 if sys.stdout.isatty() or "ipykernel" in sys.modules else 0
